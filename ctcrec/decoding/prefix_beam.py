"""`BeamDecoder`: prefix beam search with language model, lexicon, hotwords and masks, over batches and streams."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.assembly import LN10, Alphabet, FusionOptions, build_fusion, hotword_tables, reweighted
from ctcrec.decoding.beam import Settings, new_beam, new_workspace
from ctcrec.decoding.emissions import Emissions, as_emissions, check_emissions
from ctcrec.decoding.joining import token_surface
from ctcrec.decoding.nbest import FinalBeam, best_hypotheses
from ctcrec.decoding.prefixes import enlarged, new_prefixes
from ctcrec.decoding.prior import log_prior, scaled_likelihoods
from ctcrec.decoding.search import advance, collect
from ctcrec.errors import ConfigError, InputError
from ctcrec.lm.ngram import NGramLM
from ctcrec.records import Hypothesis

if TYPE_CHECKING:
    from ctcrec.decoding.stream import BeamStream

__all__ = ["BeamDecoder", "Search"]

_PRIOR_WEIGHT = 0.3


class BeamDecoder:
    """Prefix beam search for CTC.

    The score of a hypothesis is the natural logarithm of its probability, summed over all alignments
    (`acoustic_score`), plus (`lm_score`)

        lm_weight * ln p_lm(words, </s>) + word_score * words + score of unknown words + weights of hotwords

    With a `prior`, the probability is that of scaled likelihoods, p(k | x_t) / p(k)^prior_weight, normalized in every
    frame (see `ctcrec.decoding.prior`). The hypotheses of an utterance are sorted by the score; each text stands once,
    with its best tokens. An utterance for which nothing in the beam satisfies lexicon and mask gives one empty
    hypothesis of score -inf. Confidences are posteriors over the beam (see `ctcrec.decoding.confidence`) and take every
    model into account.

    Args:
        tokens: the C token strings; characters, or SentencePiece's with "▁".
        blank: index of the blank.
        beam_size: how many prefixes are kept from frame to frame.
        beam_size_token: how many tokens a frame may extend prefixes by, best first; None for all.
        beam_threshold: prefixes that are worse than the best by more are dropped (natural logarithm).
        prior: probability of each token, blank included, by its string.
        prior_weight: exponent of the prior by which probabilities are divided; 0.3 if not given.
        blank_skip_threshold: a frame whose blank has at least this probability extends nothing; None to look at all.
        lm: an n-gram model.
        lm_unit: whether the model's words are "word"s of the text or "token"s.
        lm_weight: factor of the model's ln p; 0.5 if not given.
        lm_boundary: whether the text is a whole sentence, that is, scored after <s> and with </s>.
        word_score: added for every word.
        lexicon: words; without `unknown_score`, no other words are written.
        unknown_score: added for every word that the lexicon, or else a word-level lm, does not have. Without a lexicon
            -10 if not given.
        unknown_letter_score: added for every letter of such a word after the first with which no known word begins,
            except in a hotword; at most 0. So words run together do not pass for one unknown word. -2 if not given.
        hotwords: phrases to prefer, as whole words, or a mapping from phrase to its weight.
        hotword_weight: added for every hotword written; 10 if not given.
        characters: the characters that may be written, besides spaces; None for all.
        pattern: a regular expression that the whole text must match.
        word_delimiter: the token that stands between words.
        temperature: of the confidences; see `ctcrec.decoding.calibration`.

    Raises:
        ConfigError: options that are wrong, do not go together or would have no effect.
        InputError: tokens, hotwords, lexicon or pattern that do not fit.

    Sources: Graves 2012 (§7.5), Hannun et al. 2014.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        blank: int = 0,
        beam_size: int = 100,
        beam_size_token: int | None = None,
        beam_threshold: float = 25.0,
        blank_skip_threshold: float | None = None,
        prior: Mapping[str, float] | None = None,
        prior_weight: float | None = None,
        lm: NGramLM | None = None,
        lm_unit: str = "word",
        lm_weight: float | None = None,
        lm_boundary: bool = True,
        word_score: float = 0.0,
        lexicon: Sequence[str] | None = None,
        unknown_score: float | None = None,
        unknown_letter_score: float | None = None,
        hotwords: Mapping[str, float] | Iterable[str] | None = None,
        hotword_weight: float | None = None,
        characters: Iterable[str] | None = None,
        pattern: str | None = None,
        word_delimiter: str = " ",
        temperature: float = 1.0,
    ) -> None:
        self.tokens = tuple(tokens)
        self.blank = blank
        self.word_delimiter = word_delimiter
        self.temperature = _positive("temperature", temperature)
        if not 0 <= blank < len(self.tokens):
            raise InputError(f"blank must be an index into the {len(self.tokens)} tokens, not {blank}")
        skip = math.inf
        if blank_skip_threshold is not None:
            if not 0.0 < blank_skip_threshold <= 1.0:
                raise ConfigError(f"blank_skip_threshold must be a probability, not {blank_skip_threshold}")
            skip = math.log(blank_skip_threshold)
        self._settings = Settings(
            blank=blank,
            beam_size=_at_least_one("beam_size", beam_size),
            beam_token=len(self.tokens)
            if beam_size_token is None
            else _at_least_one("beam_size_token", beam_size_token),
            beam_threshold=_positive("beam_threshold", beam_threshold),
            blank_skip=skip,
        )
        if prior is None and prior_weight is not None:
            raise ConfigError("prior_weight is given but no prior")
        self._log_prior = None if prior is None else log_prior(prior, self.tokens)
        self._prior_weight = _weight("prior_weight", _PRIOR_WEIGHT if prior_weight is None else prior_weight)
        options = FusionOptions(
            lm=lm,
            lm_unit=lm_unit,
            lm_weight=lm_weight,
            lm_boundary=lm_boundary,
            word_score=word_score,
            lexicon=lexicon,
            unknown_score=unknown_score,
            unknown_letter_score=unknown_letter_score,
            hotwords=hotwords,
            hotword_weight=hotword_weight,
            characters=characters,
            pattern=pattern,
        )
        self._lm = lm
        self._fusion, self._start = build_fusion(self.tokens, blank, word_delimiter, options)
        surfaces = [token_surface(token, word_delimiter) for token in self.tokens]
        self._opens = np.array([surface.startswith(" ") for surface in surfaces])
        self._closes = np.array([surface.endswith(" ") for surface in surfaces])
        self._writes = np.array([surface.strip(" ") != "" for surface in surfaces])

    def reweighted(
        self,
        *,
        lm_weight: float,
        word_score: float,
        unknown_score: float | None = None,
        prior_weight: float | None = None,
        beam_size: int | None = None,
        beam_threshold: float | None = None,
        temperature: float | None = None,
    ) -> BeamDecoder:
        """The same decoder with other weights; it shares the tables, so this takes no time (for tuning)."""
        if self._lm is None and lm_weight:
            raise ConfigError("lm_weight is given but the decoder has no lm")
        if self._log_prior is None and prior_weight:
            raise ConfigError("prior_weight is given but the decoder has no prior")
        other = self._copy()
        if prior_weight is not None:
            other._prior_weight = _weight("prior_weight", prior_weight)
        other._fusion = reweighted(self._fusion, lm_weight, word_score, unknown_score)
        if beam_size is not None:
            other._settings = other._settings._replace(beam_size=_at_least_one("beam_size", beam_size))
        if beam_threshold is not None:
            other._settings = other._settings._replace(beam_threshold=_positive("beam_threshold", beam_threshold))
        if temperature is not None:
            other.temperature = _positive("temperature", temperature)
        return other

    def with_hotwords(
        self, hotwords: Mapping[str, float] | Iterable[str], hotword_weight: float | None = None
    ) -> BeamDecoder:
        """The same decoder with these hotwords in place of its own; everything else is shared."""
        other = self._copy()
        alphabet = Alphabet(self.tokens, self.blank, self.word_delimiter)
        tables = hotword_tables(alphabet, hotwords, hotword_weight)
        fusion = self._fusion._replace(active=True, has_hotwords=True, hotwords=tables)
        other._fusion = reweighted(fusion, fusion.lm_scale / LN10, fusion.word_score)
        other._start = self._start.copy()
        other._start[2] = tables.start[0]
        return other

    def starting_at(self, lm_state: int) -> BeamDecoder:
        """The same decoder, beginning in a state of its lm (see `NGramLM.state_after`) instead of after <s>."""
        other = self._copy()
        other._start = self._start.copy()
        other._start[0] = lm_state
        return other

    def stream(self) -> BeamStream:
        """Decode frames as they come; see `ctcrec.decoding.stream`."""
        from ctcrec.decoding.stream import BeamStream

        return BeamStream(self)

    def _copy(self) -> BeamDecoder:
        other = object.__new__(BeamDecoder)
        other.__dict__.update(self.__dict__)
        return other

    def __call__(
        self,
        log_probs: torch.Tensor | npt.NDArray[Any] | Sequence[torch.Tensor | npt.NDArray[Any]],
        lengths: torch.Tensor | npt.NDArray[Any] | Sequence[int] | None = None,
        nbest: int = 1,
        threads: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[list[Hypothesis]]:
        """Decode a batch.

        Args:
            log_probs: (N, T, C) natural log-probabilities, or a list of (T, C).
            lengths: (N,) frames of each utterance of an (N, T, C) batch.
            nbest: how many hypotheses to give, at most; fewer if the beam holds fewer texts.
            threads: utterances searched at the same time; None for one a core. The result does not depend on it.
            ids: names of the utterances for error messages.

        Returns:
            For each utterance its hypotheses, best first. Spans are in frames.

        Raises:
            InputError: shapes that do not fit, zero frames, NaN, +inf or an all -inf frame; names the utterance.
        """
        emissions = as_emissions(log_probs, lengths)
        names = [f"utterance {ids[n] if ids is not None else n}" for n in range(len(emissions))]
        nbest = _at_least_one("nbest", nbest)
        if threads is None:
            threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(_at_least_one("threads", threads), len(emissions))

        def decode(one: Emissions, name: str) -> list[Hypothesis]:
            one = self.checked(one, name)
            search = Search(self)
            search.advance(one)
            return best_hypotheses(search.final(), one, self, nbest)

        if workers < 2:
            return [decode(one, name) for one, name in zip(emissions, names, strict=True)]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(decode, emissions, names))

    def final_beam(self, emissions: Emissions) -> FinalBeam:
        """All hypotheses that the beam holds after the last frame of (T, C) `emissions`."""
        search = Search(self)
        search.advance(self.checked(emissions, "emissions"))
        return search.final()

    def checked(self, emissions: Emissions, name: str, *, empty: bool = False) -> Emissions:
        """(T, C) log-probabilities as the search takes them: without the prior's share.

        Raises:
            InputError: see `ctcrec.decoding.emissions.check_emissions`.
        """
        check_emissions(emissions, len(self.tokens), name, empty=empty)
        if self._log_prior is None or self._prior_weight == 0.0:
            return emissions
        return scaled_likelihoods(emissions, self._prior_weight * self._log_prior)

    @property
    def boundaries(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """(C,) whether each token begins and ends with a word boundary, and whether it writes more than that."""
        return self._opens, self._closes, self._writes


class Search:
    """One search under way: feed it frames, ask it for what is in the beam."""

    def __init__(self, decoder: BeamDecoder) -> None:
        self._fusion = decoder._fusion
        self._settings = decoder._settings
        size = self._settings.beam_size
        self._prefixes = new_prefixes(max(2048, 16 * size))
        self._beam, self._spare = new_beam(size), new_beam(size)
        self._beam.state[0] = decoder._start
        self._work = new_workspace(size, len(decoder.tokens))

    def advance(self, emissions: Emissions) -> None:
        """Search more frames, (T, C) and checked."""
        frame = 0
        while True:
            frame = advance(
                emissions, frame, self._settings, self._fusion, self._prefixes, self._beam, self._spare, self._work
            )
            if frame == len(emissions):
                return
            self._prefixes = enlarged(self._prefixes)

    def final(self) -> FinalBeam:
        """The hypotheses in the beam as if the utterance ended here, unsorted; the search can go on."""
        return FinalBeam(*collect(self._fusion, self._prefixes, self._beam, self._work.lm_cache, True))

    def running(self) -> FinalBeam:
        """The hypotheses in the beam with the scores that the search ranks them by."""
        return FinalBeam(*collect(self._fusion, self._prefixes, self._beam, self._work.lm_cache, False))


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}")
    return int(value)


def _weight(name: str, value: float) -> float:
    if not 0.0 <= value < math.inf:
        raise ConfigError(f"{name} must be at least 0, not {value}")
    return float(value)


def _positive(name: str, value: float) -> float:
    if not value > 0.0:
        raise ConfigError(f"{name} must be more than 0, not {value}")
    return float(value)
