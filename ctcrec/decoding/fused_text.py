"""Language model, lexicon, hotwords and masks in a search over tokens: the tables of `BeamDecoder`, one text at a time.

The score of a text is what `BeamDecoder` adds to an acoustic score (its `lm_score`); within a word a prefix also has
the potential that `ctcrec.decoding.fusion` explains, so that prefixes are compared fairly (shallow fusion: Gulcehre et
al. 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.assembly import FusionOptions, build_fusion
from ctcrec.decoding.fusion import Fusion, LmCache, extend, finish, new_lm_cache
from ctcrec.lm.compiled import lean_kernel

__all__ = ["TextScorer"]


@dataclass(frozen=True, slots=True)
class _State:
    """What each prefix has earned (M,), and where its models stand (M, 5)."""

    earned: npt.NDArray[np.float64]
    place: npt.NDArray[np.int32]


class TextScorer:
    """A `PrefixScorer` of what prefixes write.

    Args:
        tokens: the C token strings; token 0, the blank, stands for the end of the text.
        options: as of `BeamDecoder`.
        word_delimiter: the token that stands between words.

    Raises:
        ConfigError, InputError: see `BeamDecoder`.
    """

    falling = False

    def __init__(self, tokens: Sequence[str], options: FusionOptions, word_delimiter: str = " ") -> None:
        self._fusion, self._start = build_fusion(tokens, 0, word_delimiter, options)
        self._classes = len(tokens)
        self._cache = new_lm_cache()

    def start(self, examples: int) -> _State:
        """See `PrefixScorer`."""
        return _State(np.zeros(examples), np.tile(self._start, (examples, 1)))

    def score(self, state: _State) -> torch.Tensor:
        """See `PrefixScorer`; (M, C) float64."""
        scores = np.full((len(state.earned), self._classes), -math.inf)
        _score_rows(self._fusion, self._cache, state.earned, state.place, scores)
        return torch.from_numpy(scores)

    def advance(self, state: _State, rows: torch.Tensor, tokens: torch.Tensor) -> _State:
        """See `PrefixScorer`; a token of 0 or less leaves the prefix as it is."""
        chosen = rows.numpy()
        earned, place = state.earned[chosen], state.place[chosen]
        _advance_rows(self._fusion, self._cache, tokens.numpy(), earned, place)
        return _State(earned, place)


@lean_kernel
def _score_rows(
    fusion: Fusion,
    cache: LmCache,
    earned: npt.NDArray[np.float64],
    place: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float64],
) -> None:
    """Earned + gain + potential of every allowed extension (M, C); of the ended text in column 0."""
    for m in range(scores.shape[0]):
        allowed, gain = finish(fusion, cache, place[m])
        if allowed:
            scores[m, 0] = earned[m] + gain
        for token in range(1, scores.shape[1]):
            if not fusion.allowed[token]:
                continue
            allowed, gain, potential, _, _, _, _, _ = extend(fusion, cache, place[m], token)
            if allowed:
                scores[m, token] = earned[m] + gain + potential


@lean_kernel
def _advance_rows(
    fusion: Fusion,
    cache: LmCache,
    tokens: npt.NDArray[np.int64],
    earned: npt.NDArray[np.float64],
    place: npt.NDArray[np.int32],
) -> None:
    """Write each token, in place; 0 or less writes nothing."""
    for m in range(len(tokens)):
        if tokens[m] <= 0:
            continue
        _, gain, _, lm, lexicon, hotword, mask, text = extend(fusion, cache, place[m], tokens[m])
        earned[m] += gain
        row = place[m]
        row[0], row[1], row[2], row[3], row[4] = lm, lexicon, hotword, mask, text
