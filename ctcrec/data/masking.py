"""SpecAugment's masks (Park et al. 2019, arXiv 1904.08779): stretches of frames, or bands of features, blotted out.

They know only (T, F) features, so spectra and pixel columns are masked by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

__all__ = ["FeatureMasker"]


@dataclass(frozen=True, slots=True)
class FeatureMasker:
    """Masks features at random; a masked value becomes the example's mean in its band.

    Attributes:
        time_masks, time_mask_frames, time_mask_fraction: number of time masks, and the longest one in frames and as a
            share of the example (m_T, T and p of the paper).
        frequency_masks, frequency_mask_bands: number of bands of features, and the widest one (m_F, F).
    """

    time_masks: int = 0
    time_mask_frames: int = 40
    time_mask_fraction: float = 0.2
    frequency_masks: int = 0
    frequency_mask_bands: int = 15

    @classmethod
    def split(cls, augmentation: Mapping[str, Any]) -> tuple[FeatureMasker, dict[str, Any]]:
        """A masker from the keys that are its own, and the other keys."""
        own = {field.name for field in fields(cls)}
        masker = cls(**{key: value for key, value in augmentation.items() if key in own})
        return masker, {key: value for key, value in augmentation.items() if key not in own}

    def __call__(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """A copy of features (T, F) with masks. Lengths and places are uniform; masks may be empty or overlap."""
        frames, bands = features.shape
        masked = features.clone()
        if not (self.time_masks or self.frequency_masks):
            return masked
        mean = features.mean(dim=0)
        longest = min(self.time_mask_frames, int(self.time_mask_fraction * frames))
        for _ in range(self.time_masks):
            start, end = _draw(longest, frames, generator)
            masked[start:end] = mean
        for _ in range(self.frequency_masks):
            start, end = _draw(min(self.frequency_mask_bands, bands), bands, generator)
            masked[:, start:end] = mean[start:end]
        return masked


def _draw(longest: int, size: int, generator: np.random.Generator) -> tuple[int, int]:
    length = int(generator.integers(longest + 1))
    start = int(generator.integers(size - length + 1))
    return start, start + length
