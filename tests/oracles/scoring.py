"""Slow and obvious scoring: edit distances by recursion, sclite's recurrence cell by cell, and by all alignments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

Pair = tuple[str | None, str | None]


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance by its recursive definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        same = reference[i - 1] == hypothesis[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(reference), len(hypothesis))


def all_alignments(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[list[Pair]]:
    """Every way to align two sequences monotonically."""
    if not reference and not hypothesis:
        yield []
    if reference:
        yield from ([(reference[0], None), *rest] for rest in all_alignments(reference[1:], hypothesis))
    if hypothesis:
        yield from ([(None, hypothesis[0]), *rest] for rest in all_alignments(reference, hypothesis[1:]))
    if reference and hypothesis:
        yield from ([(reference[0], hypothesis[0]), *rest] for rest in all_alignments(reference[1:], hypothesis[1:]))


def weight(pair: Pair, substitution: int, gap: int) -> int:
    """What one step of an alignment costs."""
    if None in pair:
        return gap
    return 0 if pair[0] == pair[1] else substitution


def counts(pairs: Sequence[Pair]) -> tuple[int, int, int, int]:
    """(hits, substitutions, deletions, insertions)."""
    return (
        sum(a == b for a, b in pairs),
        sum(a != b and a is not None and b is not None for a, b in pairs),
        sum(b is None for _, b in pairs),
        sum(a is None for a, _ in pairs),
    )


def sclite_pairs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Pair]:
    """sclite's alignment: dictionaries of costs, then back from the end, diagonal before insertion before deletion."""
    cost = {(0, 0): 0}
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            options = []
            if i and j:
                options.append(cost[i - 1, j - 1] + weight((reference[i - 1], hypothesis[j - 1]), 4, 3))
            if j:
                options.append(cost[i, j - 1] + 3)
            if i:
                options.append(cost[i - 1, j] + 3)
            if options:
                cost[i, j] = min(options)
    i, j = len(reference), len(hypothesis)
    backwards: list[Pair] = []
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + weight((reference[i - 1], hypothesis[j - 1]), 4, 3):
            i, j = i - 1, j - 1
            backwards.append((reference[i], hypothesis[j]))
        elif j and cost[i, j] == cost[i, j - 1] + 3:
            j -= 1
            backwards.append((None, hypothesis[j]))
        else:
            i -= 1
            backwards.append((reference[i], None))
    return backwards[::-1]
