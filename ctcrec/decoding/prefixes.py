"""The tree of prefixes that a search has seen, in flat arrays for compiled code.

A prefix is its parent prefix and one more token; prefix 0 is the empty one. Parents are older than their children, so
`parent[p] < p`, which makes throwing away what no hypothesis needs any more one forward sweep (`compact`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.lm.compiled import inlined, inner, lean_kernel

__all__ = ["Prefixes", "child", "compact", "enlarged", "new_prefixes"]

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


class Prefixes(NamedTuple):
    """Attributes:
    parent: (P,) the prefix without its last token.
    token: (P,) the last token; -1 for the empty prefix.
    slot: (P,) where in the beam the prefix stands now, -1 if it does not.
    table: (H,) open-addressing hash table from (parent, token) to prefix; -1 is free. H is a power of two, H >= 2 P.
    number: (P,) scratch of `compact`.
    size: (1,) how many prefixes there are.
    """

    parent: Int32s
    token: Int32s
    slot: Int32s
    table: Int32s
    number: Int32s
    size: Int64s


def new_prefixes(capacity: int) -> Prefixes:
    """A tree with room for `capacity` prefixes that holds the empty prefix, in slot 0 of the beam."""
    entries = 1 << (2 * capacity - 1).bit_length()
    prefixes = Prefixes(
        parent=np.full(capacity, -1, np.int32),
        token=np.full(capacity, -1, np.int32),
        slot=np.full(capacity, -1, np.int32),
        table=np.full(entries, -1, np.int32),
        number=np.zeros(capacity, np.int32),
        size=np.ones(1, np.int64),
    )
    prefixes.slot[0] = 0
    return prefixes


def enlarged(prefixes: Prefixes) -> Prefixes:
    """The same tree with twice the room."""
    old = len(prefixes.parent)
    larger = new_prefixes(2 * old)
    larger.parent[:old] = prefixes.parent
    larger.token[:old] = prefixes.token
    larger.slot[:old] = prefixes.slot
    larger.size[0] = prefixes.size[0]
    _fill_table(larger)
    return larger


@inlined
def _place(parent: int, token: int, entries: int) -> Any:
    mixed = (np.uint64(parent) * np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(token) * np.uint64(0xC2B2AE3D27D4EB4F))
    return np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(entries - 1))


@inlined
def child(prefixes: Prefixes, parent: int, token: int) -> int | np.int32:
    """The prefix `parent` + `token`, made if it is new."""
    place = _place(parent, token, len(prefixes.table))
    while True:
        prefix = prefixes.table[place]
        if prefix < 0:
            break
        if prefixes.parent[prefix] == parent and prefixes.token[prefix] == token:
            return prefix
        place = (place + 1) & (len(prefixes.table) - 1)
    prefix = prefixes.size[0]
    prefixes.size[0] = prefix + 1
    prefixes.parent[prefix] = parent
    prefixes.token[prefix] = token
    prefixes.slot[prefix] = -1
    prefixes.table[place] = prefix
    return prefix


@lean_kernel
def _fill_table(prefixes: Prefixes) -> None:
    for place in range(len(prefixes.table)):
        prefixes.table[place] = -1
    for prefix in range(1, prefixes.size[0]):
        place = _place(prefixes.parent[prefix], prefixes.token[prefix], len(prefixes.table))
        while prefixes.table[place] >= 0:
            place = (place + 1) & (len(prefixes.table) - 1)
        prefixes.table[place] = prefix


@inner
def compact(prefixes: Prefixes, in_beam: Int32s) -> None:
    """Keep the prefixes `in_beam` and their ancestors only; `in_beam` is renumbered in place."""
    size = prefixes.size[0]
    number = prefixes.number
    for prefix in range(size):
        number[prefix] = -1
    number[0] = 0
    for place in range(len(in_beam)):
        prefix = in_beam[place]
        while number[prefix] < 0:
            number[prefix] = 0
            prefix = prefixes.parent[prefix]
    kept = 1
    for prefix in range(1, size):
        if number[prefix] < 0:
            continue
        number[prefix] = kept
        prefixes.parent[kept] = number[prefixes.parent[prefix]]
        prefixes.token[kept] = prefixes.token[prefix]
        prefixes.slot[kept] = prefixes.slot[prefix]
        kept += 1
    prefixes.size[0] = kept
    for place in range(len(in_beam)):
        in_beam[place] = number[in_beam[place]]
    _fill_table(prefixes)
