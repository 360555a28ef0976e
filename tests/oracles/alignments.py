"""CTC by its definition: sum over every path."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def collapse(path: Sequence[int], blank: int = 0) -> tuple[int, ...]:
    """Repeats merged, then blanks removed (Graves et al. 2006)."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def count_alignments(target: Sequence[int], frames: int, n_tokens: int) -> int:
    """How many of the n_tokens ** frames paths collapse to `target`."""
    paths = itertools.product(range(n_tokens), repeat=frames)
    return sum(collapse(path) == tuple(target) for path in paths)
