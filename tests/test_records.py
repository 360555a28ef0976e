"""The records that stages hand to each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ctcrec.records import Batch, Example, Hypothesis, Spans, TokenSpan, WordSpan


@pytest.fixture
def hypothesis() -> Hypothesis:
    return Hypothesis(
        "ab c",
        (1, 2, 3),
        -1.5,
        token_spans=(TokenSpan("a", 0, 2, 0.9), TokenSpan("b", 2, 3, 0.8), TokenSpan("c", 5, 7, 0.7)),
        word_spans=(WordSpan("ab", 0, 3, 0.72), WordSpan("c", 5, 7, 0.7)),
        confidence=0.5,
    )


def edges(spans: Sequence[TokenSpan] | Sequence[WordSpan]) -> list[float]:
    return [edge for span in spans for edge in (span.start, span.end)]


def test_scaled_moves_and_cuts_spans(hypothesis: Hypothesis) -> None:
    scaled = hypothesis.scaled(0.04, offset=10.0, limit=10.25)
    assert edges(scaled.token_spans) == pytest.approx([10.0, 10.08, 10.08, 10.12, 10.2, 10.25])
    assert edges(scaled.word_spans) == pytest.approx([10.0, 10.12, 10.2, 10.25])


def test_scaled_keeps_the_rest(hypothesis: Hypothesis) -> None:
    scaled = hypothesis.scaled(3.0)
    assert [span.word for span in scaled.word_spans] == ["ab", "c"]
    assert [span.confidence for span in scaled.token_spans] == [0.9, 0.8, 0.7]
    without = {"token_spans": (), "word_spans": ()}
    assert dataclasses.replace(scaled, **without) == dataclasses.replace(hypothesis, **without)
    assert hypothesis.token_spans[2].end == 7  # the record itself is as it was


def test_spans_are_a_sequence_equal_to_their_tuple(hypothesis: Hypothesis) -> None:
    spans = Spans.of(hypothesis.token_spans)
    assert spans == hypothesis.token_spans and hypothesis.token_spans == spans and spans != hypothesis.token_spans[1:]
    assert hash(spans) == hash(hypothesis.token_spans) and repr(spans) == repr(hypothesis.token_spans)
    assert (len(spans), spans[-1], spans[1:]) == (3, TokenSpan("c", 5, 7, 0.7), hypothesis.token_spans[1:])
    assert Spans.of(spans) is spans and list(reversed(spans)) == list(reversed(hypothesis.token_spans))
    assert Spans.of(()) == () and not Spans.of(())
    assert dataclasses.replace(hypothesis, token_spans=spans) == hypothesis
    with pytest.raises(IndexError):
        spans[3]


def test_group_is_speaker_or_writer() -> None:
    assert Example("x", Path("x.wav"), speaker="s", writer="w").group == "s"
    assert Example("x", Path("x.png"), writer="w").group == "w"
    assert Example("x", Path("x.png")).group is None


def test_batch_has_a_length_and_moves_together() -> None:
    batch = Batch(
        torch.zeros(2, 3, 4), torch.tensor([3, 2]), torch.ones(2, 1, dtype=torch.int64), torch.tensor([1, 1]),
        (Example("a", Path("a")), Example("b", Path("b"))),
    )  # fmt: skip
    assert len(batch) == 2
    moved = batch.to(torch.device("meta"))
    tensors = (moved.features, moved.feature_lengths, moved.targets, moved.target_lengths)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.examples == batch.examples


def test_records_are_frozen(hypothesis: Hypothesis) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        hypothesis.text = "other"  # type: ignore[misc]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_from_the_loader_are_in_page_locked_memory() -> None:
    ones = torch.ones(2, dtype=torch.int64)
    batch = Batch(torch.zeros(2, 3, 4), ones, torch.ones(2, 1, dtype=torch.int64), ones, ())
    loader = torch.utils.data.DataLoader([batch], batch_size=None, pin_memory=True)
    pinned = next(iter(loader))
    tensors = pinned.features, pinned.feature_lengths, pinned.targets, pinned.target_lengths
    assert all(tensor.is_pinned() for tensor in tensors)
    assert torch.equal(pinned.to(torch.device("cuda")).features.cpu(), batch.features)
