"""Augmentation: what it promises about lengths and levels, and that all randomness is the generator's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctcrec.speech.augmentation import SpeechAugmenter, colored_noise


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed or 0)


def tone(size: int = 16000, frequency: float = 440.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * frequency * np.arange(size) / 16000)).astype(np.float32)


EVERYTHING = {
    "speeds": (0.9, 1.0, 1.1),
    "gain_db": 6.0,
    "noise_probability": 0.5,
}


def test_the_generator_decides_everything() -> None:
    augmenter, again = SpeechAugmenter(**EVERYTHING), SpeechAugmenter(**EVERYTHING)
    changed = []
    for seed in range(10):
        left, right = generator(7, 3, seed), generator(7, 3, seed)
        np.random.seed(seed)  # no other source of randomness has a say
        first = augmenter.augment(tone(), left)
        torch.manual_seed(seed)
        np.testing.assert_array_equal(first, again.augment(tone(), right))
        changed.append(first)
    assert len({wave.tobytes() for wave in changed}) == 10


def test_without_options_nothing_changes_and_nothing_is_shared() -> None:
    wave = tone()
    same = SpeechAugmenter().augment(wave, generator())
    np.testing.assert_array_equal(same, wave)
    same[:] = 0
    assert wave.any()


def test_inputs_are_left_alone() -> None:
    wave = tone()
    before = wave.copy()
    augmenter = SpeechAugmenter(**EVERYTHING)
    for seed in range(10):
        augmenter.augment(wave, generator(seed))
    np.testing.assert_array_equal(wave, before)


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    changed = SpeechAugmenter(speeds=(speed,)).augment(tone(frequency=500), generator())
    assert changed.size == pytest.approx(16000 / speed, abs=1)
    strongest = np.abs(np.fft.rfft(changed)).argmax() * 16000 / changed.size
    assert strongest == pytest.approx(500 * speed, rel=0.01)


def test_each_speed_is_drawn() -> None:
    augmenter = SpeechAugmenter(speeds=(0.9, 1.0, 1.1))
    sizes = {augmenter.augment(tone(1600), generator(seed)).size for seed in range(40)}
    assert sizes == {1600, 1778, 1455}


def test_gain_stays_in_its_range() -> None:
    augmenter = SpeechAugmenter(gain_db=6.0)
    gains = [20 * np.log10(np.abs(augmenter.augment(tone(), generator(s))).max() / 0.1) for s in range(200)]
    assert -6.01 < min(gains) < -5 and 5 < max(gains) < 6.01


@pytest.mark.parametrize("snr", [0.0, 10.0, 30.0])
def test_noise_has_the_ratio_asked_for(snr: float) -> None:
    augmenter = SpeechAugmenter(noise_probability=1.0, noise_snr_db=(snr, snr))
    for seed in range(5):
        added = augmenter.augment(tone(), generator(seed)) - tone()
        ratio = 10 * np.log10(np.mean(tone() ** 2) / np.mean(added**2))
        assert ratio == pytest.approx(snr, abs=0.05)


def test_noise_probability() -> None:
    augmenter = SpeechAugmenter(noise_probability=0.3)
    changed = [bool((augmenter.augment(tone(500), generator(seed)) != tone(500)).any()) for seed in range(400)]
    assert 0.22 < np.mean(changed) < 0.38


def test_noise_on_silence_is_silence() -> None:
    silent = np.zeros(4000, np.float32)
    changed = SpeechAugmenter(noise_probability=1.0).augment(silent, generator())
    assert np.isfinite(changed).all() and not changed.any()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_very_short_waveforms(size: int) -> None:
    augmenter = SpeechAugmenter(speeds=(0.9, 1.1), gain_db=3, noise_probability=1.0)
    changed = augmenter.augment(np.full(size, 0.1, np.float32), generator())
    assert changed.size >= 1 and changed.dtype == np.float32 and np.isfinite(changed).all()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_colours(slope: float) -> None:
    """Mean power 1, and a straight line of the stated slope in log power over log frequency."""
    power = np.zeros(8193)
    for seed in range(20):
        noise = colored_noise(16384, slope, generator(seed))
        assert np.mean(noise**2) == pytest.approx(1.0, rel=1e-3)
        power += np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.arange(100, 8000)
    fitted = np.polyfit(np.log(frequency), np.log(power[100:8000]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.1)
