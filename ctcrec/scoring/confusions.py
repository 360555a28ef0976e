"""Which units are taken for which: substitution pairs, insertions and deletions, counted over a corpus."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from ctcrec.scoring.alignment import Chunk
from ctcrec.scoring.rates import ErrorCounts

__all__ = ["Confusions", "visible"]

_BUFFER = 1 << 16  # errors gathered before they are counted, because counting many at once is several times faster
_MOST_PAIRS = 200_000  # distinct pairs kept; beyond, those seen once are dropped, which bounds the memory


def visible(unit: str) -> str:
    """A unit so that it can be seen: symbols for nothing and for a space, code points of what cannot be printed."""
    if unit == "":
        return "∅"
    if unit == " ":
        return "␣"
    if not unit.isprintable():
        return " ".join(f"U+{ord(character):04X}" for character in unit)
    return f"◌{unit}" if unicodedata.combining(unit[0]) else unit


class Confusions:
    """Counts of errors by the units that they concern. Add all alignments, then `finish`.

    Attributes:
        substitutions: (reference unit, hypothesis unit) pairs.
        deletions: reference units that the hypothesis lacks.
        insertions: hypothesis units that the reference lacks.
        references: how often each character occurs in the references given to `add_reference`.
    """

    def __init__(self) -> None:
        self.substitutions: Counter[tuple[str, str]] = Counter()
        self.deletions: Counter[str] = Counter()
        self.insertions: Counter[str] = Counter()
        self.references: Counter[str] = Counter()
        self._substituted: list[tuple[str, str]] = []
        self._deleted: list[str] = []
        self._inserted: list[str] = []
        self._texts: list[str] = []

    def add_reference(self, reference: str) -> None:
        """Count the characters of a reference."""
        self._texts.append(reference)
        if len(self._texts) >= 1000:
            self.finish()

    def add(self, reference: Sequence[str], hypothesis: Sequence[str], chunks: Sequence[Chunk]) -> tuple[int, int, int]:
        """Count the errors of one alignment. Returns its substitutions, deletions and insertions."""
        if len(self._substituted) + len(self._deleted) + len(self._inserted) > _BUFFER:
            self.finish()
        before = len(self._substituted), len(self._deleted), len(self._inserted)
        for tag, i1, i2, j1, j2 in chunks:
            if tag == "replace":
                self._substituted.extend(zip(reference[i1:i2], hypothesis[j1:j2], strict=True))
            elif tag == "delete":
                self._deleted.extend(reference[i1:i2])
            elif tag == "insert":
                self._inserted.extend(hypothesis[j1:j2])
        return len(self._substituted) - before[0], len(self._deleted) - before[1], len(self._inserted) - before[2]

    def finish(self) -> None:
        """Count what was gathered."""
        self.substitutions.update(self._substituted)
        self.deletions.update(self._deleted)
        self.insertions.update(self._inserted)
        self.references.update("".join(self._texts))
        self._substituted, self._deleted, self._inserted, self._texts = [], [], [], []
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
        lost = Counter(self.deletions)
        for (reference, hypothesis), n in self.substitutions.items():
            involved[reference] += n
            involved[hypothesis] += n
            lost[reference] += n
        for counter in (self.deletions, self.insertions):
            involved.update(counter)
        units = [unit for unit, _ in sorted(involved.items(), key=lambda item: (-item[1], item[0]))[:size]]

        def count(row: str, column: str) -> int:
            return self.references[row] - lost[row] if row == column else self.substitutions[row, column]

        rows = [[*(count(row, column) for column in units), self.deletions[row]] for row in units]
        return [*units, ""], [*rows, [*(self.insertions[column] for column in units), 0]]
