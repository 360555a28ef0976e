"""Log-mel features: Kaldi's numbers, exact frame counts, any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.compliance import kaldi

from ctcrec.errors import ConfigError, InputError
from ctcrec.speech.features import LogMel
from ctcrec.speech.media import count_samples


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32) * 0.1


@pytest.mark.parametrize(
    ("sample_rate", "n_mels", "window_ms", "hop_ms"),
    [(16000, 80, 25, 10), (16000, 40, 25, 10), (8000, 40, 25, 10), (22050, 80, 25, 10), (16000, 64, 20, 10)],
)
@pytest.mark.parametrize("size", [1000, 16000, 50001])
def test_agrees_with_kaldi(sample_rate: int, n_mels: int, window_ms: float, hop_ms: float, size: int) -> None:
    ours = LogMel(sample_rate, n_mels, window_ms, hop_ms, normalization="none")(noise(size))
    theirs = kaldi.fbank(
        torch.from_numpy(noise(size))[None],
        num_mel_bins=n_mels,
        frame_length=window_ms,
        frame_shift=hop_ms,
        sample_frequency=sample_rate,
        snip_edges=False,
        dither=0.0,
    )
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_follows_torchaudios_mel_spectrogram() -> None:
    """Another window, filter shape and no pre-emphasis: not the same numbers, and the same picture."""
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.uniform(0.01, 1, 50), 320).astype(np.float32)
    wave = noise(16000) * envelope
    ours = LogMel(normalization="utterance")(wave)
    mel = torchaudio.transforms.MelSpectrogram(16000, 512, 400, 160, 20, 8000, n_mels=80, mel_scale="htk")
    theirs = mel(torch.from_numpy(wave)).clamp_min(1e-10).log().T
    theirs = (theirs[:100] + theirs[1:101]) / 2  # torchaudio's frames are centred half a hop before ours
    theirs = (theirs - theirs.mean(0)) / theirs.std(0)
    assert float((ours * theirs).mean()) > 0.75
    assert float((ours.roll(5, dims=0) * theirs).mean()) < 0.3


@given(size=st.integers(1, 5000))
@settings(max_examples=60, deadline=None)
def test_count_frames_of_is_the_features_length(size: int) -> None:
    for log_mel in (LogMel(), LogMel(8000, 40), LogMel(22050, 40, 30.0, 12.5), LogMel(16000, 80, 25.0, 25.0)):
        assert len(log_mel(np.zeros(size, np.float32))) == log_mel.count_frames_of(size) >= 1


@given(size=st.integers(1, 200_000), rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]))
@settings(max_examples=200, deadline=None)
def test_count_frames_of_a_duration(size: int, rate: int) -> None:
    log_mel = LogMel()
    at_16k = -(-size * 16000 // rate)
    assert count_samples(size / rate, 16000) == at_16k
    assert log_mel.count_frames(size / rate) == log_mel.count_frames_of(at_16k)


def test_a_frame_is_centred_on_its_hop() -> None:
    """A click in the middle of hop t is loudest in frame t."""
    for t in (0, 7, 49):
        wave = np.zeros(8000, np.float32)
        wave[t * 160 + 80] = 1.0
        energy = LogMel(normalization="none")(wave).sum(dim=1)
        assert int(energy.argmax()) == t


@pytest.mark.parametrize("size", [1, 2, 79, 80, 159, 400])
def test_very_short_audio(size: int) -> None:
    features = LogMel()(noise(size))
    assert features.shape == (max(1, (size + 80) // 160), 80)
    assert bool(torch.isfinite(features).all())


def test_utterance_normalization() -> None:
    features = LogMel(normalization="utterance")(noise(16000))
    torch.testing.assert_close(features.mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)
    raw = LogMel(normalization="none")(noise(16000))
    torch.testing.assert_close(features, (raw - raw.mean(0)) / raw.std(0, correction=0), atol=1e-3, rtol=0)
    louder = LogMel(normalization="utterance")(noise(16000) * 3)
    torch.testing.assert_close(features, louder, atol=1e-3, rtol=0)


def test_global_normalization_is_left_to_the_model() -> None:
    torch.testing.assert_close(LogMel(normalization="global")(noise(9000)), LogMel(normalization="none")(noise(9000)))


@pytest.mark.parametrize("normalization", ["utterance", "none"])
def test_silence_is_finite(normalization: str) -> None:
    features = LogMel(normalization=normalization)(np.zeros(8000, np.float32))  # type: ignore[arg-type]
    assert bool(torch.isfinite(features).all())
    if normalization == "utterance":
        assert not features.any()


def test_long_recordings_in_pieces_are_the_same() -> None:
    wave = noise(16000 * 12)
    whole = LogMel(normalization="none")(wave)
    piece = LogMel(normalization="none")(wave[160 * 600 : 160 * 700])
    torch.testing.assert_close(whole[605:695], piece[5:95], atol=1e-4, rtol=1e-4)


def test_results_are_ordinary_tensors() -> None:
    """Not inference tensors: training saves them for the backward pass."""
    features = LogMel()(noise(16000))
    assert not features.is_inference() and not features.requires_grad and features.dtype == torch.float32
    weight = torch.ones(80, requires_grad=True)
    (features * weight).sum().backward()


@pytest.mark.parametrize(("sample_rate", "n_mels"), [(8000, 80), (4000, 80), (16000, 256), (192000, 80)])
def test_no_band_is_empty(sample_rate: int, n_mels: int) -> None:
    """Where bands are narrower than the FFT's bins, the FFT gets longer."""
    features = LogMel(sample_rate, n_mels, normalization="none")(noise(sample_rate))
    assert float(features.min()) > -15


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="expected 1 ≤ hop ≤ window"):
        LogMel(16000, window_ms=10, hop_ms=25)
    with pytest.raises(ConfigError, match="expected 1 ≤ hop"):
        LogMel(4000, window_ms=0.3, hop_ms=0.1)
    with pytest.raises(ConfigError, match="expected utterance, global or none"):
        LogMel(normalization="batch")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_bad_waveforms(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"a waveform must be \(S,\)"):
        LogMel()(np.zeros(shape, np.float32))
