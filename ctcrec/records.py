"""The records that stages hand to each other. All are frozen; none knows how it was made.

Spans are half-open, `start` inclusive and `end` exclusive. A decoder counts them in frames; the recognizer turns them
into seconds (speech) or source pixels (ocr) with `Hypothesis.scaled`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch

__all__ = ["Batch", "Encoded", "Example", "Hypothesis", "Spans", "TokenSpan", "WordSpan"]


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


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One token of a hypothesis and where it stands. `confidence` is a probability in [0, 1]."""

    token: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class WordSpan:
    """One word of a hypothesis and where it stands. `confidence` is a probability in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


_Span = TypeVar("_Span", TokenSpan, WordSpan)


class Spans(Sequence[_Span], Generic[_Span]):
    """Spans that are made when they are looked at: an immutable sequence, equal to the tuple of the same spans.

    A line has some sixty. To make them all, and for the garbage collector to look through them, takes longer than to
    find them; whoever wants the text alone never needs one.
    """

    __slots__ = ("_confidences", "_ends", "_kind", "_names", "_starts")

    def __init__(
        self,
        kind: type[_Span],
        names: Sequence[str],
        starts: Sequence[float],
        ends: Sequence[float],
        confidences: Sequence[float],
    ) -> None:
        self._kind: type[_Span] = kind
        self._names, self._starts, self._ends, self._confidences = names, starts, ends, confidences

    @classmethod
    def of(cls, spans: Sequence[_Span]) -> Spans[_Span]:
        """The same spans."""
        if isinstance(spans, Spans):
            return spans
        kind: Any = type(spans[0]) if spans else TokenSpan
        names = [span.token if isinstance(span, TokenSpan) else span.word for span in spans]
        return Spans(
            kind,
            names,
            [span.start for span in spans],
            [span.end for span in spans],
            [span.confidence for span in spans],
        )

    def scaled(self, unit_per_frame: float, offset: float, limit: float | None) -> Spans[_Span]:
        """With starts and ends `frame * unit_per_frame + offset`, cut at `limit`."""
        end = math.inf if limit is None else limit
        starts = [min(frame * unit_per_frame + offset, end) for frame in self._starts]
        ends = [min(frame * unit_per_frame + offset, end) for frame in self._ends]
        return Spans(self._kind, self._names, starts, ends, self._confidences)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> _Span: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Span]: ...
    def __getitem__(self, index: int | slice) -> _Span | Sequence[_Span]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self._kind(self._names[index], self._starts[index], self._ends[index], self._confidences[index])

    def __iter__(self) -> Iterator[_Span]:
        return map(self._kind, self._names, self._starts, self._ends, self._confidences)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


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
    token_spans: Sequence[TokenSpan] = ()
    word_spans: Sequence[WordSpan] = ()
    confidence: float | None = None
    acoustic_score: float | None = None
    lm_score: float | None = None
    spans_from: str | None = None
    replaces: str | None = None

    def scaled(self, unit_per_frame: float, offset: float = 0.0, limit: float | None = None) -> Hypothesis:
        """The same hypothesis with spans `frame * unit_per_frame + offset`, cut at `limit`."""

        tokens = Spans.of(self.token_spans).scaled(unit_per_frame, offset, limit)
        words = Spans.of(self.word_spans).scaled(unit_per_frame, offset, limit)
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
