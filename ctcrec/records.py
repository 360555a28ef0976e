"""The records that stages hand to each other. All are frozen; none knows how it was made.

Spans are half-open, `start` inclusive and `end` exclusive. A decoder counts them in frames; the recognizer turns them
into seconds (speech) or source pixels (ocr) with `Hypothesis.scaled`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

__all__ = ["Batch", "Encoded", "Example", "Hypothesis", "TokenSpan", "WordSpan"]


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance or one line: where its medium is, and what it says.

    `start` and `end` cut a part out of an audio file (seconds). `duration` (seconds) or `width` and `height`
    (pixels) are known from the header and let batches be planned without opening media. `extra` keeps the keys of
    a manifest row that ctcrec does not know.
    """

    id: str
    source: Path
    text: str | None = None
    start: float | None = None
    end: float | None = None
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    speaker: str | None = None
    writer: str | None = None
    language: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str | None:
        """Who speaks or writes: `speaker`, else `writer`."""
        return self.speaker if self.speaker is not None else self.writer


class TokenSpan(NamedTuple):
    """One token of a hypothesis and where it stands. `confidence` is a probability in [0, 1]."""

    token: str
    start: float
    end: float
    confidence: float


class WordSpan(NamedTuple):
    """One word of a hypothesis and where it stands. `confidence` is a probability in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One recognized text.

    `tokens` are token ids without blanks. `score` is a natural logarithm; `acoustic_score` and `lm_score` are its
    parts where the search knows them apart. `confidence` is a probability in [0, 1]. Where attention took part,
    `spans_from` says what the spans come from, "ctc" or "attention" (None if nothing tells them), and `replaces` is
    attention's text if CTC found it implausible and this is CTC's own.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    token_spans: tuple[TokenSpan, ...] = ()
    word_spans: tuple[WordSpan, ...] = ()
    confidence: float | None = None
    acoustic_score: float | None = None
    lm_score: float | None = None
    spans_from: str | None = None
    replaces: str | None = None

    def scaled(self, unit_per_frame: float, offset: float = 0.0, limit: float | None = None) -> Hypothesis:
        """The same hypothesis with spans `frame * unit_per_frame + offset`, cut at `limit`."""

        end = math.inf if limit is None else limit

        def places(frames: Iterable[float]) -> list[float]:
            return [min(frame * unit_per_frame + offset, end) for frame in frames]

        tokens, words = self.token_spans, self.word_spans
        if tokens:
            names, starts, ends, confidences = zip(*tokens, strict=True)
            tokens = tuple(map(TokenSpan, names, places(starts), places(ends), confidences))
        if words:
            names, starts, ends, confidences = zip(*words, strict=True)
            words = tuple(map(WordSpan, names, places(starts), places(ends), confidences))
        return dataclasses.replace(self, token_spans=tokens, word_spans=words)


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples padded to a common length.

    Attributes:
        features: (N, T, F) float32, zero beyond each example's length. F is mel bands for speech, pixel rows for lines.
        feature_lengths: (N,) int64, frames of each example.
        targets: (N, L) int64 token ids, 0 beyond each target's length.
        target_lengths: (N,) int64.
        examples: the N examples in the same order.
    """

    features: torch.Tensor
    feature_lengths: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which `to` copies without waiting. PyTorch's loader calls it."""
        return dataclasses.replace(
            self,
            features=self.features.pin_memory(),
            feature_lengths=self.feature_lengths.pin_memory(),
            targets=self.targets.pin_memory(),
            target_lengths=self.target_lengths.pin_memory(),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        return dataclasses.replace(
            self,
            features=self.features.to(device, non_blocking=True),
            feature_lengths=self.feature_lengths.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            target_lengths=self.target_lengths.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example after the encoder: emissions (T, C), C = 0 without a CTC head, and frames (T, D)."""

    emissions: torch.Tensor
    frames: torch.Tensor
