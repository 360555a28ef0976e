"""The Triton kernels in Triton's interpreter, against enumeration and the CPU kernels. No GPU is needed.

The interpreter has to be chosen before Triton is imported, so these tests run in a pytest of their own, which the one
test that runs otherwise starts. What they can't show is what only a GPU can get wrong: see `test_gpu.py`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.ctc import enumerate_best_path, enumerate_log_likelihood, enumerate_posteriors
from torch import Tensor

from ctcrec.ctc import alignment, ctc_loss, ctc_loss_from_logits, ctc_posteriors, forced_align, min_frames, operator

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process with TRITON_INTERPRET=1")

if INTERPRETED:
    from interpreter import quicken

    quicken()


@pytest.mark.skipif(INTERPRETED, reason="is running")
def test_all_of_these_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", __file__]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sends tensors on the CPU to the GPU's kernels, or with `on_gpu(False)` back to the CPU's."""

    def choose(yes: bool = True) -> None:
        monkeypatch.setattr(operator, "on_gpu", lambda scores: yes)
        monkeypatch.setattr(alignment, "on_gpu", lambda scores: yes)

    choose()
    yield choose


def loss_and_gradient(function: Any, scores: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Losses (N,) and the gradient of the sum of the finite ones."""
    scores = scores.detach().clone().requires_grad_()
    losses = function(scores, *arguments, reduction="none", **options)
    losses.masked_fill(~losses.isfinite(), 0.0).sum().backward()
    assert scores.grad is not None
    return losses.detach(), scores.grad


def compare(on_gpu: Any, function: Any, scores: Tensor, *arguments: Any, tolerance: float, **options: Any) -> None:
    """The GPU's kernels against the CPU's in float64."""
    on_gpu(True)
    losses, gradient = loss_and_gradient(function, scores, *arguments, **options)
    on_gpu(False)
    expected, wanted = loss_and_gradient(function, scores.double(), *arguments, **options)
    torch.testing.assert_close(losses.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), wanted, rtol=0.0, atol=tolerance)


def problem(frames: int, count: int, classes: int, labels: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random float64 logits, padded targets (blank 0) and lengths that fit, the first of them full."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, count, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(1, classes, (count, labels), generator=generator)
    target_lengths = torch.randint(0, labels + 1, (count,), generator=generator)
    target_lengths[0] = labels
    needed = torch.tensor([min_frames(targets[n, : target_lengths[n]]) for n in range(count)])
    assert int(needed[0]) <= frames
    input_lengths = needed + ((frames - needed) * torch.rand(count, generator=generator)).long()
    input_lengths[0] = frames
    return logits, targets, input_lengths.clamp(max=frames), target_lengths


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[Tensor, list[list[int]], list[int], int, torch.dtype]:
    """Batches small enough to enumerate: any lengths, repeats, blank index and type, feasible or not."""
    classes = draw(st.integers(2, 4))
    blank = draw(st.integers(0, classes - 1))
    frames = draw(st.integers(1, 5))
    labels = st.integers(0, classes - 1).filter(lambda label: label != blank)
    targets = draw(st.lists(st.lists(labels, max_size=4), min_size=1, max_size=3))
    lengths = [draw(st.integers(0, frames)) for _ in targets]
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
    seed, scale = draw(st.integers(0, 2**31)), draw(st.sampled_from([0.0, 1.0, 10.0]))
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(frames, len(targets), classes, generator=generator, dtype=torch.float64)
    return scores.to(dtype), targets, lengths, blank, dtype


def check_against_enumeration(
    problem: tuple[Tensor, list[list[int]], list[int], int, torch.dtype], from_logits: bool
) -> None:
    scores, targets, lengths, blank, dtype = problem
    longest = max(map(len, targets))
    rows = [target + [blank] * (longest - len(target)) for target in targets]
    padded = torch.tensor(rows, dtype=torch.int64).reshape(len(targets), -1)
    function = ctc_loss_from_logits if from_logits else ctc_loss
    losses, gradient = loss_and_gradient(function, scores, padded, lengths, [len(t) for t in targets], blank)
    tolerance = 1e-10 if dtype == torch.float64 else 3e-5
    coarse = {torch.bfloat16: 8e-3, torch.float16: 1e-3}.get(dtype, tolerance)
    for n, target in enumerate(targets):
        exact = scores[: lengths[n], n].double()
        log_probs = exact.log_softmax(dim=1) if from_logits else exact
        expected = enumerate_log_likelihood(log_probs, target, blank)
        assert float(losses[n]) == pytest.approx(-expected, rel=tolerance, abs=tolerance)
        wanted = torch.zeros_like(scores[:, n], dtype=torch.float64)
        if expected > -math.inf:
            wanted[: lengths[n]] = -enumerate_posteriors(log_probs, target, blank)
            if from_logits:
                wanted[: lengths[n]] += log_probs.exp()
        torch.testing.assert_close(gradient[:, n].double(), wanted, rtol=coarse, atol=coarse)


@interpreted
@given(small_problems(), st.booleans())
@settings(max_examples=4, deadline=None, derandomize=True)
def test_agrees_with_enumeration_of_all_paths(
    problem: tuple[Tensor, list[list[int]], list[int], int, torch.dtype], from_logits: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator, "on_gpu", lambda scores: True)
        check_against_enumeration(problem, from_logits)


@interpreted
@pytest.mark.slow
@given(small_problems(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_agrees_with_enumeration_of_all_paths_at_length(
    problem: tuple[Tensor, list[list[int]], list[int], int, torch.dtype], from_logits: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator, "on_gpu", lambda scores: True)
        check_against_enumeration(problem, from_logits)


@interpreted
@pytest.mark.parametrize(
    ("shape", "function"),
    [
        ((9, 2, 400, 3), ctc_loss_from_logits),  # all states are kept
        ((34, 1, 6, 9), ctc_loss_from_logits),  # two segments of 16 frames, many repeats
        ((9, 2, 5000, 3), ctc_loss),  # several blocks a row
    ],
)
def test_agrees_with_the_cpu(on_gpu: Any, shape: tuple[int, int, int, int], function: Any) -> None:
    from ctcrec.ctc import gpu

    logits, *arguments = problem(*shape)
    given = gpu.Problem(logits.float(), *arguments, shape[3], 0, None, None, 0.0, True)
    sizes = gpu._sizes(given, keep=True)
    assert sizes.every_frame == (shape[2] > 100)
    assert sizes.reach > sizes.segment or shape[0] < 34
    compare(on_gpu, function, logits.float(), *arguments, tolerance=1e-6)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_targets_of_several_tiles(on_gpu: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    from ctcrec.ctc import gpu, gpu_viterbi

    monkeypatch.setattr(gpu, "_TILE", 8)
    monkeypatch.setattr(gpu_viterbi, "_TILE", 8)
    logits, *arguments = problem(34 if dtype == torch.float32 else 12, 1, 8, 20 if dtype == torch.float32 else 9)
    logits = logits.to(dtype)
    compare(on_gpu, ctc_loss_from_logits, logits, *arguments, tolerance=1e-6 if dtype == torch.float32 else 1e-12)
    log_probs = logits.log_softmax(2).transpose(0, 1)
    results = []
    for yes in (True, False):
        on_gpu(yes)
        results.append(forced_align(log_probs, *arguments))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@interpreted
@pytest.mark.parametrize("scale", [pytest.param(30.0, marks=pytest.mark.slow), 1e5])
def test_saturated_outputs(on_gpu: Any, scale: float) -> None:
    logits, *arguments = problem(14, 1, 5, 5, seed=1)
    compare(on_gpu, ctc_loss_from_logits, scale * logits, *arguments, tolerance=max(1e-10, 1e-13 * scale))


@interpreted
def test_a_spike_train_aligned_elsewhere(on_gpu: Any) -> None:
    # Sure of the labels in their order, but all of them in the last frames: the forward states that matter are small.
    logits = torch.zeros(24, 1, 7)
    logits[:, :, 0] = 60.0
    for index in range(6):
        logits[18 + index, 0, 0] = 0.0
        logits[18 + index, 0, index + 1] = 60.0
    compare(on_gpu, ctc_loss_from_logits, logits, torch.arange(1, 7)[None], [24], [6], tolerance=1e-6)


@interpreted
def test_options_and_forms_of_targets(on_gpu: Any) -> None:
    logits, targets, input_lengths, target_lengths = problem(6, 2, 6, 2, seed=2)
    joined = torch.cat([target[:length] for target, length in zip(targets, target_lengths, strict=True)])
    priors = torch.rand(6, dtype=torch.float64).log_softmax(dim=0)
    lengths = input_lengths, target_lengths
    compare(on_gpu, ctc_loss_from_logits, logits, joined.int(), *lengths, tolerance=1e-10, label_priors=priors)
    starred = targets.clone()
    starred[0, 1] = 9
    starred[1:, 0] = 9
    compare(
        on_gpu, ctc_loss_from_logits, logits, starred, *lengths, tolerance=1e-10, wildcard=9, wildcard_score=-0.5,
        confidence_penalty=0.1,
    )  # fmt: skip
    compare(on_gpu, ctc_loss, logits, starred, *lengths, tolerance=1e-10, wildcard=9)
    # A layout in memory that the kernels copy, and one that they take as it is.
    for order in ((2, 0, 1), (1, 0, 2)):
        back = [order.index(axis) for axis in range(3)]
        compare(
            on_gpu, ctc_loss_from_logits, logits.permute(order).contiguous().permute(back), targets, *lengths,
            tolerance=1e-10,
        )  # fmt: skip


@interpreted
def test_the_second_derivative_is_the_cpus(on_gpu: Any) -> None:
    logits, targets, input_lengths, target_lengths = problem(3, 1, 3, 1, seed=9)
    results = []
    for yes in (True, False):
        on_gpu(yes)
        scores = logits.clone().requires_grad_()
        loss = ctc_loss_from_logits(scores, targets, input_lengths, target_lengths)
        (first,) = torch.autograd.grad(loss, scores, create_graph=True)
        results.append(torch.autograd.grad((first**2).sum(), scores)[0])
    torch.testing.assert_close(*results)


@interpreted
@pytest.mark.parametrize("function", [ctc_loss, ctc_loss_from_logits])
def test_what_goes_wrong_stays_in_its_example(on_gpu: Any, function: Any) -> None:
    scores = torch.randn(8, 6, 5, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([[1, 2, 3], [4, 4, 4], [2, 1, 2], [3, 1, 1], [1, 2, 1], [1, 2, 2]])
    input_lengths, target_lengths = torch.tensor([8, 4, 8, 8, 6, 0]), torch.tensor([3, 3, 3, 2, 3, 0])
    scores[3, 2] = math.nan
    scores[5, 3] = -math.inf
    scores[7, 4] = math.nan  # beyond its length
    losses, gradient = loss_and_gradient(function, scores, targets, input_lengths, target_lengths)
    impossible = math.inf if function is ctc_loss else math.nan
    assert losses[1] == math.inf  # needs 5 frames
    assert losses[2].isnan()
    assert losses[3] == impossible or (losses[3].isnan() and math.isnan(impossible))
    assert losses[5] == 0.0
    assert not gradient[:, [1, 5]].any()
    on_gpu(False)
    others = [0, 4]
    given = targets[others], input_lengths[others], target_lengths[others]
    expected, wanted = loss_and_gradient(function, scores[:, others], *given)
    torch.testing.assert_close(losses[others], expected)
    torch.testing.assert_close(gradient[:, others], wanted)
    assert not gradient[6:, 4].any()


@interpreted
def test_ids_and_lengths_out_of_range_that_cannot_be_read_give_nan() -> None:
    from ctcrec.ctc import gpu

    logits = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(4))
    targets = torch.tensor([[1, 2], [1, 4], [0, 1], [-1, 2], [3, 1]])
    input_lengths, target_lengths = torch.tensor([6, 6, 6, 6, 7]), torch.tensor([2, 2, 2, 2, 2])
    given = gpu.Problem(logits, targets, input_lengths, target_lengths, 2, 0, None, None, 0.0, True)
    state = gpu.forward(given, keep=True)
    gradient = gpu.gradient(given, state, torch.ones(5))
    assert state.losses.isfinite().tolist() == [True, False, False, False, False]
    assert state.losses[1:].isnan().all()
    assert gradient[:, 0].isfinite().all()
    assert gradient[:, 1:4].isfinite().logical_not().any()
    # Lengths of concatenated targets that do not add up.
    joined = gpu.Problem(
        logits, torch.tensor([1, 2, 3]), input_lengths.clamp(max=6), torch.tensor([2, 1, 1, 0, -1]), 3, 0, None, None,
        0.0, True,
    )  # fmt: skip
    losses = gpu.forward(joined, keep=False).losses
    assert losses.isfinite().tolist()[:3] == [True, True, False]


@interpreted
def test_the_same_bits_whatever_is_beside_and_beyond(on_gpu: Any) -> None:
    logits, targets, input_lengths, target_lengths = problem(8, 2, 7, 3, seed=5)
    logits = logits.float()
    losses, gradient = loss_and_gradient(ctc_loss_from_logits, logits, targets, input_lengths, target_lengths)
    order = torch.tensor([1, 0])
    padded = torch.cat([logits[:, order], torch.full((3, 2, 7), math.nan)])
    wider = torch.cat([targets[order], torch.full((2, 2), -7)], dim=1)
    again = loss_and_gradient(ctc_loss_from_logits, padded, wider, input_lengths[order], target_lengths[order])
    assert torch.equal(again[0], losses[order])
    assert torch.equal(again[1][:8], gradient[:, order])
    assert not again[1][8:].any()


@interpreted
def test_paths_and_posteriors(on_gpu: Any) -> None:
    logits, targets, input_lengths, target_lengths = problem(11, 2, 6, 3, seed=6)
    log_probs = logits.log_softmax(dim=2)
    given = targets, input_lengths, target_lengths
    starred = targets.clone()
    starred[0, 2] = -1

    def results() -> list[Tensor]:
        return [
            ctc_posteriors(log_probs, *given),
            ctc_posteriors(log_probs, *given, level="state"),
            *forced_align(log_probs.transpose(0, 1), *given),
            *forced_align(log_probs.transpose(0, 1), starred, *given[1:], wildcard=-1, wildcard_score=-0.7),
            # Equal scores everywhere: ties are resolved alike.
            *forced_align(torch.zeros_like(log_probs).transpose(0, 1), *given),
        ]

    found = results()
    on_gpu(False)
    expected = results()
    torch.testing.assert_close(found[:2], expected[:2], rtol=0.0, atol=1e-12)
    for ours, cpu in zip(found[2:], expected[2:], strict=True):
        assert torch.equal(ours, cpu)
    small = torch.randn(5, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    on_gpu()
    path, _ = forced_align(small.transpose(0, 1), torch.tensor([[2, 1]]))
    assert tuple(path[0].tolist()) == enumerate_best_path(small[:, 0], [2, 1], 0)


@interpreted
def test_operators_keep_their_contract_and_compile(on_gpu: Any) -> None:
    logits, targets, input_lengths, target_lengths = problem(3, 1, 4, 2, seed=8)
    given = (logits.requires_grad_(), targets, input_lengths, target_lengths, None, 0, None, 0.0, True, True)
    torch.library.opcheck(torch.ops.ctcrec.ctc_nll_gpu.default, given, test_utils=("test_schema", "test_faketensor"))

    def step(logits: Tensor) -> Tensor:
        return ctc_loss_from_logits(logits * 2.0, targets, input_lengths, target_lengths, zero_infinity=True) * 3.0

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    results = []
    for function in (step, compiled):
        scores = logits.detach().clone().requires_grad_()
        value = function(scores)
        results.append((value.detach(), torch.autograd.grad(value, scores)[0]))
    torch.testing.assert_close(results[0], results[1])
