"""What is wrong with recordings and images themselves: silence, empty paper, a sample rate that is not theirs, inverted
images, and validation media unlike those of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctcrec.config import Config
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import MediaError
from ctcrec.modalities import build_preprocessor
from ctcrec.records import Example
from ctcrec.signals import Finding

__all__ = ["chosen_evenly", "media_findings"]

_SHOWN = 5  # examples named in a finding
_SILENCE = 1e-4  # largest sample, of 1: −80 dB
_FLAT = 32  # gray levels from the darkest to the lightest pixel; less is paper texture
_FLOOR_DB = 60.0  # below the loudest frequency
_LEAST_SAMPLES = 512


def chosen_evenly(examples: Sequence[Example], most: int) -> list[Example]:
    """At most so many of the examples, spread over the whole."""
    step = max(1.0, len(examples) / most)
    return [examples[int(index * step)] for index in range(min(len(examples), most))]


def media_findings(
    config: Config, train: Sequence[Example], valid: Sequence[Example], most: int = 100
) -> list[Finding]:
    """What a look at up to `most` media of each part shows.

    Raises:
        MediaError: a file cannot be read; names example and file.
    """
    plain = build_preprocessor(config.features.model_copy(update={"normalization": "none"}))
    speech = plain.unit == "seconds"
    chosen = chosen_evenly(train, most)
    sources = [_load(plain, example) for example in chosen]
    empty = [example.id for example, source in zip(chosen, sources, strict=True) if _is_empty(source)]
    findings = [
        Finding(
            "empty media",
            len(empty) / len(chosen),
            0.0,
            "above",
            f"share of {len(chosen)} training {'recordings that are silent' if speech else 'images without contrast'}",
            "nothing can be recognized in them, and their texts teach what is not there",
            "look at the files named; a channel of silence, an empty crop, a broken conversion",
            tuple(empty[:_SHOWN]),
        ),
        _bandwidth(sources, _sample_rate(config)) if speech else _polarity(chosen, sources),
    ]
    others = [_load(plain, example) for example in chosen_evenly(valid, most)]
    return [*findings, _mismatch(_shapes(plain, sources, speech), _shapes(plain, others, speech))]


def _sample_rate(config: Config) -> int:
    return int(config.features.model_dump()["sample_rate"])


def _load(preprocessor: Preprocessor, example: Example) -> np.ndarray:
    try:
        return preprocessor.load(example.source, example.start, example.end)
    except MediaError as error:
        raise MediaError(f"example {example.id}: {error}") from error


def _is_empty(source: np.ndarray) -> bool:
    if source.ndim == 1:
        return float(np.abs(source).max()) < _SILENCE
    return int(source.max()) - int(source.min()) < _FLAT


def _bandwidth(sources: Sequence[np.ndarray], sample_rate: int) -> Finding:
    """Up to where there is sound, as a share of half the sample rate."""
    used = [_highest(source) for source in sources if source.size >= _LEAST_SAMPLES]
    median = float(np.median(used)) if used else 1.0
    return Finding(
        "used bandwidth",
        median,
        0.75,
        "below",
        f"highest frequency within {_FLOOR_DB:g} dB of the loudest, as a share of half of features.sample_rate;"
        " median of the recordings",
        "speech reaches beyond any usual rate; a sharp end below means that recordings were made at a lower rate and"
        " made larger, so that upper bands hold nothing, or that the rate in their headers is wrong",
        f"features.sample_rate: {sample_rate} suits recordings of that rate; here about {sample_rate * median:.0f} Hz",
    )


def _highest(source: np.ndarray) -> float:
    size = _LEAST_SAMPLES
    frames = np.lib.stride_tricks.sliding_window_view(source, size)[:: size // 2]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1))).mean(0)
    power = np.convolve(power, np.full(5, 0.2), "same")
    loud = np.nonzero(power > power.max() * 10 ** (-_FLOOR_DB / 10))[0]
    return float(loud[-1] + 1) / len(power) if power.max() > 0 else 0.0


def _polarity(chosen: Sequence[Example], sources: Sequence[np.ndarray]) -> Finding:
    """Images most of whose pixels are dark. Loading turns light ink on dark paper; these were not seen to be such."""
    dark = []
    for example, source in zip(chosen, sources, strict=True):
        low, high = np.percentile(source, (0.5, 99.5))
        if np.median(source) < (low + high) / 2:
            dark.append(example.id)
    return Finding(
        "inverted images",
        len(dark) / len(chosen),
        0.05,
        "above",
        f"share of {len(chosen)} training images more than half of whose pixels are dark",
        "ink covers 5 to 30 % of a line; mixed polarities look like two alphabets to a model",
        "look at the files named; invert them (ink must be darker than paper), or cut away black borders",
        tuple(dark[:_SHOWN]),
    )


def _shapes(preprocessor: Preprocessor, sources: Sequence[np.ndarray], speech: bool) -> np.ndarray:
    """(N, F) mean feature of each source; for speech without its level, because loudness is the recording's."""
    means = np.stack([preprocessor.features(source).mean(0).numpy() for source in sources])
    return means - means.mean(1, keepdims=True) if speech else means


def _mismatch(train: np.ndarray, valid: np.ndarray) -> Finding:
    spread = np.sqrt(0.5 * (train.var(0) + valid.var(0)))
    shift = np.abs(train.mean(0) - valid.mean(0)) / np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-6))
    return Finding(
        "validation unlike training",
        float(np.median(shift)),
        2.0,
        "above",
        "distance of validation's from training's mean features, in deviations between examples; median of the bands",
        "other speakers and books lie within one deviation; more means other recording, scanning or conversion",
        "compare a few files of both: sample rate, channel, resolution, polarity",
    )
