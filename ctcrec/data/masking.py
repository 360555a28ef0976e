"""SpecAugment (Park et al. 2019, arXiv 1904.08779): random stretches of frames or of features set to a constant.

It knows only (T, F) features, so that spectra and pixel columns are masked by the same code.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["mask_features"]


def mask_features(
    features: torch.Tensor,
    generator: np.random.Generator,
    *,
    time_masks: int = 0,
    time_mask_frames: int = 40,
    time_mask_fraction: float = 0.2,
    frequency_masks: int = 0,
    frequency_mask_bands: int = 15,
    value: float = 0.0,
) -> torch.Tensor:
    """A copy of (T, F) features with masks filled by `value`.

    Args:
        time_masks: how many stretches of frames; each is at most `time_mask_frames` long, and all of them together
            cover at most `time_mask_fraction` of the T frames.
        frequency_masks: how many bands of features, each at most `frequency_mask_bands` wide.
    """
    frames, bands = features.shape
    masked = features.clone()
    budget = int(time_mask_fraction * frames)
    for _ in range(time_masks):
        width = int(generator.integers(0, min(time_mask_frames, budget) + 1))
        start = int(generator.integers(0, frames - width + 1))
        masked[start : start + width] = value
        budget -= width
    for _ in range(frequency_masks):
        width = int(generator.integers(0, min(frequency_mask_bands, bands) + 1))
        start = int(generator.integers(0, bands - width + 1))
        masked[:, start : start + width] = value
    return masked
