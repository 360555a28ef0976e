"""The state of a search in flat arrays: its settings, the beam, and scratch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.fusion import LmCache, new_lm_cache
from ctcrec.lm.compiled import inlined, inner

__all__ = ["Beam", "Settings", "Workspace", "copy_beam", "copy_slot", "new_beam", "new_workspace"]

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]


class Settings(NamedTuple):
    """What prunes. `beam_token` is the number of tokens looked at in a frame; see `BeamDecoder` for the others."""

    blank: int
    beam_size: int
    beam_token: int
    beam_threshold: float
    blank_skip: float


class Beam(NamedTuple):
    """The prefixes in the beam, one a slot.

    Attributes:
        prefix: (B,) index into Prefixes.
        last: (B,) its last token, -1 for the empty prefix.
        score: (B,) ln(P_b + P_n).
        blank: (B,) P_b / (P_b + P_n).
        emit: (B,) P_n / (P_b + P_n).
        fused: (B,) what language model, words and hotwords have added.
        potential: (B,) what they are expected to add.
        state: (B, 5) where language model, lexicon, hotwords, mask and text stand.
        size: (1,) slots in use.
    """

    prefix: Int32s
    last: Int32s
    score: Floats
    blank: Floats
    emit: Floats
    fused: Floats
    potential: Floats
    state: Int32s
    size: npt.NDArray[np.int64]


class Workspace(NamedTuple):
    """Scratch of one search, so that a frame allocates nothing.

    Attributes:
        token, token_score: (C,) the frame's tokens that are looked at, best first.
        mark: (C,) stamps of the tokens that lead from a prefix to another one in the beam.
        order, order_key: (B,) slots by rank, best first, so that the B-th best candidate is soon a good one.
        first_child, next_child: (B,) which slots are children of a slot, as linked lists.
        rank, slot, extension: (M,) candidates: rank, slot they come from, token that extends it (-1: the prefix stays).
        values: (M + C,) for selection.
        stay_score, stay_blank, stay_emit: (B,) step 1's results.
        lm_cache: the language model's last answers.
    """

    token: Int32s
    token_score: Floats
    mark: npt.NDArray[np.int64]
    order: Int32s
    order_key: Floats
    first_child: Int32s
    next_child: Int32s
    rank: Floats
    slot: Int32s
    extension: Int32s
    values: Floats
    stay_score: Floats
    stay_blank: Floats
    stay_emit: Floats
    lm_cache: LmCache


def new_beam(size: int) -> Beam:
    """A beam with room for `size` prefixes."""
    return Beam(
        prefix=np.zeros(size, np.int32),
        last=np.full(size, -1, np.int32),
        score=np.zeros(size),
        blank=np.ones(size),
        emit=np.zeros(size),
        fused=np.zeros(size),
        potential=np.zeros(size),
        state=np.zeros((size, 5), np.int32),
        size=np.ones(1, np.int64),
    )


def new_workspace(beam_size: int, tokens: int) -> Workspace:
    """Scratch for a beam of `beam_size` and an alphabet of `tokens`."""
    room = 3 * beam_size + 16
    return Workspace(
        token=np.zeros(tokens, np.int32),
        token_score=np.zeros(tokens),
        mark=np.full(tokens, -1, np.int64),
        order=np.zeros(beam_size, np.int32),
        order_key=np.zeros(beam_size),
        first_child=np.zeros(beam_size, np.int32),
        next_child=np.zeros(beam_size, np.int32),
        rank=np.zeros(room),
        slot=np.zeros(room, np.int32),
        extension=np.zeros(room, np.int32),
        values=np.zeros(room + tokens),
        stay_score=np.zeros(beam_size),
        stay_blank=np.zeros(beam_size),
        stay_emit=np.zeros(beam_size),
        lm_cache=new_lm_cache(),
    )


@inner
def copy_beam(source: Beam, target: Beam) -> None:
    for k in range(source.size[0]):  # element by element: numba compiles slice assignment in seconds
        copy_slot(source, k, target, k)
        target.score[k] = source.score[k]
        target.blank[k] = source.blank[k]
        target.emit[k] = source.emit[k]
    target.size[0] = source.size[0]


@inlined
def copy_slot(source: Beam, k: int, target: Beam, place: int) -> None:
    target.prefix[place] = source.prefix[k]
    target.last[place] = source.last[k]
    target.fused[place] = source.fused[k]
    target.potential[place] = source.potential[k]
    for part in range(5):
        target.state[place, part] = source.state[k, part]
