"""Confidences that mean what they say: a temperature for the beam's posteriors, fitted on validation data.

Of all temperatures, the one is taken under which the words of the best hypotheses have the highest likelihood of being
right or wrong as they are (Guo et al. 2017, "On calibration of modern neural networks", §4.2, applied to the beam).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.confidence import agreement, beam_posteriors
from ctcrec.decoding.emissions import Emissions
from ctcrec.decoding.joining import word_groups
from ctcrec.decoding.nbest import FinalBeam
from ctcrec.decoding.prefix_beam import BeamDecoder
from ctcrec.errors import InputError

__all__ = ["Calibration", "expected_calibration_error", "fit_temperature", "words_correct"]

Floats = npt.NDArray[np.float64]

_TEMPERATURES = np.geomspace(0.25, 64.0, 65)
_CLIP = 1e-3  # of probabilities in the likelihood, so that one certain mistake does not decide alone


class Calibration(NamedTuple):
    """The fitted temperature, and the expected calibration error of word confidences at temperature 1 and at it."""

    temperature: float
    error_before: float
    error_after: float
    words: int


def expected_calibration_error(confidences: Floats, correct: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """Mean |accuracy - confidence| over `bins` equal ranges of confidence, weighted by their words (Naeini 2015)."""
    if len(confidences) == 0:
        raise InputError("there are no words to compute a calibration error from")
    place = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=confidences - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidences))


def words_correct(words: Sequence[str], reference: Sequence[str]) -> list[bool]:
    """Which words of a hypothesis are right, by a Levenshtein alignment to the reference."""
    from rapidfuzz.distance import Levenshtein

    correct = [False] * len(words)
    for step in Levenshtein.opcodes(list(words), list(reference)):
        if step.tag == "equal":
            correct[step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
    return correct


def fit_temperature(decoder: BeamDecoder, emissions: Sequence[Emissions], references: Sequence[str]) -> Calibration:
    """Find the temperature for `decoder` on validation emissions (T, C) and their reference texts.

    Use it as `decoder.reweighted(..., temperature=...)` or `BeamDecoder(..., temperature=...)`.

    Raises:
        InputError: numbers that differ, or no words at all.
    """
    if len(emissions) != len(references):
        raise InputError(f"{len(emissions)} emissions but {len(references)} references")
    beams = [decoder.final_beam(one) for one in emissions]
    correct = np.array(
        [
            right
            for beam, reference in zip(beams, references, strict=True)
            for right in words_correct([word for word, _ in _best_words(beam, decoder)], reference.split())
        ],
        dtype=bool,
    )
    if len(correct) == 0:
        raise InputError("no word was recognized in any utterance, so confidences cannot be calibrated")

    def confidences(temperature: float) -> Floats:
        return np.concatenate([_word_confidences(beam, decoder, temperature) for beam in beams])

    def surprise(temperature: float) -> float:
        p = np.clip(confidences(temperature), _CLIP, 1.0 - _CLIP)
        return float(-np.log(np.where(correct, p, 1.0 - p)).mean())

    best = min(_TEMPERATURES.tolist(), key=surprise)
    return Calibration(
        best,
        expected_calibration_error(confidences(1.0), correct),
        expected_calibration_error(confidences(best), correct),
        len(correct),
    )


def _best_words(beam: FinalBeam, decoder: BeamDecoder) -> list[tuple[str, range]]:
    if len(beam.scores) == 0 or beam.scores.max() == -np.inf:
        return []
    best = beam.of(int(np.argmax(beam.scores)))
    return word_groups([decoder.tokens[token] for token in best.tolist()], decoder.word_delimiter)


def _word_confidences(beam: FinalBeam, decoder: BeamDecoder, temperature: float) -> Floats:
    groups = _best_words(beam, decoder)
    if not groups:
        return np.zeros(0)
    edges = np.array([(where[0], where[-1]) for _, where in groups], dtype=np.int64)
    posteriors = beam_posteriors(beam.scores, temperature)
    best = beam.of(int(np.argmax(beam.scores)))
    return agreement(best, edges, beam.tokens, beam.offsets, posteriors, *decoder.boundaries)[1]
