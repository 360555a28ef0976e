"""Samples in memory give what their files give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch
from tiny import SAMPLE_RATE, sound_text

from ctcrec.errors import InputError
from ctcrec.recognizer import Recognizer
from ctcrec.speech.media import load_audio
from ctcrec.speech.memory import samples_of

if TYPE_CHECKING:
    from conftest import Trained

WAVE = sound_text("ab cd")


@pytest.mark.parametrize(
    "given",
    [WAVE, WAVE[None], np.stack([WAVE, WAVE]), np.stack([WAVE, WAVE], axis=1), WAVE.astype(np.float64)],
    ids=["mono", "one-channel", "channels-first", "channels-last", "double"],
)
def test_every_form_is_the_same_recording(given: np.ndarray) -> None:
    found = samples_of(given, None, SAMPLE_RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WAVE, atol=1e-6)


def test_integers_have_the_full_scale_of_their_type(tmp_path: Path) -> None:
    integers = np.rint(WAVE * 32767).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", integers, SAMPLE_RATE, subtype="PCM_16")
    np.testing.assert_array_equal(samples_of(integers, None, SAMPLE_RATE), load_audio(tmp_path / "x.wav", SAMPLE_RATE))


def test_another_rate_is_resampled_as_files_are(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", WAVE, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(samples_of(WAVE, SAMPLE_RATE, 16000), load_audio(tmp_path / "x.wav", 16000))


@pytest.mark.parametrize(
    ("given", "rate", "expected"),
    [
        (np.zeros((2, 3, 4), np.float32), None, "shape"),
        (np.zeros(0, np.float32), None, "shape"),
        (np.zeros((100, 100), np.float32), None, "shape"),
        (np.zeros(10, np.uint8), None, "signed integers"),
        (np.full(10, np.nan, np.float32), None, "not finite"),
        (np.full(10, 1e9, np.float32), None, "full scale"),
        (np.zeros(10, np.float32), 10, "sample rate of 10"),
    ],
)
def test_what_is_no_recording_is_refused(given: np.ndarray, rate: int | None, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        samples_of(given, rate, 16000)


def test_a_recognizer_takes_arrays_and_tensors(trained_models: dict[str, Trained]) -> None:
    recognizer = Recognizer.load(trained_models["speech"].run, "cpu")
    expected = recognizer.transcribe(WAVE)
    assert recognizer.transcribe(torch.from_numpy(WAVE)) == expected
    assert recognizer.transcribe(torch.from_numpy(WAVE).requires_grad_(), SAMPLE_RATE) == expected
    doubled = recognizer.transcribe(np.repeat(WAVE, 2), 2 * SAMPLE_RATE)
    assert doubled.text == expected.text
    with pytest.raises(InputError, match="a rate belongs to samples in memory"):
        recognizer.transcribe(b"RIFF", 16000)
    with pytest.raises(InputError, match="cannot recognize a list: expected a path, a file, bytes"):
        recognizer.transcribe([WAVE])  # type: ignore[arg-type]
