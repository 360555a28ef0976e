"""Oracle error rate: what n-best lists would score if the best of each list were always picked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctcrec.scoring.alignment import Alignment
from ctcrec.scoring.rates import ErrorCounts, Unit, error_counts

__all__ = ["oracle_counts", "oracle_curve"]


def oracle_counts(
    reference: str, candidates: Sequence[str], unit: Unit = "words", alignment: Alignment = "minimum"
) -> ErrorCounts:
    """Counts of the candidate with the fewest errors, the first such; of an empty list, all deletions."""
    best: ErrorCounts | None = None
    for candidate in candidates or [""]:
        counts = error_counts(reference, candidate, unit, alignment)
        if best is None or counts.errors < best.errors:
            best = counts
        if best.errors == 0:
            break
    assert best is not None
    return best


def oracle_curve(
    examples: Iterable[tuple[str, Sequence[str]]],
    depths: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    unit: Unit = "words",
    alignment: Alignment = "minimum",
) -> list[tuple[int, ErrorCounts]]:
    """Corpus counts when the best of the first n candidates is picked, for each depth n up to the longest list.

    Args:
        examples: (reference, candidates best first), all normalized.
    """
    examples = list(examples)
    longest = max((len(candidates) for _, candidates in examples), default=0)
    chosen = sorted({depth for depth in depths if depth < longest} | ({longest} if longest else set()))
    totals = {depth: ErrorCounts() for depth in chosen}
    for reference, candidates in examples:
        for depth in chosen:
            totals[depth] += oracle_counts(reference, candidates[:depth], unit, alignment)
    return list(totals.items())
