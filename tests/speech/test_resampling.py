"""Resampling: lengths, tones, ratios."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.speech.resampling import count_resampled, resample

RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000]


@pytest.mark.parametrize("old", RATES)
def test_agrees_with_torchaudio(old: int) -> None:
    wave = np.random.default_rng(0).standard_normal(4001).astype(np.float32)
    expected = torchaudio.functional.resample(torch.from_numpy(wave), old, 16000)
    np.testing.assert_allclose(resample(wave, old, 16000), expected.numpy(), atol=1e-4, rtol=0)


@given(size=st.integers(1, 3000), old=st.sampled_from([*RATES, 44101, 7919]), new=st.sampled_from([8000, 16000, 7919]))
@settings(max_examples=60, deadline=None)
def test_length(size: int, old: int, new: int) -> None:
    assert resample(np.ones(size, np.float32), old, new).size == count_resampled(size, old, new)
    assert count_resampled(size, old, new) == -(-size * new // old)


@pytest.mark.parametrize("old", [44101, 12347, 767_999])
def test_rates_without_a_common_divisor_keep_the_pitch(old: int) -> None:
    """The rounded ratio is 3e-6 off at most: after a second, the phase of 1 kHz by a degree."""
    seconds = 1.0
    time = np.arange(round(old * seconds)) / old
    changed = resample(np.sin(2 * np.pi * 1000 * time).astype(np.float32), old, 16000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(changed.size) / 16000)
    assert np.abs(changed - expected)[200:-200].max() < 0.03


def test_the_same_rate_changes_nothing() -> None:
    wave = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    np.testing.assert_array_equal(resample(wave, 16000, 16000), wave)


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    time = np.arange(48000) / 48000
    changed = resample(np.sin(2 * np.pi * 12000 * time).astype(np.float32), 48000, 16000)
    assert np.abs(changed[100:-100]).max() < 0.02
