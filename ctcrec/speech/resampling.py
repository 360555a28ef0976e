"""Changing the sample rate, with torchaudio's windowed-sinc kernels, each built once."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch

__all__ = ["count_resampled", "resample"]

# A kernel has (old + ~14 · max(old, new)/new) · new taps for the reduced ratio old/new: 12 MB at most with this limit.
# Rates that share no large divisor (44101 and 16000) get the nearest ratio with smaller terms, some µs off in a second.
_LARGEST_TERM = 1000


def count_resampled(samples: int, old_rate: int, new_rate: int) -> int:
    """How many samples `resample` makes of `samples`: ⌈samples · new_rate / old_rate⌉."""
    return -(-samples * new_rate // old_rate)


def resample(samples: np.ndarray, old_rate: int, new_rate: int) -> np.ndarray:
    """Samples (S,) float32 at `old_rate` as (S′,) float32 at `new_rate`, S′ = `count_resampled(S, ...)`."""
    if old_rate == new_rate:
        return samples
    wanted = count_resampled(samples.size, old_rate, new_rate)
    transform = _transform(*_reduced(old_rate, new_rate))
    with torch.inference_mode():
        changed: np.ndarray = transform(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
    if changed.size < wanted:  # only where the ratio was rounded
        return np.pad(changed, (0, wanted - changed.size))
    return changed[:wanted]


def _reduced(old_rate: int, new_rate: int) -> tuple[int, int]:
    ratio = Fraction(old_rate, new_rate)
    if max(ratio.numerator, ratio.denominator) > _LARGEST_TERM:
        flip = ratio > 1
        ratio = (1 / ratio if flip else ratio).limit_denominator(_LARGEST_TERM)
        ratio = 1 / ratio if flip else ratio
    return ratio.numerator, ratio.denominator


@lru_cache(maxsize=64)
def _transform(old: int, new: int) -> Any:
    from torchaudio.transforms import Resample

    if math.gcd(old, new) != 1:
        raise AssertionError("the ratio is reduced")
    return Resample(old, new)
