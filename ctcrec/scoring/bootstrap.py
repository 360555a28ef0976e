"""Bootstrap confidence intervals of error rates (Bisani & Ney 2004, "Bootstrap estimates for confidence intervals").

A corpus is resampled with replacement, by example or by whole speakers; the rate of each resample is the quotient of
its summed counts, and the interval is the middle 95 % of those rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError

__all__ = ["Interval", "rate_interval", "resample_sums", "sum_by_group"]

_BLOCK = 1 << 20  # draws at a time: bounds the memory at about 16 MiB whatever the size of the corpus


class Interval(NamedTuple):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float


def resample_sums(rows: npt.NDArray[np.int64], samples: int = 1000, seed: int = 0) -> npt.NDArray[np.float64]:
    """Column sums of bootstrap resamples.

    Args:
        rows: (N, K) counts of N examples or groups, which are drawn as wholes.
        samples: number of resamples, each of N draws.
        seed: of the draws; the same seed and N draw the same rows, so that systems can be compared in pairs.

    Returns:
        (samples, K) sums.
    """
    count = len(rows)
    if count == 0 or samples < 1:
        raise InputError(f"resampling needs at least one row and one sample, got {count} rows and {samples} samples")
    generator = np.random.default_rng(seed)
    values = rows.astype(np.float64)
    sums = np.empty((samples, rows.shape[1]))
    block = max(1, _BLOCK // count)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        draws = generator.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        weights = np.bincount(draws.ravel(), minlength=size * count).reshape(size, count)
        sums[start : start + size] = weights @ values
    return sums


def rate_interval(errors: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of errors / lengths, both (samples,)."""
    low, high = np.quantile(errors / np.maximum(lengths, 1), (0.025, 0.975))
    return Interval(float(low), float(high))


def sum_by_group(rows: npt.NDArray[np.int64], groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """Add the rows of each group: (N, K) and N names to (groups, K)."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((int(index.max()) + 1, rows.shape[1]), np.int64)
    np.add.at(sums, index, rows)
    return sums
