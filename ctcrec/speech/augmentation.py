"""Changes to training utterances: speed, noise and gain.

Every choice is drawn from the generator given, so that an utterance changes the same way whatever process does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ctcrec.errors import ConfigError
from ctcrec.speech.resampling import count_resampled, resample

__all__ = ["SpeechAugmenter", "colored_noise"]

# Power falls with frequency as 1 / f^slope: white, pink (many rooms and machines), brown (traffic, wind).
_NOISE_SLOPES = (0.0, 1.0, 2.0)


class SpeechAugmenter:
    """Changes waveforms at random.

    Args:
        speeds: factors of speed perturbation (Ko et al. 2015), one drawn for each utterance; pitch changes with it.
        gain_db: gain drawn from [−gain_db, gain_db].
        noise_probability: how often noise is added: white, pink or brown.
        noise_snr_db: the utterance's mean power over the noise's, in decibels, drawn from this range.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(
        self,
        speeds: Sequence[float] = (1.0,),
        gain_db: float = 0.0,
        noise_probability: float = 0.0,
        noise_snr_db: tuple[float, float] = (5.0, 30.0),
    ) -> None:
        if not speeds or not all(0.1 <= speed <= 10 for speed in speeds):
            raise ConfigError(f"augmentation.speeds is {list(speeds)}; expected one or more factors from 0.1 to 10")
        if noise_snr_db[0] > noise_snr_db[1]:
            raise ConfigError(f"augmentation.noise_snr_db is {list(noise_snr_db)}; expected the lower value first")
        self._ratios = [Fraction(speed).limit_denominator(100) for speed in speeds]
        self.gain_db = gain_db
        self.noise_probability = noise_probability
        self.noise_snr_db = (noise_snr_db[0], noise_snr_db[1])

    def augment(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy of a waveform (S,) float32; its length changes with the speed."""
        ratio = self._draw_speed(generator)
        changed = resample(samples, ratio.numerator, ratio.denominator)  # played at the old rate: faster by the ratio
        if generator.random() < self.noise_probability:
            changed = self._with_noise(changed, generator)
        if self.gain_db:
            decibels = generator.uniform(-self.gain_db, self.gain_db)
            changed = changed * np.float32(10 ** (decibels / 20))
        return changed.copy() if changed is samples else changed

    def output_size(self, samples: int, generator: np.random.Generator) -> int:
        """How many samples `augment` makes of so many with an equal generator."""
        ratio = self._draw_speed(generator)
        return count_resampled(samples, ratio.numerator, ratio.denominator)

    def _draw_speed(self, generator: np.random.Generator) -> Fraction:
        return self._ratios[int(generator.integers(len(self._ratios)))]

    def _with_noise(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        slope = _NOISE_SLOPES[int(generator.integers(len(_NOISE_SLOPES)))]
        snr = generator.uniform(*self.noise_snr_db)
        power = float(np.dot(samples, samples)) / samples.size
        amplitude = np.float32(np.sqrt(power * 10 ** (-snr / 10)))
        return samples + amplitude * colored_noise(samples.size, slope, generator)


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
