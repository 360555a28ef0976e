"""Alignment as NIST's sclite makes it (SCTK 2.4.10, transcript mode, case-sensitive).

The distance D of the first i reference words and the first j hypothesis words obeys

    D(i, j) = min( D(i-1, j-1) + (0 if the words are equal else 4),
                   D(i-1, j) + 3,            a deletion
                   D(i, j-1) + 3 )           an insertion

Since two errors of weight 3 cost more than one of weight 4 but 4 + 4 costs more than 3 + 3, its counts can differ from
the minimum number of errors. Of equally good last steps sclite takes the diagonal one, then the insertion, then the
deletion, walking from the end of both texts to their beginning.

sclite reads some words as markup: `@` (nothing), `{ a / b }` (alternatives), `word:tag`, and a last `*`. Here every
word stands for itself; `has_sclite_markup` finds texts in which that makes a difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

from ctcrec.scoring.alignment import Chunk

__all__ = ["align_sclite", "has_sclite_markup"]

_TAGS = ("equal", "replace", "delete", "insert")
_EQUAL, _REPLACE, _DELETE, _INSERT = range(4)
_MARKUP = re.compile(r"(?:^|\s)(?:@|\{|\}|[^\s]+\*|[^\s]*[:;][^\s]*)(?:\s|$)")


def has_sclite_markup(text: str) -> bool:
    """Whether sclite reads a word of `text` as something else than itself."""
    return _MARKUP.search(text) is not None


def align_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Chunk]:
    """Align two sequences of units. Returns runs of equal steps, see `ctcrec.scoring.alignment.Chunk`."""
    ids: dict[str, int] = {}
    first, second = (
        np.fromiter((ids.setdefault(unit, len(ids)) for unit in units), np.int32, len(units))
        for units in (reference, hypothesis)
    )
    return [(_TAGS[tag], i1, i2, j1, j2) for tag, i1, i2, j1, j2 in _chunks(first, second).tolist()]


@numba.njit(cache=True, nogil=True)
def _chunks(reference: npt.NDArray[np.int32], hypothesis: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Rows of (tag, reference start, end, hypothesis start, end), in reading order."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    step = np.empty((rows, columns), np.uint8)
    above = (3 * np.arange(columns)).astype(np.int32)
    here = np.empty(columns, np.int32)
    step[0, :] = _INSERT
    for i in range(1, rows):
        here[0] = 3 * i
        step[i, 0] = _DELETE
        for j in range(1, columns):
            equal = reference[i - 1] == hypothesis[j - 1]
            diagonal = above[j - 1] + (0 if equal else 4)
            deletion = above[j] + 3
            insertion = here[j - 1] + 3
            if diagonal <= deletion and diagonal <= insertion:
                here[j] = diagonal
                step[i, j] = _EQUAL if equal else _REPLACE
            elif deletion < insertion:
                here[j] = deletion
                step[i, j] = _DELETE
            else:
                here[j] = insertion
                step[i, j] = _INSERT
        above, here = here, above

    chunks = np.empty((rows + columns, 5), np.int32)
    first = len(chunks)
    i, j = rows - 1, columns - 1
    while i > 0 or j > 0:
        tag = step[i, j]
        if first == len(chunks) or chunks[first, 0] != tag:
            first -= 1
            chunks[first, 0] = tag
            chunks[first, 2] = i
            chunks[first, 4] = j
        i -= tag != _INSERT
        j -= tag != _DELETE
        chunks[first, 1] = i
        chunks[first, 3] = j
    return chunks[first:]
