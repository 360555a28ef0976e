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

import numpy as np
import numpy.typing as npt

from ctcrec.kernel_cache import cached_njit
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
    first, second = _numbered(reference, hypothesis)
    return [(_TAGS[tag], i1, i2, j1, j2) for tag, i1, i2, j1, j2 in _chunks(first, second).tolist()]


def _numbered(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[npt.NDArray[np.int32], ...]:
    """Both sequences as numbers, equal where the units are: the code points of strings, or numbers for words."""
    if isinstance(reference, str) and isinstance(hypothesis, str):
        return tuple(
            np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.int32) for text in (reference, hypothesis)
        )
    ids: dict[str, int] = {}
    return tuple(
        np.fromiter([ids.setdefault(unit, len(ids)) for unit in units], np.int32, len(units))
        for units in (reference, hypothesis)
    )


@cached_njit()
def _chunks(reference: npt.NDArray[np.int32], hypothesis: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Rows of (tag, reference start, end, hypothesis start, end), in reading order."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    step = np.empty((rows, columns), np.uint8)
    step[0, :] = _INSERT
    distance = (3 * np.arange(columns)).astype(np.int32)  # D(i, ·), overwritten row by row
    for i in range(1, rows):
        word, steps = reference[i - 1], step[i]
        diagonal, left = distance[0], np.int32(3 * i)  # D(i-1, j-1) and D(i, j-1)
        distance[0], steps[0] = left, _DELETE
        for j in range(1, columns):
            above = distance[j]
            through = diagonal if word == hypothesis[j - 1] else diagonal + 4
            diagonal = above
            if above < left:
                best, move = above + 3, _DELETE
            else:
                best, move = left + 3, _INSERT
            if through <= best:
                best, move = through, _REPLACE
            distance[j] = left = best
            steps[j] = move

    chunks = np.empty((rows + columns, 5), np.int32)
    first = len(chunks)
    i, j = rows - 1, columns - 1
    while i > 0 or j > 0:
        tag = step[i, j]
        if tag == _REPLACE and reference[i - 1] == hypothesis[j - 1]:
            tag = _EQUAL
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
