"""Forced alignment against enumeration and torchaudio; spans; posteriors; long sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.ctc import collapse, enumerate_best_path, enumerate_posteriors

from ctcrec.ctc import AlignedToken, ctc_posteriors, forced_align, merge_tokens, min_frames
from ctcrec.errors import InputError


@given(
    seed=st.integers(0, 2**31), frames=st.integers(1, 6), classes=st.integers(2, 4), data=st.data(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_agrees_with_enumeration(seed: int, frames: int, classes: int, data: st.DataObject) -> None:
    blank = data.draw(st.integers(0, classes - 1))
    labels = st.integers(0, classes - 1).filter(lambda label: label != blank)
    target = data.draw(st.lists(labels, max_size=3).filter(lambda target: min_frames(target) <= frames))
    log_probs = torch.randn(1, frames, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    targets = torch.tensor([target], dtype=torch.int64).reshape(1, -1)
    paths, scores = forced_align(log_probs, targets, blank=blank)
    assert tuple(paths[0].tolist()) == enumerate_best_path(log_probs[0], target, blank)
    assert torch.equal(scores[0], log_probs[0].gather(1, paths[0].unsqueeze(1)).squeeze(1))
    posteriors = ctc_posteriors(log_probs.transpose(0, 1), targets, [frames], [len(target)], blank)
    torch.testing.assert_close(posteriors[:, 0], enumerate_posteriors(log_probs[0], target, blank))


@pytest.mark.parametrize("shape", [(50, 10, 5), (300, 80, 20), (1000, 30, 8), (130, 60, 4)])
def test_agrees_with_torchaudio(shape: tuple[int, int, int]) -> None:
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the second opinion", exc_type=Exception)
    frames, labels, classes = shape
    generator = torch.Generator().manual_seed(sum(shape))
    log_probs = torch.randn(4, frames, classes, generator=generator).log_softmax(dim=2)
    targets = torch.randint(1, classes, (4, labels), generator=generator)
    target_lengths = torch.tensor([labels, labels // 2, 1, labels])
    input_lengths = torch.tensor([frames, frames - 7, frames // 2, frames])
    paths, scores = forced_align(log_probs, targets, input_lengths, target_lengths)
    for n in range(4):
        here = slice(0, int(input_lengths[n]))
        expected, expected_scores = torchaudio.functional.forced_align(
            log_probs[n : n + 1, here], targets[n : n + 1, : target_lengths[n]]
        )
        # float32 sums may choose another path of the same score: equal paths, or no worse a score.
        ours, theirs = scores[n, here].double().sum(), expected_scores.double().sum()
        assert torch.equal(paths[n, here], expected[0]) or ours >= theirs - 1e-9
        if torch.equal(paths[n, here], expected[0]):
            torch.testing.assert_close(scores[n, here], expected_scores[0])
        assert not paths[n, here.stop :].any()
        assert not scores[n, here.stop :].any()
        assert collapse(paths[n, here].tolist(), 0) == tuple(targets[n, : target_lengths[n]].tolist())


def test_spans_like_torchaudios() -> None:
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the second opinion", exc_type=Exception)
    path = torch.tensor([0, 3, 3, 0, 3, 2, 2, 2, 1, 0, 0])
    scores = torch.rand(11)
    expected = torchaudio.functional.merge_tokens(path, scores)
    spans = merge_tokens(path, scores)
    assert [(s.token, s.start, s.end, len(s)) for s in spans] == [(s.token, s.start, s.end, len(s)) for s in expected]
    assert [s.score for s in spans] == pytest.approx([s.score for s in expected])


def test_spans() -> None:
    assert merge_tokens([], []) == []
    assert merge_tokens([0, 0], [1.0, 1.0]) == []
    assert merge_tokens([2, 2, 0, 1], [0.5, 1.0, 0.0, 0.25], blank=0) == [
        AlignedToken(2, 0, 2, 0.75),
        AlignedToken(1, 3, 4, 0.25),
    ]
    assert merge_tokens([2, 0], [0.5, 0.5], blank=2) == [AlignedToken(0, 1, 2, 0.5)]
    with pytest.raises(InputError, match="equally long"):
        merge_tokens([1, 2], [0.5])


@pytest.mark.parametrize("frames", [63, 64, 65, 128, 129, 500])
def test_stretches_join_exactly(frames: int) -> None:
    # Back-pointers are computed for stretches of at least 64 frames: the path's score must be the forward pass's.
    generator = torch.Generator().manual_seed(frames)
    log_probs = torch.randn(1, frames, 5, generator=generator, dtype=torch.float64)
    labels = 2 * frames // 3
    targets = torch.arange(labels).remainder(4).add(1).unsqueeze(0)
    paths, scores = forced_align(log_probs, targets)
    assert collapse(paths[0].tolist(), 0) == tuple(targets[0].tolist())
    best = torch.full((2 * labels + 1,), -torch.inf, dtype=torch.float64)
    states = torch.zeros(2 * labels + 1, dtype=torch.int64)
    states[1::2] = targets[0]
    best[0] = 0.0
    for t in range(frames):
        one = torch.cat([torch.tensor([-torch.inf]).double(), best[:-1]])
        two = torch.cat([torch.tensor([-torch.inf] * 2).double(), best[:-2]])
        two[::2] = -torch.inf
        start = best.clone() if t else torch.cat([torch.zeros(2).double(), best[2:]])
        best = (torch.maximum(torch.maximum(best, one), two) if t else start) + log_probs[0, t, states]
    assert float(scores.sum()) == pytest.approx(float(best[-2:].max()), abs=1e-9)


def test_wildcard_takes_the_doubtful_stretch() -> None:
    log_probs = torch.full((1, 9, 5), -5.0)
    for t, label in enumerate([1, 1, 0, 3, 4, 3, 0, 2, 2]):
        log_probs[0, t, label] = -0.01
    paths, scores = forced_align(log_probs, torch.tensor([[1, -1, 2]]), wildcard=-1, wildcard_score=-1.0)
    assert paths[0].tolist()[:2] == [1, 1]
    assert paths[0].tolist()[3:6] == [-1, -1, -1]
    assert paths[0].tolist()[7:] == [2, 2]
    assert scores[0, 3:6].tolist() == [-1.0] * 3


def test_dtypes_and_lengths_as_in_torchaudio() -> None:
    log_probs = torch.randn(2, 6, 4).log_softmax(dim=2)
    paths, scores = forced_align(log_probs.half(), torch.tensor([[1, 2], [3, 1]], dtype=torch.int32))
    assert (paths.dtype, scores.dtype) == (torch.int32, torch.float16)
    again, _ = forced_align(log_probs.half(), torch.tensor([[1, 2], [3, 1]]), [6, 6], torch.tensor([2, 2]))
    assert torch.equal(again, paths.long())
    with pytest.raises(InputError, match=r"\(N, T, C\)"):
        forced_align(log_probs[0], torch.tensor([[1, 2]]))
    with pytest.raises(InputError, match="padded"):
        forced_align(log_probs, torch.tensor([1, 2]))


def test_state_posteriors_add_up_to_those_of_the_tokens() -> None:
    generator = torch.Generator().manual_seed(7)
    log_probs = torch.randn(30, 2, 6, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[1, 2, 2, 5], [3, 4, 0, 0]])
    lengths = torch.tensor([30, 21]), torch.tensor([4, 2])
    states = ctc_posteriors(log_probs, targets, *lengths, level="state")
    tokens = ctc_posteriors(log_probs, targets, *lengths)
    assert states.shape == (30, 2, 9)
    torch.testing.assert_close(states.sum(dim=2)[:21], torch.ones(21, 2, dtype=torch.float64))
    for n in range(2):
        classes = torch.zeros(9, dtype=torch.int64)
        classes[1::2] = targets[n]
        gathered = torch.zeros(30, 6, dtype=torch.float64).index_add_(1, classes, states[:, n])
        torch.testing.assert_close(gathered, tokens[:, n])
    assert not tokens[21:, 1].any()
    with pytest.raises(InputError, match="level"):
        ctc_posteriors(log_probs, targets, *lengths, level="frame")  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_hour_of_speech() -> None:
    frames, labels, classes = 360_000, 50_000, 32
    targets = torch.arange(labels).remainder(classes - 1).add(1).unsqueeze(0)
    log_probs = torch.full((1, frames, classes), -6.0)
    log_probs[0, :, 0] = -0.1
    spikes = torch.linspace(0, frames - 1, labels).long()
    log_probs[0, spikes, targets[0]] = -0.01
    paths, _ = forced_align(log_probs, targets)
    assert torch.equal(paths[0, spikes], targets[0])
    assert int((paths[0] != 0).sum()) == labels
