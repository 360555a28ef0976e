"""Log-mel filterbanks: waveform (S,) → features (T, F).

The numbers are Kaldi's `compute-fbank-feats` with `--snip-edges=false --dither=0` (as in
`torchaudio.compliance.kaldi.fbank`): the mean of each frame removed, pre-emphasis 0.97, Povey window, power spectrum,
triangular filters from 20 Hz to half the rate, natural logarithm. Samples stay in [-1, 1], so that the floor
ln(1.2e-7) lies near the noise of 16-bit rounding.

Frame t covers the samples from t · hop to (t + 1) · hop; its window is centred there, and at the borders the waveform
is mirrored. T = max(1, ⌊S / hop + 1/2⌋).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from ctcrec.errors import ConfigError, InputError
from ctcrec.speech.media import count_samples

__all__ = ["LogMel"]

_LOW_FREQUENCY = 20.0
_PREEMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps
_DEVIATION_FLOOR = 1e-3  # nats; a band that never changes stays 0
_FRAMES_AT_ONCE = 256  # stays in the processor's cache: 1.4 times as fast as all frames of 15 s at once


class LogMel:
    """Log-mel features of one waveform.

    Args:
        sample_rate: samples a second of the waveforms.
        n_mels: number of bands, F.
        window_ms, hop_ms: length and distance of the windows, milliseconds.
        normalization: "utterance" makes mean 0 and variance 1 in each band of each waveform. "global" is done inside
            the model with the training set's statistics, so that here it is the same as "none".

    Raises:
        ConfigError: the values do not go together.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        normalization: Literal["utterance", "global", "none"] = "utterance",
    ) -> None:
        self.sample_rate = sample_rate
        self.n_mels = n_mels
        self.window = round(window_ms * sample_rate / 1000)
        self.hop = round(hop_ms * sample_rate / 1000)
        self.normalization = normalization
        if self.hop < 1 or self.window < 2 or self.hop > self.window:
            raise ConfigError(
                f"features.window_ms={window_ms:g} and features.hop_ms={hop_ms:g} at {sample_rate} Hz are {self.window}"
                f" and {self.hop} samples; expected 1 ≤ hop ≤ window and a window of at least 2 samples"
            )
        if normalization not in ("utterance", "global", "none"):
            raise ConfigError(f"features.normalization is {normalization!r}; expected utterance, global or none")

    @property
    def seconds_per_frame(self) -> float:
        """Exact distance of two frames, after rounding to whole samples."""
        return self.hop / self.sample_rate

    def count_frames(self, duration: float) -> int:
        """T for so many seconds of audio: exactly the frames of what `load_audio` gives for them."""
        return self.count_frames_of(count_samples(duration, self.sample_rate))

    def count_frames_of(self, samples: int) -> int:
        """T for a waveform of S samples."""
        return max(1, (samples + self.hop // 2) // self.hop)

    def __call__(self, waveform: np.ndarray) -> torch.Tensor:
        """Features (T, F) float32 of a waveform (S,) float32, S ≥ 1.

        Raises:
            InputError: the waveform is empty or not one-dimensional.
        """
        if waveform.ndim != 1 or waveform.size == 0:
            raise InputError(f"a waveform must be (S,) with S ≥ 1; got shape {waveform.shape}")
        frames = self._frames(np.asarray(waveform, dtype=np.float32))
        with torch.inference_mode():
            parts = [self._spectra(part) for part in torch.split(frames, _FRAMES_AT_ONCE)]
        features = (parts[0] if len(parts) == 1 else torch.cat(parts)).clone()
        if self.normalization == "utterance":
            deviation, mean = torch.std_mean(features, dim=0, correction=0)
            features = (features - mean) / deviation.clamp_min(_DEVIATION_FLOOR)
        return features

    def _frames(self, waveform: np.ndarray) -> torch.Tensor:
        """(T, window) view of the mirrored waveform."""
        count = self.count_frames_of(waveform.size)
        before = self.window // 2 - self.hop // 2
        after = max(0, (count - 1) * self.hop + self.window - before - waveform.size)
        mirrored = np.pad(waveform, (before, after), mode="symmetric")
        return torch.from_numpy(mirrored).unfold(0, self.window, self.hop)[:count]

    def _spectra(self, frames: torch.Tensor) -> torch.Tensor:
        """(T, window) → (T, F) log-mel energies."""
        window, filters, n_fft = _tables(self.sample_rate, self.n_mels, self.window)
        frames = frames - frames.mean(dim=1, keepdim=True)
        # Kaldi's pre-emphasis starts each frame with x[0] − 0.97 x[0].
        emphasized = torch.cat([frames[:, :1], frames[:, :-1]], dim=1).mul_(-_PREEMPHASIS).add_(frames).mul_(window)
        spectrum = torch.fft.rfft(emphasized, n=n_fft)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return (power @ filters).clamp_min_(_FLOOR).log_()


@lru_cache(maxsize=16)
def _tables(sample_rate: int, n_mels: int, window: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Povey window (window,), mel filters (bins, F), and the FFT's size.

    The size is the next power of two, as in Kaldi, and more where a low band would lie between two bins.
    """
    from torchaudio.compliance.kaldi import get_mel_banks

    n_fft = 2 ** math.ceil(math.log2(window))
    filters = torch.zeros(0, 0)
    for _ in range(8):
        filters, _centres = get_mel_banks(n_mels, n_fft, float(sample_rate), _LOW_FREQUENCY, 0.0, 100.0, -500.0, 1.0)
        if bool((filters.sum(dim=1) > 0).all()):
            break
        n_fft *= 2
    else:
        raise ConfigError(f"features.n_mels={n_mels} is too many bands for {sample_rate} Hz; use fewer")
    filters = torch.nn.functional.pad(filters, (0, 1)).T.contiguous()  # Kaldi leaves the Nyquist bin out
    povey = torch.hann_window(window, periodic=False, dtype=torch.float64).pow(0.85).float()
    return povey, filters, n_fft
