"""Choosing the beam search's weights and beam_size on validation emissions, which are computed once and stored."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctcrec.decoding.emissions import Emissions
from ctcrec.decoding.prefix_beam import BeamDecoder
from ctcrec.errors import InputError
from ctcrec.lm.ngram import NGramLM

__all__ = ["Trial", "Tuning", "save_surface", "tune"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and what they gave: word and character error rates (fractions), and seconds for all utterances."""

    lm_weight: float
    word_score: float
    prior_weight: float
    beam_size: int
    wer: float
    cer: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """All trials, and the chosen one.

    Attributes:
        surface: one trial for every lm_weight and word_score, at the first prior weight and beam size.
        priors: one trial for every lm_weight and prior weight, at the best word score of `surface`.
        beams: one trial for every beam size, at the best weights.
        best: of `beams` the narrowest whose WER is within `tolerance` of the lowest.
    """

    surface: tuple[Trial, ...]
    priors: tuple[Trial, ...]
    beams: tuple[Trial, ...]
    best: Trial

    def options(self) -> dict[str, float | int]:
        """The chosen values as options of `BeamDecoder`; prior_weight only if it is not 0."""
        names = ("lm_weight", "word_score", "beam_size") + (("prior_weight",) if self.best.prior_weight else ())
        return {name: getattr(self.best, name) for name in names}


def tune(
    emissions: Sequence[Emissions],
    references: Sequence[str],
    tokens: Sequence[str],
    lm: NGramLM,
    prior: Mapping[str, float] | None = None,
    *,
    lm_weights: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3),
    word_scores: Sequence[float] = (-1.0, 0.0, 1.0, 2.0, 3.0),
    prior_weights: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8),
    beam_sizes: Sequence[int] = (50, 100, 200),
    tolerance: float = 0.001,
    threads: int | None = None,
    **options: Any,
) -> Tuning:
    """Try every lm_weight with every word_score; with the best word_score, every lm_weight with every prior_weight; and
    with the best of these, every beam size.

    What is not tried yet stands at its first value. Trials are compared by WER, then CER, then the smaller weights.

    Args:
        emissions: (T, C) log-probabilities of each validation example.
        references: their texts.
        tokens: the C token strings.
        lm: the language model.
        prior: of the tokens; without one there are no prior weights to try.
        lm_weights, word_scores, prior_weights, beam_sizes: the grids.
        tolerance: how much WER a narrower beam may cost, as a fraction.
        threads: as for `BeamDecoder`.
        options: further options of `BeamDecoder`.

    Raises:
        InputError: an empty grid, numbers that differ, or references without words.
    """
    if not (lm_weights and word_scores and prior_weights and beam_sizes):
        raise InputError("lm_weights, word_scores, prior_weights and beam_sizes each need at least one value")
    if len(emissions) != len(references):
        raise InputError(f"{len(emissions)} emissions but {len(references)} references")
    if not any(reference.split() for reference in references):
        raise InputError("the references have no words, so there is no error rate to tune for")
    if prior is None:
        prior_weights = (0.0,)
    decoder = BeamDecoder(tokens, lm=lm, prior=prior, **options)

    @functools.cache
    def attempt(lm_weight: float, word_score: float, prior_weight: float, beam_size: int) -> Trial:
        return _try(decoder, emissions, references, lm_weight, word_score, prior_weight, beam_size, threads)

    surface = tuple(
        attempt(lm_weight, word_score, prior_weights[0], beam_sizes[0])
        for lm_weight in lm_weights
        for word_score in word_scores
    )
    word_score = min(surface, key=_order).word_score
    priors = tuple(
        attempt(lm_weight, word_score, prior_weight, beam_sizes[0])
        for lm_weight in lm_weights
        for prior_weight in prior_weights
    )
    chosen = min(priors, key=_order)
    beams = tuple(attempt(chosen.lm_weight, word_score, chosen.prior_weight, size) for size in beam_sizes)
    lowest = min(trial.wer for trial in beams)
    best = min((trial for trial in beams if trial.wer <= lowest + tolerance), key=lambda trial: trial.beam_size)
    return Tuning(surface, priors, beams, best)


def _order(trial: Trial) -> tuple[float, float, float, float, float]:
    return trial.wer, trial.cer, trial.lm_weight, abs(trial.word_score), trial.prior_weight


def _try(
    decoder: BeamDecoder,
    emissions: Sequence[Emissions],
    references: Sequence[str],
    lm_weight: float,
    word_score: float,
    prior_weight: float,
    beam_size: int,
    threads: int | None,
) -> Trial:
    from rapidfuzz.distance import Levenshtein

    trial = decoder.reweighted(
        lm_weight=lm_weight, word_score=word_score, prior_weight=prior_weight, beam_size=beam_size
    )
    begin = time.perf_counter()
    texts = [hypotheses[0].text for hypotheses in trial(list(emissions), threads=threads)]
    seconds = time.perf_counter() - begin
    pairs = [(text, " ".join(reference.split())) for text, reference in zip(texts, references, strict=True)]
    words = sum(len(reference.split()) for reference in references)
    characters = sum(len(reference) for _, reference in pairs)
    wer = sum(Levenshtein.distance(text.split(), reference.split()) for text, reference in pairs) / words
    cer = sum(Levenshtein.distance(text, reference) for text, reference in pairs) / characters
    return Trial(lm_weight, word_score, prior_weight, beam_size, wer, cer, seconds)


def save_surface(tuning: Tuning, path: str | Path) -> None:
    """Draw WER over lm_weight and word_score, and lm_weight and prior_weight, into a PNG, SVG or PDF file."""
    from matplotlib.figure import Figure

    panels = [(tuning.surface, "word_score", "prior_weight"), (tuning.priors, "prior_weight", "word_score")]
    heights = [len({getattr(trial, name) for trial in trials}) for trials, name, _ in panels]
    width = len({trial.lm_weight for trial in tuning.surface})
    figure = Figure(figsize=(1.6 + 0.8 * width, 3.2 + 0.5 * sum(heights)), layout="constrained")
    for axes, (trials, name, fixed) in zip(figure.subplots(2, height_ratios=heights), panels, strict=True):
        _draw(axes, trials, name)
        title = f"WER (%), {fixed} {getattr(trials[0], fixed):g}, beam_size {trials[0].beam_size}"
        axes.set(xlabel="lm_weight", ylabel=name, title=title)
    figure.savefig(path)


def _draw(axes: Any, trials: Sequence[Trial], name: str) -> None:
    """WER over lm_weight and what `name` says, the best of the trials framed."""
    weights = sorted({trial.lm_weight for trial in trials})
    others = sorted({getattr(trial, name) for trial in trials})
    place = {trial: (weights.index(trial.lm_weight), others.index(getattr(trial, name))) for trial in trials}
    rates = np.full((len(others), len(weights)), np.nan)
    for trial, (column, row) in place.items():
        rates[row, column] = 100.0 * trial.wer
        axes.text(column, row, f"{rates[row, column]:.1f}", ha="center", va="center", color="white", fontsize=8)
    axes.imshow(rates, origin="lower", aspect="auto", cmap="viridis_r")
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set_yticks(range(len(others)), [f"{other:g}" for other in others])
    axes.plot(*place[min(trials, key=_order)], "s", ms=26, mfc="none", mec="red")
