"""Beam search over frames that come in chunks of any size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.emissions import Emissions, as_emissions, check_emissions
from ctcrec.decoding.joining import join_tokens
from ctcrec.decoding.nbest import best_hypotheses
from ctcrec.decoding.prefix_beam import BeamDecoder, Search
from ctcrec.errors import InputError
from ctcrec.records import Hypothesis

__all__ = ["BeamStream", "Partial"]


class Partial(NamedTuple):
    """What a stream can say so far.

    Attributes:
        text: the best text now; its end may change.
        tokens: its token ids.
        stable: how many of these tokens are final: every prefix in the beam begins with them.
        stable_text: their text.
    """

    text: str
    tokens: tuple[int, ...]
    stable: int
    stable_text: str


class BeamStream:
    """One utterance of a `BeamDecoder`, in chunks. The final result is that of one call with all frames.

    The frames are kept until the end, because spans are found when the text is final.
    """

    def __init__(self, decoder: BeamDecoder) -> None:
        self._decoder = decoder
        self._search = Search(decoder)
        self._chunks: list[Emissions] = []
        self._finished = False

    def push(self, log_probs: torch.Tensor | npt.NDArray[Any]) -> Partial:
        """Take the next frames, (T, C) with T >= 0, and say what is known now.

        Raises:
            InputError: unusable frames, or the stream is finished.
        """
        if self._finished:
            raise InputError("the stream is finished; start another one for the next utterance")
        [chunk] = as_emissions([log_probs])
        chunk = self._decoder.checked(chunk, "stream", empty=True)
        self._chunks.append(chunk.copy())
        self._search.advance(chunk)
        return self.partial()

    def partial(self) -> Partial:
        """What is known now."""
        beam = self._search.running()
        if len(beam.scores) == 0:
            return Partial("", (), 0, "")
        best = beam.of(int(np.argmax(beam.scores)))
        stable = len(best)
        for number in range(len(beam.scores)):
            other = beam.of(number)
            stable = min(stable, len(other))
            differs = best[:stable] != other[:stable]
            if differs.any():
                stable = int(differs.argmax())
        names = [self._decoder.tokens[token] for token in best.tolist()]
        delimiter = self._decoder.word_delimiter
        return Partial(
            join_tokens(names, delimiter), tuple(best.tolist()), stable, join_tokens(names[:stable], delimiter)
        )

    def finish(self, nbest: int = 1) -> list[Hypothesis]:
        """End the utterance: its hypotheses, best first, as `BeamDecoder` gives them for all frames at once.

        Raises:
            InputError: no frames came, or the stream is finished already.
        """
        if self._finished:
            raise InputError("the stream is finished already")
        empty = np.zeros((0, len(self._decoder.tokens)), np.float32)
        emissions = np.concatenate([empty, *self._chunks])
        check_emissions(emissions, len(self._decoder.tokens), "stream")
        self._finished = True
        return best_hypotheses(self._search.final(), emissions, self._decoder, nbest)
