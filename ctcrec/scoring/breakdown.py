"""Scores broken down: by the values of a field, by length, and the worst examples one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ctcrec.scoring.corpus import CorpusCounts
from ctcrec.scoring.rates import ErrorCounts
from ctcrec.scoring.report import ExampleScore, GroupScore

__all__ = ["GROUP_FIELDS", "group_scores", "length_scores", "worst_examples"]

# Fields that scores are always grouped by, where they are known: who speaks or writes, and what the example is part of.
GROUP_FIELDS = ("speaker", "writer", "document", "form", "chapter", "folder")
_LENGTHS = (0, 1, 3, 6, 11, 16, 21, 31, 51)  # words of the reference at which a class of lengths begins


def group_scores(counts: CorpusCounts, values: Sequence[str | None]) -> tuple[GroupScore, ...]:
    """Scores for each value, in order of the values; examples without a value are gathered under `(none)`."""
    names, index = np.unique(np.asarray(["(none)" if v is None else v for v in values]), return_inverse=True)
    words, characters = (_sums(counts.counts[unit], index, len(names)) for unit in ("words", "characters"))
    sizes = np.bincount(index, minlength=len(names))
    correct = np.bincount(index, weights=counts.correct, minlength=len(names))
    return tuple(
        GroupScore(str(name), int(sizes[i]), int(correct[i]), words[i], characters[i]) for i, name in enumerate(names)
    )


def length_scores(counts: CorpusCounts) -> tuple[GroupScore, ...]:
    """Scores by the number of words in the reference."""
    index = np.searchsorted(_LENGTHS, counts.lengths("words"), side="right") - 1
    ends = [*(str(end - 1) for end in _LENGTHS[1:]), ""]
    names = [
        f"{low}" if str(low) == end else f"{low}-{end}" if end else f"{low}+"
        for low, end in zip(_LENGTHS, ends, strict=True)
    ]
    scores = {group.value: group for group in group_scores(counts, [names[i] for i in index])}
    return tuple(scores[name] for name in names if name in scores)


def _sums(rows: npt.NDArray[np.int64], index: npt.NDArray[np.intp], size: int) -> list[ErrorCounts]:
    totals = np.zeros((size, rows.shape[1]), np.int64)
    np.add.at(totals, index, rows)
    return [ErrorCounts(*(int(value) for value in row)) for row in totals]


def worst_examples(
    counts: CorpusCounts,
    groups: Sequence[str | None],
    references: Sequence[str],
    hypotheses: Sequence[str],
    missing: set[str],
    size: int,
) -> tuple[ExampleScore, ...]:
    """The `size` examples with the most character errors, worst first; of N groups and texts, normalized."""
    errors = counts.errors("characters") + counts.errors("words")
    order = np.argsort(-counts.errors("characters"), kind="stable")[:size]
    return tuple(
        ExampleScore(
            counts.ids[i],
            groups[i],
            references[i],
            None if counts.ids[i] in missing else hypotheses[i],
            counts.example("words", i),
            counts.example("characters", i),
        )
        for i in map(int, order)
        if errors[i]
    )
