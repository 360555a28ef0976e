"""The seam: header values, counts and waveforms of one preprocessor agree with each other and with the config."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ctcrec.config import SpeechAugmentation, SpeechFeatures
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import ManifestError, MediaError
from ctcrec.records import Example
from ctcrec.speech import SpeechPreprocessor


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "x.flac"
    wave = np.random.default_rng(0).standard_normal(22050 * 2 + 11).astype(np.float32) * 0.1
    soundfile.write(path, wave, 22050)
    return path


def test_takes_the_configs_sections(audio: Path) -> None:
    preprocessor: Preprocessor = SpeechPreprocessor(
        SpeechFeatures(n_mels=40).model_dump(), SpeechAugmentation(speeds=(0.9, 1.1), time_masks=1).model_dump()
    )
    assert (preprocessor.n_features, preprocessor.unit) == (40, "seconds")
    generator = np.random.default_rng([1, 2, 3])
    source = preprocessor.augment(preprocessor.load(audio), generator)
    features = preprocessor.mask(preprocessor.features(source), generator)
    assert features.shape[1] == 40 and features.dtype == torch.float32


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.5, None), (None, 1.25), (0.123, 1.777)])
def test_counts_what_comes(audio: Path, start: float | None, end: float | None) -> None:
    preprocessor = SpeechPreprocessor()
    header = preprocessor.describe(audio)
    example = Example("x", audio, start=start, end=end, **header)
    features = preprocessor.features(preprocessor.load(audio, start, end))
    assert preprocessor.count_frames(example) == len(features)


def test_seconds(audio: Path) -> None:
    preprocessor = SpeechPreprocessor({"hop_ms": 12.5})
    source = preprocessor.load(audio)
    assert preprocessor.unit_per_frame(source) == 0.0125
    assert preprocessor.extent(source) == pytest.approx(preprocessor.describe(audio)["duration"], abs=1 / 16000)


def test_seeded_by_seed_epoch_and_id(audio: Path) -> None:
    """What a worker draws for an example depends on nothing but its generator: not on what came before."""
    preprocessor = SpeechPreprocessor(
        augmentation={"speeds": (0.9, 1.0, 1.1), "noise_probability": 0.5, "gain_db": 3, "time_masks": 2}
    )
    source = preprocessor.load(audio)

    def view(preprocessor: SpeechPreprocessor, *seed: int) -> torch.Tensor:
        generator = np.random.default_rng(seed)
        return preprocessor.mask(preprocessor.features(preprocessor.augment(source, generator)), generator)

    expected = view(preprocessor, 1, 5, 99)
    view(preprocessor, 1, 5, 100)
    assert torch.equal(view(preprocessor, 1, 5, 99), expected)
    fresh = SpeechPreprocessor(
        augmentation={"speeds": (0.9, 1.0, 1.1), "noise_probability": 0.5, "gain_db": 3, "time_masks": 2}
    )
    assert torch.equal(view(fresh, 1, 5, 99), expected)
    other = view(preprocessor, 1, 6, 99)
    assert other.shape != expected.shape or not torch.equal(other, expected)


def test_counting_without_a_duration() -> None:
    preprocessor = SpeechPreprocessor()
    with pytest.raises(ManifestError, match="utt7: has no duration"):
        preprocessor.count_frames(Example("utt7", Path("x.wav")))
    with pytest.raises(ManifestError, match="utt7: nothing lies between its start at 3 s and its end at 2 s"):
        preprocessor.count_frames(Example("utt7", Path("x.wav"), start=3.0, duration=2.0))


def test_describe_names_bad_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.wav: no such file"):
        SpeechPreprocessor().describe(tmp_path / "none.wav")
