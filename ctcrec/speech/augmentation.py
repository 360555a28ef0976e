"""Changes to training utterances: speed, noise and gain on the waveform, SpecAugment masks on the features.

Every choice is drawn from the generator given, so that an utterance changes the same way whatever process does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from ctcrec.errors import ConfigError
from ctcrec.speech.resampling import resample

__all__ = ["SpeechAugmenter", "colored_noise"]

# Power falls with frequency as 1 / f^slope: white, pink (many rooms and machines), brown (traffic, wind).
_NOISE_SLOPES = (0.0, 1.0, 2.0)


class SpeechAugmenter:
    """Changes waveforms (`augment`) and features (`mask`) at random.

    Args:
        speeds: factors of speed perturbation (Ko et al. 2015), one drawn for each utterance; pitch changes with it.
        gain_db: gain drawn from [−gain_db, gain_db].
        noise_probability: how often noise is added: white, pink or brown.
        noise_snr_db: the utterance's mean power over the noise's, in decibels, drawn from this range.
        time_masks, time_mask_frames, time_mask_fraction: number of time masks, and the longest one in frames and as a
            share of the utterance (SpecAugment, Park et al. 2019: m_T, T and p).
        frequency_masks, frequency_mask_bands: number of frequency masks, and the widest one in bands (m_F, F).

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(
        self,
        speeds: Sequence[float] = (1.0,),
        gain_db: float = 0.0,
        noise_probability: float = 0.0,
        noise_snr_db: tuple[float, float] = (5.0, 30.0),
        time_masks: int = 0,
        time_mask_frames: int = 40,
        time_mask_fraction: float = 0.2,
        frequency_masks: int = 0,
        frequency_mask_bands: int = 15,
    ) -> None:
        if not speeds or not all(0.1 <= speed <= 10 for speed in speeds):
            raise ConfigError(f"augmentation.speeds is {list(speeds)}; expected one or more factors from 0.1 to 10")
        if noise_snr_db[0] > noise_snr_db[1]:
            raise ConfigError(f"augmentation.noise_snr_db is {list(noise_snr_db)}; expected the lower value first")
        self._ratios = [Fraction(speed).limit_denominator(100) for speed in speeds]
        self.gain_db = gain_db
        self.noise_probability = noise_probability
        self.noise_snr_db = (noise_snr_db[0], noise_snr_db[1])
        self.time_masks = time_masks
        self.time_mask_frames = time_mask_frames
        self.time_mask_fraction = time_mask_fraction
        self.frequency_masks = frequency_masks
        self.frequency_mask_bands = frequency_mask_bands

    def augment(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy of a waveform (S,) float32; its length changes with the speed."""
        ratio = self._ratios[int(generator.integers(len(self._ratios)))]
        changed = resample(samples, ratio.numerator, ratio.denominator)  # played at the old rate: faster by the ratio
        if generator.random() < self.noise_probability:
            changed = self._with_noise(changed, generator)
        if self.gain_db:
            decibels = generator.uniform(-self.gain_db, self.gain_db)
            changed = changed * np.float32(10 ** (decibels / 20))
        return changed.copy() if changed is samples else changed

    def _with_noise(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        slope = _NOISE_SLOPES[int(generator.integers(len(_NOISE_SLOPES)))]
        snr = generator.uniform(*self.noise_snr_db)
        power = float(np.dot(samples, samples)) / samples.size
        amplitude = np.float32(np.sqrt(power * 10 ** (-snr / 10)))
        return samples + amplitude * colored_noise(samples.size, slope, generator)

    def mask(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """A copy of features (T, F) with masks; a masked value becomes the utterance's mean in its band.

        Each time mask is at most `time_mask_frames` frames and `time_mask_fraction` of T long, each frequency mask at
        most `frequency_mask_bands` wide; lengths and places are drawn uniformly, and may be 0 or overlap.
        """
        frames, bands = features.shape
        masked = features.clone()
        if not (self.time_masks or self.frequency_masks):
            return masked
        mean = features.mean(dim=0)
        longest = min(self.time_mask_frames, int(self.time_mask_fraction * frames))
        for _ in range(self.time_masks):
            start, end = _draw_mask(longest, frames, generator)
            masked[start:end] = mean
        for _ in range(self.frequency_masks):
            start, end = _draw_mask(min(self.frequency_mask_bands, bands), bands, generator)
            masked[:, start:end] = mean[start:end]
        return masked


def _draw_mask(longest: int, size: int, generator: np.random.Generator) -> tuple[int, int]:
    length = int(generator.integers(longest + 1))
    start = int(generator.integers(size - length + 1))
    return start, start + length


def colored_noise(size: int, slope: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise (size,) float32 of mean power 1 whose power spectrum falls as 1 / f^slope.

    Made of white noise of a length that the FFT is fast at, shaped in frequency. Frequencies below a 500th of the
    rate (32 Hz at 16 kHz) are as strong as that one, so that the power is where speech is.
    """
    length = -(-size // 512) * 512
    noise = generator.standard_normal(length, dtype=np.float32)
    if slope:
        frequencies = np.maximum(np.fft.rfftfreq(length).astype(np.float32), np.float32(1 / 500))
        shape = np.exp(np.float32(-slope / 2) * np.log(frequencies))
        noise = np.fft.irfft(np.fft.rfft(noise) * shape, length).astype(np.float32)
    noise = noise[:size]
    return noise / np.sqrt(np.mean(np.square(noise)) + np.float32(1e-20))
