"""Audio in containers that libsndfile does not know (m4a, mp4, webm, aac, ...), read with PyAV (FFmpeg's libraries).

Only demuxers of plain media files are allowed: a playlist or script that FFmpeg would follow to other files or to the
network is refused, whatever its name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ctcrec.errors import MediaError

__all__ = ["probe", "read"]

_DEMUXERS = "mov,matroska,aac,ac3,eac3,amr,asf,avi,mpegts,flv,mp3,flac"
_PREROLL = 0.5  # seconds decoded before a part and dropped, because codecs need a start to settle
_SLACK = 0.25  # seconds by which a container may claim more than its stream has: padding and rounding


def probe(media: str | io.BytesIO, name: str) -> tuple[float, int, int]:
    """Duration in seconds, sample rate and channels; see `ctcrec.speech.media.probe_audio`."""
    with _opened(media, name) as (container, stream):
        duration = _claimed_duration(container, stream)
        if duration is None:  # ADTS, or FLAC written to a pipe: count the packets
            packets = (packet.duration for packet in container.demux(stream) if packet.duration)
            duration = float(sum(packets) * stream.time_base)
        if duration <= 0:
            raise MediaError(f"{name}: has no samples; remove it, or record it again")
        return duration, int(stream.rate), int(stream.channels)


def read(media: str | io.BytesIO, name: str, start: float, end: float | None, longest: int) -> tuple[np.ndarray, int]:
    """Mono float32 samples from `start` to `end` (seconds; None = to the end), and their rate.

    Raises:
        MediaError: the file cannot be decoded, is truncated, or has more than `longest` samples in the part.
    """
    with _opened(media, name) as (container, stream):
        rate = int(stream.rate)
        first = round(start * rate)
        last = None if end is None else round(end * rate)
        blocks: list[np.ndarray] = []
        reached = first
        for position, block in _frames(container, stream, start):
            if max(position, reached) - first > longest:
                raise MediaError(f"{name}: is too long to read at once; cut it, or give start and end")
            if not blocks and position > first:  # sound that starts late: times stay those of the container
                blocks.append(np.zeros(position - first, np.float32))
            reached = position + block.size
            blocks.append(block[max(0, first - position) : None if last is None else max(0, last - position)])
            if last is not None and reached >= last:
                break
        claimed = _claimed_duration(container, stream)
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    if last is not None or claimed is None:
        return samples, rate
    if reached < (claimed - _SLACK) * rate:
        raise MediaError(
            f"{name}: is truncated: its header promises {claimed:.2f} s and {reached / rate:.2f} s could be decoded;"
            " fetch it again"
        )
    return samples[: max(0, round(claimed * rate) - first)], rate  # more is the encoder's padding


@contextmanager
def _opened(media: str | io.BytesIO, name: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first audio stream; FFmpeg's errors while it is open become MediaErrors."""
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(media, options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}) as container:
            if not container.streams.audio:
                raise MediaError(f"{name}: has no sound track; an audio file was expected")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise MediaError(f"{name}: is in a codec that cannot be read, or is damaged; convert it to wav or flac")
            if not stream.rate or not stream.channels:
                raise MediaError(
                    f"{name}: is no audio, has no header, or is damaged: it has no sample rate or no channels;"
                    " convert it to wav or flac"
                )
            yield container, stream
    except (av.FFmpegError, ValueError, OverflowError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"{name}: is no audio that ctcrec can read, has no header, or is damaged ({why}); convert it to wav or flac"
        ) from None


def _claimed_duration(container: Any, stream: Any) -> float | None:
    """Seconds, from the stream's header, or the container's where it holds nothing else."""
    if container.format.name == "aac":  # a guess from the bit rate
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(container.duration) / 1e6
    return None


def _frames(container: Any, stream: Any, start: float) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded mono blocks from a little before `start`, each with the sample it begins at."""
    import av

    if start > _PREROLL:
        container.seek(int((start - _PREROLL) / stream.time_base), stream=stream)
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    position = 0
    for frame in container.decode(stream):
        if frame.pts is not None and position == 0:
            position = max(0, round(float(frame.pts * frame.time_base) * stream.rate))
        for plain in resampler.resample(frame):
            block = plain.to_ndarray().mean(axis=0, dtype=np.float32)
            yield position, block
            position += block.size
