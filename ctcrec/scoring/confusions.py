"""Which units are taken for which: substitution pairs, insertions and deletions, counted over a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ctcrec.scoring.alignment import Chunk
from ctcrec.scoring.rates import ErrorCounts

__all__ = ["Confusions"]

_MOST_PAIRS = 200_000  # distinct pairs kept; beyond, those seen once are dropped, which bounds the memory


@dataclass
class Confusions:
    """Counts of errors by the units that they concern.

    Attributes:
        substitutions: (reference unit, hypothesis unit) pairs.
        deletions: reference units that the hypothesis lacks.
        insertions: hypothesis units that the reference lacks.
        references: how often each unit occurs in the references (counted for characters only).
    """

    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)
    references: Counter[str] = field(default_factory=Counter)

    def add(self, reference: Sequence[str], hypothesis: Sequence[str], chunks: Sequence[Chunk]) -> None:
        """Count the errors of one alignment."""
        for tag, i1, i2, j1, j2 in chunks:
            if tag == "replace":
                self.substitutions.update(zip(reference[i1:i2], hypothesis[j1:j2], strict=True))
            elif tag == "delete":
                self.deletions.update(reference[i1:i2])
            elif tag == "insert":
                self.insertions.update(hypothesis[j1:j2])
        if len(self.substitutions) > _MOST_PAIRS:
            self.substitutions = Counter({pair: n for pair, n in self.substitutions.items() if n > 1})

    def spaces(self) -> ErrorCounts:
        """Errors that concern a space: words run together (a space deleted or replaced) or torn apart (inserted)."""
        taken = sum(n for (reference, _), n in self.substitutions.items() if reference == " ")
        given = sum(n for (_, hypothesis), n in self.substitutions.items() if hypothesis == " ")
        deleted = self.deletions[" "]
        hits = self.references[" "] - taken - deleted
        return ErrorCounts(hits, taken, deleted, self.insertions[" "] + given)

    def matrix(self, size: int = 24) -> tuple[list[str], list[list[int]]]:
        """The most confused units against each other.

        Returns:
            The units, most errors first, then "" for nothing; and counts[reference][hypothesis], where the row "" holds
            insertions and the column "" deletions. The diagonal holds hits.
        """
        involved: Counter[str] = Counter()
        for (reference, hypothesis), n in self.substitutions.items():
            involved[reference] += n
            involved[hypothesis] += n
        for counter in (self.deletions, self.insertions):
            involved.update(counter)
        units = [unit for unit, _ in sorted(involved.items(), key=lambda item: (-item[1], item[0]))[:size]]
        lost = Counter(self.deletions)
        for (reference, _), n in self.substitutions.items():
            lost[reference] += n
        rows = [
            [self.references[row] - lost[row] if row == column else self.substitutions[row, column] for column in units]
            + [self.deletions[row]]
            for row in units
        ]
        return [*units, ""], [*rows, [self.insertions[column] for column in units] + [0]]
