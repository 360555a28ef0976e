"""Whether one system really is better than another on the same examples.

- Matched pairs sentence segment word error test, MAPSSWE (Gillick & Cox 1989, "Some statistical issues in the
  comparison of speech recognition algorithms"), segmented as NIST's sc_stats does: texts are cut where both systems
  have at least two words in a row right, so that the errors of different segments are nearly independent. With n
  segments whose error differences have mean m and standard deviation s, Z = m / (s / sqrt(n)) is about normal if the
  systems are equal.
- Paired bootstrap (Bisani & Ney 2004; Koehn 2004): the same resamples of the examples for both systems.

Positive differences mean that the first system makes more errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.scoring.alignment import Alignment, Chunk, align
from ctcrec.scoring.bootstrap import Interval, resample_sums

__all__ = ["Mapsswe", "PairedBootstrap", "mapsswe", "paired_bootstrap", "segment_errors"]

_GOOD_WORDS = 2  # words in a row, right in both systems, that end a segment; the default of sc_stats


@dataclass(frozen=True, slots=True)
class Mapsswe:
    """Result of the matched pairs test: segments, mean difference in errors a segment, Z, and two-sided p."""

    segments: int
    mean: float
    z: float
    p_value: float


@dataclass(frozen=True, slots=True)
class PairedBootstrap:
    """Result of the paired bootstrap.

    Attributes:
        difference: rate of the first system minus rate of the second.
        interval: 95 % interval of the difference.
        p_value: two-sided, of a difference at least as large if the systems were equal.
    """

    difference: float
    interval: Interval
    p_value: float


def _errors_by_word(chunks: Sequence[Chunk], length: int) -> tuple[list[int], list[bool]]:
    """For an alignment with a reference of `length` words: insertions before each word, and after the last (length + 1
    numbers), and whether each word is wrong (length)."""
    insertions, wrong = [0] * (length + 1), [False] * length
    for tag, start, end, hypothesis_start, hypothesis_end in chunks:
        if tag == "insert":
            insertions[start] += hypothesis_end - hypothesis_start
        elif tag != "equal":
            wrong[start:end] = [True] * (end - start)
    return insertions, wrong


def segment_errors(
    reference: Sequence[str], first: Sequence[str], second: Sequence[str], alignment: Alignment = "minimum"
) -> list[tuple[int, int]]:
    """Errors of both systems in each segment of one text; segments without errors are left out."""
    inserted_1, wrong_1 = _errors_by_word(align(reference, first, alignment), len(reference))
    inserted_2, wrong_2 = _errors_by_word(align(reference, second, alignment), len(reference))
    segments: list[tuple[int, int]] = []
    errors_1 = errors_2 = good = 0
    wrong_1.append(False)  # the end of the text
    wrong_2.append(False)
    for before_1, before_2, bad_1, bad_2 in zip(inserted_1, inserted_2, wrong_1, wrong_2, strict=True):
        errors_1 += before_1 + bad_1
        errors_2 += before_2 + bad_2
        if bad_1 or bad_2:
            good = 0
            continue
        good = 1 if before_1 or before_2 else good + 1
        if good >= _GOOD_WORDS and (errors_1 or errors_2):
            segments.append((errors_1, errors_2))
            errors_1 = errors_2 = 0
    if errors_1 or errors_2:
        segments.append((errors_1, errors_2))
    return segments


def mapsswe(texts: Iterable[tuple[str, str, str]], alignment: Alignment = "minimum") -> Mapsswe:
    """The matched pairs test over (reference, first hypothesis, second hypothesis), normalized texts.

    Two systems without any difference get Z = 0 and p = 1.
    """
    segments: list[tuple[int, int]] = []
    for reference, first, second in texts:
        if first == second == reference:
            continue
        segments += segment_errors(reference.split(), first.split(), second.split(), alignment)
    differences = np.array([first - second for first, second in segments], np.float64)
    count = len(differences)
    mean = float(differences.mean()) if count else 0.0
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0.0:
        # All segments differ alike: nothing to learn from if they do not differ, or if there is one alone.
        z = math.copysign(math.inf, mean) if count > 1 and mean else 0.0
    else:
        z = mean / (deviation / math.sqrt(count))
    return Mapsswe(count, mean, z, math.erfc(abs(z) / math.sqrt(2)))


def paired_bootstrap(rows: npt.NDArray[np.int64], samples: int = 1000, seed: int = 0) -> PairedBootstrap:
    """Compare two systems by resampling examples, or speakers.

    Args:
        rows: (N, 3) for each example or speaker: errors of the first system, of the second, units of the reference.
        samples, seed: see `resample_sums`.

    The p-value is the share of resamples whose difference lies at least as far from the observed one as that lies from
    zero, the observed one counted in: (1 + k) / (1 + samples), so never smaller than 1 / (1 + samples).
    """
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise InputError(f"rows must be (N, 3): errors of both systems and lengths; got {rows.shape}")
    total = rows.sum(axis=0)
    observed = float((total[0] - total[1]) / max(total[2], 1))
    sums = resample_sums(rows, samples, seed)
    differences = (sums[:, 0] - sums[:, 1]) / np.maximum(sums[:, 2], 1)
    low, high = np.quantile(differences, (0.025, 0.975))
    extreme = int((np.abs(differences - observed) >= abs(observed)).sum())
    p_value = (1 + extreme) / (1 + samples)
    return PairedBootstrap(observed, Interval(float(low), float(high)), p_value)
