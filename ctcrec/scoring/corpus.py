"""One pass over a corpus: counts of every example, in arrays, and the confusions."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.scoring.alignment import Alignment, align
from ctcrec.scoring.confusions import Confusions
from ctcrec.scoring.rates import UNITS, ErrorCounts, Unit, counts_of, has_plain_graphemes, split_units

__all__ = ["CorpusCounts", "count_corpus"]


@dataclass(frozen=True)
class CorpusCounts:
    """Counts of N examples.

    Attributes:
        ids: N ids.
        counts: for words, characters and graphemes (N, 4) hits, substitutions, deletions, insertions.
        correct: (N,) whether the whole text is right.
        confusions: of words and of characters.
    """

    ids: Sequence[str]
    counts: dict[Unit, npt.NDArray[np.int64]]
    correct: npt.NDArray[np.bool_]
    confusions: dict[Unit, Confusions]

    def total(self, unit: Unit, chosen: npt.NDArray[np.bool_] | slice = slice(None)) -> ErrorCounts:
        """The counts of the chosen examples together."""
        return ErrorCounts(*(int(value) for value in self.counts[unit][chosen].sum(axis=0)))

    def errors(self, unit: Unit) -> npt.NDArray[np.int64]:
        """(N,) errors of each example."""
        errors: npt.NDArray[np.int64] = self.counts[unit][:, 1:].sum(axis=1)
        return errors

    def lengths(self, unit: Unit) -> npt.NDArray[np.int64]:
        """(N,) units in each reference."""
        lengths: npt.NDArray[np.int64] = self.counts[unit][:, :3].sum(axis=1)
        return lengths

    def example(self, unit: Unit, index: int) -> ErrorCounts:
        """The counts of one example."""
        return ErrorCounts(*(int(value) for value in self.counts[unit][index]))


def count_corpus(
    ids: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    alignment: Alignment = "minimum",
    progress: Callable[[int], None] | None = None,
) -> CorpusCounts:
    """Align each hypothesis with its reference, both normalized, as words, characters and graphemes.

    Args:
        ids, references, hypotheses: N each, in the same order.
        alignment: see `ctcrec.scoring.alignment`.
        progress: called with the number of examples done, now and then.

    Raises:
        InputError: an example is too long to align; the message names it.
    """
    tables: dict[Unit, array[int]] = {unit: array("q") for unit in UNITS}
    confusions: dict[Unit, Confusions] = {"words": Confusions(), "characters": Confusions()}
    for index, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        try:
            words = _count(reference, hypothesis, "words", alignment, confusions["words"])
            characters = graphemes = _count(reference, hypothesis, "characters", alignment, confusions["characters"])
            if not (has_plain_graphemes(reference) and has_plain_graphemes(hypothesis)):
                graphemes = _count(reference, hypothesis, "graphemes", alignment)
        except InputError as error:
            raise InputError(f"example {ids[index]!r}: {error}") from None
        for unit, counts in zip(UNITS, (words, characters, graphemes), strict=True):
            tables[unit].extend(counts)
        confusions["characters"].add_reference(reference.strip())
        if progress is not None and index % 1000 == 999:
            progress(index + 1)
    for gathered in confusions.values():
        gathered.finish()
    arrays = {unit: np.array(table, np.int64).reshape(-1, 4) for unit, table in tables.items()}
    return CorpusCounts(ids, arrays, arrays["words"][:, 1:].sum(axis=1) == 0, confusions)


def _count(
    reference: str, hypothesis: str, unit: Unit, alignment: Alignment, confusions: Confusions | None = None
) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions, insertions of one example."""
    units = split_units(reference, unit)
    if reference == hypothesis:
        return len(units), 0, 0, 0
    others = split_units(hypothesis, unit)
    chunks = align(units, others, alignment)
    if confusions is None:
        counts = counts_of(chunks, len(units))
        return counts.hits, counts.substitutions, counts.deletions, counts.insertions
    substitutions, deletions, insertions = confusions.add(units, others, chunks)
    return len(units) - substitutions - deletions, substitutions, deletions, insertions
