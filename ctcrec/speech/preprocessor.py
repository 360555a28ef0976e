"""Speech behind the seam of `ctcrec.data.preprocessing`: audio files → waveforms → log-mel features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctcrec.data.masking import FeatureMasker
from ctcrec.data.preprocessing import MediaSource
from ctcrec.errors import ManifestError
from ctcrec.records import Example
from ctcrec.speech.augmentation import SpeechAugmenter
from ctcrec.speech.features import LogMel
from ctcrec.speech.media import count_samples, load_audio, probe_audio
from ctcrec.speech.memory import samples_of

__all__ = ["SpeechPreprocessor"]


class SpeechPreprocessor:
    """The `Preprocessor` of speech.

    Args:
        features: keyword arguments of `LogMel`.
        augmentation: keyword arguments of `SpeechAugmenter` and `FeatureMasker`; none = nothing is changed.
    """

    def __init__(
        self, features: Mapping[str, Any] | None = None, augmentation: Mapping[str, Any] | None = None
    ) -> None:
        self._log_mel = LogMel(**(features or {}))
        self._masker, changes = FeatureMasker.split(augmentation or {})
        self._augmenter = SpeechAugmenter(**changes)

    @property
    def n_features(self) -> int:
        """Mel bands."""
        return self._log_mel.n_mels

    @property
    def unit(self) -> str:
        """Spans are in seconds."""
        return "seconds"

    def load(self, media: MediaSource, start: float | None = None, end: float | None = None) -> np.ndarray:
        """Mono samples (S,) float32 at the configured rate; see `load_audio`."""
        return load_audio(media, self._log_mel.sample_rate, start, end)

    def from_memory(self, data: np.ndarray, rate: int | None = None) -> np.ndarray:
        """Mono samples (S,) float32 at the configured rate, of an array at `rate`; raises InputError, see
        `samples_of`."""
        return samples_of(data, rate, self._log_mel.sample_rate)

    def doubt(self, source: np.ndarray) -> str | None:
        """Nothing tells of a waveform that it is no speech."""
        return None

    def augment(self, source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Another waveform by speed, noise and gain; see `SpeechAugmenter.augment`."""
        return self._augmenter.augment(source, generator)

    def features(self, source: np.ndarray) -> torch.Tensor:
        """Log-mel features (T, F); see `LogMel`."""
        return self._log_mel(source)

    def mask(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Features with SpecAugment masks; see `FeatureMasker`."""
        return self._masker(features, generator)

    def count_frames(self, example: Example, generator: np.random.Generator | None = None) -> int:
        """T of an example from `start`, `end` and `duration` (the whole file's), without opening the file.

        With a generator: T after `augment` with an equal one.

        Raises:
            ManifestError: the example has neither `end` nor `duration`, or they leave nothing.
        """
        end = example.end if example.end is not None else example.duration
        if end is None:
            raise ManifestError(f"{example.id}: has no duration; write the manifest with `ctcrec prepare`, or add it")
        seconds = end - (example.start or 0.0)
        if seconds <= 0:
            raise ManifestError(
                f"{example.id}: nothing lies between its start at {example.start or 0:g} s and its end at {end:g} s"
            )
        samples = count_samples(seconds, self._log_mel.sample_rate)
        if generator is not None:
            samples = self._augmenter.output_size(samples, generator)
        return self._log_mel.count_frames_of(samples)

    def unit_per_frame(self, source: np.ndarray) -> float:
        """Seconds from one frame to the next."""
        return self._log_mel.seconds_per_frame

    def extent(self, source: np.ndarray) -> float:
        """Length of the waveform in seconds."""
        return source.size / self._log_mel.sample_rate

    def describe(self, media: Path) -> dict[str, Any]:
        """`{"duration": seconds}` from the file's header."""
        return {"duration": probe_audio(media).duration}
