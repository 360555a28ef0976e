"""Error counts and rates: hits, substitutions, deletions and insertions over words, characters or grapheme clusters.

Counts are added over a corpus and divided once, so that a rate never is an average of rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctcrec.scoring.alignment import Alignment, Chunk, align

__all__ = [
    "UNITS",
    "ErrorCounts",
    "Unit",
    "character_counts",
    "counts_of",
    "error_counts",
    "grapheme_counts",
    "split_units",
    "word_counts",
]

Unit = Literal["words", "characters", "graphemes"]
UNITS: tuple[Unit, ...] = ("words", "characters", "graphemes")


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """What an alignment of references and hypotheses counts. Counts of two parts of a corpus add up."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Units in the reference: hits + substitutions + deletions."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per unit of the reference. An empty reference counts as one unit long, so that its rate is the number
        of insertions, and 0 when there are none."""
        return self.errors / max(self.reference_length, 1)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def has_plain_graphemes(text: str) -> bool:
    """Whether each code point is a grapheme cluster, as far as can be seen at once."""
    return text.isascii() and "\r" not in text


def split_units(text: str, unit: Unit) -> Sequence[str]:
    """The units of a text. White space around the text never counts.

    Words are separated by white space; characters are code points, inner spaces among them; graphemes are the
    extended grapheme clusters of Unicode (UAX #29), what a reader takes for one character.
    """
    if unit == "words":
        return text.split()
    text = text.strip()
    if unit == "characters" or has_plain_graphemes(text):
        return text
    import regex  # type: ignore[import-untyped,unused-ignore]

    clusters: list[str] = regex.findall(r"\X", text)
    return clusters


def counts_of(chunks: Sequence[Chunk], reference_length: int) -> ErrorCounts:
    """Add up an alignment."""
    substitutions = deletions = insertions = 0
    for tag, reference_start, reference_end, hypothesis_start, hypothesis_end in chunks:
        if tag == "replace":
            substitutions += reference_end - reference_start
        elif tag == "delete":
            deletions += reference_end - reference_start
        elif tag == "insert":
            insertions += hypothesis_end - hypothesis_start
    return ErrorCounts(reference_length - substitutions - deletions, substitutions, deletions, insertions)


def error_counts(
    reference: str, hypothesis: str, unit: Unit = "words", alignment: Alignment = "minimum"
) -> ErrorCounts:
    """Count the errors of one hypothesis. Everything is an insertion where the reference is empty.

    Args:
        reference: what was said or written, normalized.
        hypothesis: what was recognized, normalized in the same way.
        unit: what to count, see `split_units`.
        alignment: `"minimum"` or `"sclite"`, see `ctcrec.scoring.alignment`.
    """
    units = split_units(reference, unit)
    if reference == hypothesis:
        return ErrorCounts(hits=len(units))
    return counts_of(align(units, split_units(hypothesis, unit), alignment), len(units))


def word_counts(reference: str, hypothesis: str, alignment: Alignment = "minimum") -> ErrorCounts:
    """`error_counts` of words: its `rate` is the WER."""
    return error_counts(reference, hypothesis, "words", alignment)


def character_counts(reference: str, hypothesis: str, alignment: Alignment = "minimum") -> ErrorCounts:
    """`error_counts` of code points, inner spaces included: its `rate` is the CER."""
    return error_counts(reference, hypothesis, "characters", alignment)


def grapheme_counts(reference: str, hypothesis: str, alignment: Alignment = "minimum") -> ErrorCounts:
    """`error_counts` of grapheme clusters."""
    return error_counts(reference, hypothesis, "graphemes", alignment)
