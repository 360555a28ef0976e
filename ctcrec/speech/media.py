"""Audio files in, mono float32 samples at one rate out.

libsndfile (`soundfile`) reads wav, flac, ogg, opus, mp3, aiff, sph and others; `ctcrec.speech.containers` reads m4a,
mp4, webm and others with PyAV. The content decides which, never the name. A damaged or truncated file is an error, not
a shorter recording.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from ctcrec.errors import MediaError
from ctcrec.speech import containers
from ctcrec.speech.resampling import resample

__all__ = ["EXTENSIONS", "AudioInfo", "count_samples", "load_audio", "probe_audio"]

_PLAIN = (".wav", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".sph")
_CONTAINERS = (".m4a", ".m4b", ".mp4", ".mov", ".webm", ".mka", ".mkv", ".aac", ".amr", ".3gp", ".wma", ".avi", ".caf")
EXTENSIONS = frozenset(_PLAIN + _CONTAINERS)

_RATES = (1000, 768_000)
_LONGEST = 2**30  # samples read at once: 6 hours at 48 kHz, 4 GiB
_LONGEST_HOURS = 12.0  # of low rates, which grow when they are resampled
_LOUDEST = 1e6  # full scale is 1; float files in 16-bit units reach 32768
_BLOCK = 2**22  # values decoded at a time, so that memory follows what is in the file, not what its header claims
_OVERHANG = 0.1  # seconds that `end` may lie beyond the file, because people round; filled with silence

# What libsndfile's log says of a file shorter than its header claims.
_CUT_SHORT = re.compile(r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000  # and above: written to a pipe, whose writer could not know the size
_UNKNOWN_FRAMES = 2**62
_MP3_SLACK = 2 * 1152  # frames; decoders differ in the padding they drop

_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"<", "HTML or XML text"),
    (b"RIFF", "damaged, truncated or unknown RIFF (wav) audio"),
    (b"fLaC", "damaged or truncated FLAC audio"),
    (b"OggS", "damaged or truncated Ogg audio"),
    (b"ID3", "damaged or truncated MP3 audio"),
    (b"FORM", "damaged or truncated AIFF audio"),
)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Header values: duration in seconds, samples a second, channels."""

    duration: float
    sample_rate: int
    channels: int


def count_samples(seconds: float, sample_rate: int) -> int:
    """Samples that `load_audio` gives for a part of so many seconds: ⌈seconds · sample_rate⌉, at least 1.

    Rounded to 1e-6 of a sample first, so that a duration counts like the fraction that its float stands for.
    """
    return max(1, math.ceil(round(seconds * sample_rate, 6)))


def probe_audio(path: str | Path) -> AudioInfo:
    """Duration, rate and channels of an audio file, from its header.

    The duration is exact for what libsndfile reads, and what the container says for mp4, webm and the like.

    Raises:
        MediaError: the file is missing, empty, truncated where its header shows it, or no audio.
    """
    media, name = _named(path)
    file = _open_sound(media, name)
    if file is None:
        duration, rate, channels = containers.probe(media, name)
        return AudioInfo(duration, _checked_rate(rate, name), channels)
    with file:
        if file.frames == 0:
            raise MediaError(f"{name}: has no samples; remove it, or record it again")
        return AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)


def load_audio(
    media: str | Path | bytes | IO[bytes], sample_rate: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """The recording, or its part from `start` to `end` (seconds), as mono samples (S,) float32 at `sample_rate`.

    Channels are averaged. S = `count_samples(seconds, sample_rate)`, with end − start or the header's duration for
    seconds. Only the part asked for is decoded.

    Raises:
        MediaError: the file is missing, empty, no audio, damaged or truncated, has NaN or absurdly large samples, or
            does not reach to `start` or `end`. The message names the file and says what to do.
    """
    media, name = _named(media)
    begin = start or 0.0
    if begin < 0 or (end is not None and end <= begin):
        raise MediaError(f"{name}: the part from {begin:g} s to {end} s is empty; correct `start` and `end`")
    file = _open_sound(media, name)
    if file is None:
        samples, rate = containers.read(media, name, begin, end, _LONGEST)
        limit = begin + samples.size / _checked_rate(rate, name)
    else:
        with file:
            samples, rate, limit = _read_part(file, begin, end, name)
    if samples.size == 0:
        raise MediaError(
            f"{name}: ends at {limit:g} s, before the part to read starts at {begin:g} s; correct `start`"
            if begin
            else f"{name}: has no samples; remove it, or record it again"
        )
    if end is not None and end > limit + _OVERHANG:
        raise MediaError(f"{name}: ends at {limit:.3f} s, before the part to read ends at {end:g} s; correct `end`")
    _check_values(samples, name)
    return _fitted(resample(samples, rate, sample_rate), count_samples((end or limit) - begin, sample_rate))


class _Bytes(io.BytesIO):
    """Bytes as a file. A damaged header may send libsndfile to before their start; a C callback must not raise."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _named(media: str | Path | bytes | IO[bytes]) -> tuple[str | io.BytesIO, str]:
    """What soundfile and PyAV open, and the name that errors give it."""
    if isinstance(media, (str, Path)):
        _check_regular(media)
        return str(media), str(media)
    if isinstance(media, bytes):
        return _Bytes(media), "audio given as bytes"
    try:
        data = media.read()
    except (OSError, ValueError) as error:
        raise MediaError(f"{getattr(media, 'name', 'audio stream')}: cannot be read: {error}") from None
    if not isinstance(data, bytes):
        raise MediaError(f"{getattr(media, 'name', 'audio stream')}: is open as text; open it in binary mode ('rb')")
    return _Bytes(data), str(getattr(media, "name", "audio stream"))


def _check_regular(path: str | Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; correct `source` in the manifest, or fetch the audio") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # a NUL character
        raise MediaError(f"{str(path)!r}: is not a file name") from None
    if stat.S_ISDIR(mode):
        raise MediaError(f"{path}: is a folder; an audio file was expected")
    if not stat.S_ISREG(mode):
        raise MediaError(f"{path}: is a pipe or device; save the audio to a file first")


def _open_sound(media: str | io.BytesIO, name: str) -> soundfile.SoundFile | None:
    """The file opened by libsndfile; None where PyAV should try."""
    try:
        file = soundfile.SoundFile(os.fsencode(media) if isinstance(media, str) and os.name == "posix" else media)
    except (soundfile.LibsndfileError, TypeError, ValueError, OSError):  # TypeError: a file called *.raw
        _explain_unopened(media, name)
        return None
    try:
        if file.format == "RAW":  # libsndfile takes any file called *.au, *.snd, *.gsm or *.vox
            raise MediaError(f"{name}: is audio without a header, or no audio; convert it to wav or flac")
        _checked_rate(file.samplerate, name)
        _check_whole(file, name)
    except MediaError:
        file.close()
        raise
    if file.frames >= _UNKNOWN_FRAMES:  # FLAC written to a pipe; libsndfile fails at its end
        file.close()
        return None
    return file


def _explain_unopened(media: str | io.BytesIO, name: str) -> None:
    """Raise the error that says why libsndfile refused the file, unless it may be something for PyAV."""
    if isinstance(media, str):
        try:
            with open(media, "rb") as file:
                head = file.read(64)
        except OSError as error:
            raise MediaError(f"{name}: cannot be read: {error.strerror or error}") from None
    else:
        media.seek(0)
        head = media.read(64)
        media.seek(0)
    if not head:
        raise MediaError(f"{name}: is empty (0 bytes); fetch or record it again")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise MediaError(f"{name}: is {kind}; fetch it again, or convert it to wav or flac")


def _check_whole(file: soundfile.SoundFile, name: str) -> None:
    """Refuse a file that is shorter than its own header or last page says."""
    if file.format in ("FLAC", "MP3"):  # decoding shows it
        return
    log = file.extra_info
    for claimed, found in _CUT_SHORT.findall(log):
        if int(found) < int(claimed) < _UNKNOWN_SIZE:
            raise MediaError(
                f"{name}: is truncated: its header promises {claimed} bytes and {found} are there; fetch it again"
            )
    if file.format == "OGG" and "Junk after the last page" in log:
        raise MediaError(f"{name}: is truncated: its last Ogg page is not whole; fetch it again")


def _checked_rate(rate: int, name: str) -> int:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MediaError(f"{name}: has a sample rate of {rate} Hz; expected {_RATES[0]} to {_RATES[1]} Hz; convert it")
    return rate


def _blocks(file: soundfile.SoundFile, first: int, frames: int, name: str) -> Iterator[np.ndarray]:
    """Up to `frames` frames from frame `first` on, as mono float32 blocks."""
    size = max(1, _BLOCK // file.channels)
    try:
        if first:
            file.seek(first)
        while frames > 0:
            block = file.read(min(frames, size), dtype="float32", always_2d=True)
            if len(block) == 0:
                return
            frames -= len(block)
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    except (soundfile.LibsndfileError, OSError) as error:
        why = str(error).strip() or "a frame does not decode"
        raise MediaError(f"{name}: is damaged or truncated ({why}); fetch it again, or convert it") from None


def _read_part(file: soundfile.SoundFile, begin: float, end: float | None, name: str) -> tuple[np.ndarray, int, float]:
    """Mono samples of the part at the file's rate, that rate, and the file's duration in seconds."""
    rate = int(file.samplerate)
    total = int(file.frames)
    first = min(math.floor(begin * rate + 1e-6), total)
    last = total if end is None else min(math.ceil(end * rate - 1e-6), total)
    hours = (last - first) / rate / 3600
    if last - first > _LONGEST or hours > _LONGEST_HOURS:
        raise MediaError(f"{name}: {hours:.1f} hours are too long to read at once; cut it, or give start and end")
    blocks = list(_blocks(file, first, last - first, name))
    samples = blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])
    missing = last - first - samples.size
    if missing > (_MP3_SLACK if file.format == "MP3" else 0):
        raise MediaError(
            f"{name}: is truncated: {last} samples were expected and {last - missing} could be decoded; fetch it again"
        )
    return samples, rate, total / rate


def _check_values(samples: np.ndarray, name: str) -> None:
    low, high = float(samples.min()), float(samples.max())
    if low >= -_LOUDEST and high <= _LOUDEST:  # false for NaN too
        return
    what = f"samples as large as {max(high, -low):.3g}" if math.isfinite(high - low) else "NaN or infinite samples"
    raise MediaError(f"{name}: has {what}; write it again as 16-bit audio, or remove it")


def _fitted(samples: np.ndarray, size: int) -> np.ndarray:
    """Samples cut or filled with silence to `size`: for the rounding of a part's borders, and for `_OVERHANG`."""
    return samples[:size] if samples.size >= size else np.pad(samples, (0, size - samples.size))
