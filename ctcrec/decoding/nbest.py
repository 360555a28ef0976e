"""From the final beam of a search to hypotheses: unique texts, spans, confidences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.confidence import agreement, beam_posteriors
from ctcrec.decoding.emissions import Emissions
from ctcrec.decoding.joining import join_tokens, word_groups
from ctcrec.decoding.spans import best_spans
from ctcrec.records import Hypothesis, TokenSpan, WordSpan

__all__ = ["FinalBeam", "best_hypotheses"]

Floats = npt.NDArray[np.float64]


class FinalBeam(NamedTuple):
    """The hypotheses left in the beam, unsorted.

    Attributes:
        tokens: tokens of all, put together.
        offsets: (G + 1,) hypothesis g is tokens[offsets[g] : offsets[g + 1]].
        scores: (G,) total scores; -inf where lexicon or mask forbid the end.
        acoustic_scores: (G,) their acoustic parts.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    scores: Floats
    acoustic_scores: Floats

    def of(self, number: int) -> npt.NDArray[np.int32]:
        """Tokens of one hypothesis."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]


class _Decoder(Protocol):
    @property
    def tokens(self) -> Sequence[str]: ...
    @property
    def blank(self) -> int: ...
    @property
    def word_delimiter(self) -> str: ...
    @property
    def temperature(self) -> float: ...
    @property
    def boundaries(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]: ...


def best_hypotheses(beam: FinalBeam, emissions: Emissions, decoder: _Decoder, nbest: int) -> list[Hypothesis]:
    """The `nbest` best texts of the beam, best first, aligned to `emissions` (T, C)."""
    order = np.argsort(-beam.scores, kind="stable")
    if len(order) == 0 or beam.scores[order[0]] == -math.inf:
        return [Hypothesis(text="", tokens=(), score=-math.inf, confidence=0.0)]
    posteriors = beam_posteriors(beam.scores, decoder.temperature)
    chosen: dict[str, int] = {}
    for number in order:
        if len(chosen) == nbest or beam.scores[number] == -math.inf:
            break
        text = join_tokens([decoder.tokens[token] for token in beam.of(number)], decoder.word_delimiter)
        chosen.setdefault(text, int(number))
    return [_hypothesis(text, number, beam, posteriors, emissions, decoder) for text, number in chosen.items()]


def _hypothesis(
    text: str, number: int, beam: FinalBeam, posteriors: Floats, emissions: Emissions, decoder: _Decoder
) -> Hypothesis:
    tokens = beam.of(number)
    ids = tokens.tolist()
    names = [decoder.tokens[index] for index in ids]
    groups = word_groups(names, decoder.word_delimiter)
    edges = np.array([(where[0], where[-1]) for _, where in groups], dtype=np.int64).reshape(-1, 2)
    token_mass, word_mass, text_mass = agreement(
        tokens, edges, beam.tokens, beam.offsets, posteriors, *decoder.boundaries
    )
    starts, ends = (array.tolist() for array in best_spans(emissions, tokens, decoder.blank))
    score, acoustic = float(beam.scores[number]), float(beam.acoustic_scores[number])
    return Hypothesis(
        text=text,
        tokens=tuple(ids),
        score=score,
        token_spans=tuple(map(TokenSpan, names, starts, ends, token_mass.tolist())),
        word_spans=tuple(
            WordSpan(word, starts[where[0]], ends[where[-1]], mass)
            for (word, where), mass in zip(groups, word_mass.tolist(), strict=True)
        ),
        confidence=text_mass,
        acoustic_score=acoustic,
        lm_score=score - acoustic,
    )
