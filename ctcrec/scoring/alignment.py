"""Alignment of a reference with a hypothesis, by one of two rules.

`"minimum"` makes the number of errors as small as possible (Levenshtein distance, by RapidFuzz): what WER and CER mean
today. `"sclite"` weighs a substitution 4 and an insertion or deletion 3, and breaks ties as NIST's sclite does
(`ctcrec.scoring.sclite`), for numbers to compare with sclite's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, cast, get_args

from rapidfuzz.distance import Levenshtein

from ctcrec.errors import InputError

__all__ = ["ALIGNMENTS", "Alignment", "Chunk", "align", "aligned_pairs", "format_alignment"]

Alignment = Literal["minimum", "sclite"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)

_MOST_CELLS = 1 << 31  # reference units x hypothesis units: about 46,000 of each; alignment needs up to a byte for each

# One run of equal steps: tag, reference start and end, hypothesis start and end. The tags are those of difflib:
# "equal", "replace", "delete" (reference units that are not in the hypothesis) and "insert". "replace" pairs its units
# one to one.
Chunk: TypeAlias = tuple[str, int, int, int, int]


def align(reference: Sequence[str], hypothesis: Sequence[str], alignment: Alignment = "minimum") -> list[Chunk]:
    """The best alignment of two sequences of units (words of a list, or characters of a string).

    Raises:
        InputError: no such rule, or sequences so long that aligning them would take gigabytes.
    """
    if len(reference) * len(hypothesis) > _MOST_CELLS:
        raise InputError(
            f"texts of {len(reference)} and {len(hypothesis)} units are too long to align; cut them into shorter ones"
        )
    if alignment == "minimum":
        # a list of plain tuples, whatever RapidFuzz's stubs say
        return cast(list[Chunk], Levenshtein.opcodes(reference, hypothesis).as_list())
    if alignment == "sclite":
        from ctcrec.scoring.sclite import align_sclite

        return align_sclite(reference, hypothesis)
    raise InputError(f"unknown alignment {alignment!r}; there are: {', '.join(ALIGNMENTS)}")


def aligned_pairs(
    reference: Sequence[str], hypothesis: Sequence[str], alignment: Alignment = "minimum"
) -> list[tuple[str | None, str | None]]:
    """Unit by unit: (reference, hypothesis), None where one side has nothing."""
    pairs: list[tuple[str | None, str | None]] = []
    for tag, i1, i2, j1, j2 in align(reference, hypothesis, alignment):
        if tag == "delete":
            pairs.extend((unit, None) for unit in reference[i1:i2])
        elif tag == "insert":
            pairs.extend((None, unit) for unit in hypothesis[j1:j2])
        else:
            pairs.extend(zip(reference[i1:i2], hypothesis[j1:j2], strict=True))
    return pairs


def format_alignment(pairs: Sequence[tuple[str | None, str | None]], width: int = 100) -> str:
    """Aligned words under each other, wrapped at `width` columns; errors are marked S, D and I in a third row.

    REF: the cat ***  sat
    HYP: the hat that sat
              S   I
    """
    from rich.cells import cell_len

    lines: list[str] = []
    rows = ["REF:", "HYP:", "    "]
    for reference, hypothesis in pairs:
        mark = "I" if reference is None else "D" if hypothesis is None else "" if reference == hypothesis else "S"
        size = max(cell_len(reference or ""), cell_len(hypothesis or ""), 1)
        if len(rows[2]) > 4 and len(rows[2]) + 1 + size > width:
            lines += [row.rstrip() for row in rows]
            rows = ["REF:", "HYP:", "    "]
        for index, unit in enumerate((reference, hypothesis, mark)):
            shown = "*" * size if unit is None else unit
            rows[index] += " " + shown + " " * (size - cell_len(shown))
    lines += [row.rstrip() for row in rows]
    return "\n".join(lines)
