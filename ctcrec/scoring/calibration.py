"""Whether confidences mean what they say: of the words given 80 % confidence, 80 % should be right.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2: reliability diagram and expected calibration
error (ECE), the mean over all items of |accuracy - mean confidence| of the bin that the item falls in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.scoring.alignment import Alignment, align

__all__ = ["Calibration", "CalibrationBin", "calibrate", "words_correct"]


class CalibrationBin(NamedTuple):
    """Items with a confidence in [low, high): how many, their mean confidence, and the share that is right."""

    low: float
    high: float
    items: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of confidences. `unit` says what they are of: words, or whole examples."""

    unit: str
    items: int
    expected_error: float
    bins: tuple[CalibrationBin, ...]


def words_correct(reference: str, words: Sequence[str], alignment: Alignment = "minimum") -> list[bool]:
    """For each hypothesis word, whether the alignment calls it a hit."""
    correct = [False] * len(words)
    for tag, _, _, start, end in align(reference.split(), words, alignment):
        if tag == "equal":
            correct[start:end] = [True] * (end - start)
    return correct


def calibrate(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, unit: str = "words", bins: int = 10
) -> Calibration | None:
    """Reliability in bins of equal width; empty bins are left out. None when there are no items.

    Args:
        confidences: (N,) probabilities.
        correct: (N,) whether each is right.
        unit: what the items are, for the report.
        bins: number of bins over [0, 1].

    Raises:
        InputError: a confidence is not a probability, or the two do not match.
    """
    probability = np.asarray(confidences, np.float64)
    right = np.asarray(correct, bool)
    if probability.shape != right.shape or probability.ndim != 1:
        raise InputError(f"confidences {probability.shape} and correct {right.shape} must be one-dimensional and alike")
    if probability.size == 0:
        return None
    if not ((probability >= 0) & (probability <= 1)).all():
        wrong = probability[~((probability >= 0) & (probability <= 1))][0]
        raise InputError(f"confidences are probabilities between 0 and 1, got {wrong}")
    index = np.minimum((probability * bins).astype(int), bins - 1)
    filled: list[CalibrationBin] = []
    for number in range(bins):
        inside = index == number
        if inside.any():
            confidence, accuracy = float(probability[inside].mean()), float(right[inside].mean())
            filled.append(CalibrationBin(number / bins, (number + 1) / bins, int(inside.sum()), confidence, accuracy))
    error = sum(b.items * abs(b.accuracy - b.confidence) for b in filled) / probability.size
    return Calibration(unit, int(probability.size), error, tuple(filled))
