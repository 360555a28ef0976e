"""The Triton kernels on a CUDA GPU: what the interpreter of `test_gpu_interpreted.py` can't show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ctcrec.ctc import ctc_loss, ctc_loss_from_logits, ctc_posteriors, forced_align
from ctcrec.decoding import greedy_decode

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def problem(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Logits, targets and lengths on the GPU; some of the examples are shorter."""
    frames, count, classes, labels = shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, count, classes, generator=generator).to(dtype)
    targets = torch.randint(1, classes, (count, labels), generator=generator)
    input_lengths, target_lengths = torch.full((count,), frames), torch.full((count,), labels)
    if count > 1:
        input_lengths[1], target_lengths[1] = frames - frames // 5, labels - labels // 3
    return tuple(tensor.cuda() for tensor in (logits, targets, input_lengths, target_lengths))


def loss_and_gradient(function: Any, scores: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    scores = scores.detach().clone().requires_grad_()
    losses = function(scores, *arguments, reduction="none", **options)
    (gradient,) = torch.autograd.grad(losses.masked_fill(~losses.isfinite(), 0.0).sum(), scores)
    return losses.detach(), gradient


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Waiting for the GPU is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("function", [ctc_loss, ctc_loss_from_logits])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "shape",
    [
        (7, 5, 3, 2),
        (400, 4, 30, 150),
        (250, 4, 1000, 60),  # all states are kept
        (100, 3, 20_000, 20),
        (1500, 3, 50, 700),
        (3000, 2, 40, 1400),  # two tiles
    ],
)
def test_agrees_with_the_cpu(function: Any, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> None:
    scores, *arguments = problem(shape, dtype)
    if function is ctc_loss:
        scores = scores.float().log_softmax(dim=2).to(dtype)
    losses, gradient = loss_and_gradient(function, scores, *arguments)
    on_cpu = (tensor.cpu() for tensor in arguments)
    expected, wanted = loss_and_gradient(function, scores.cpu().double(), *on_cpu)
    tolerance = {torch.bfloat16: 8e-3, torch.float16: 1e-3, torch.float64: 1e-9}.get(dtype, 5e-6)
    torch.testing.assert_close(losses.cpu().double(), expected, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(gradient.cpu().double(), wanted, rtol=tolerance, atol=tolerance)


def test_gradient_error_at_6000_frames() -> None:
    logits, *arguments = problem((6000, 2, 32, 1000))
    _, gradient = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
    _, exact = loss_and_gradient(ctc_loss_from_logits, logits.cpu().double(), *(item.cpu() for item in arguments))
    assert float((gradient.cpu() - exact).abs().max()) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(100_000, 1, 32, 10_000), (10_000, 2, 20_000, 500)])
def test_the_largest_problems(shape: tuple[int, int, int, int]) -> None:
    logits, *arguments = problem(shape)
    losses, gradient = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
    expected = ctc_loss_from_logits(logits.cpu(), *(item.cpu() for item in arguments), reduction="none")
    torch.testing.assert_close(losses.cpu(), expected, rtol=1e-6, atol=1e-3)
    # Probabilities and occupancies both add up to one at each frame.
    assert float(gradient.sum(dim=2).abs().max()) < 1e-4
    log_probs = logits.log_softmax(dim=2).transpose(0, 1)
    paths, _ = forced_align(log_probs, *arguments)
    assert torch.equal(paths.cpu(), forced_align(log_probs.cpu(), *(item.cpu() for item in arguments))[0])


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("integers", [torch.int64, torch.int32])
def test_never_waits_for_the_gpu(integers: torch.dtype) -> None:
    logits, *arguments = problem((60, 4, 50, 12))
    arguments = [item.to(integers) for item in arguments]
    for function in (ctc_loss, ctc_loss_from_logits):
        for options in ({}, {"reduction": "sum", "zero_infinity": True}, {"focal_gamma": 0.5}):
            scores = logits.detach().clone().requires_grad_()
            function(scores, *arguments, **options).backward()


@pytest.mark.usefixtures("no_waiting")
def test_targets_on_the_cpu_need_no_waiting_either() -> None:
    torch.cuda.set_sync_debug_mode("default")
    logits, *arguments = problem((60, 4, 50, 12))
    on_cpu = [item.cpu() for item in arguments]
    torch.cuda.set_sync_debug_mode("error")
    scores = logits.requires_grad_()
    ctc_loss_from_logits(scores, *on_cpu).backward()


def test_targets_in_any_form_on_either_device() -> None:
    logits, targets, input_lengths, target_lengths = problem((60, 4, 50, 12))
    expected = loss_and_gradient(ctc_loss_from_logits, logits, targets, input_lengths, target_lengths)
    joined = torch.cat([target[:length] for target, length in zip(targets, target_lengths.tolist(), strict=True)])
    for form in (targets.cpu(), targets.int(), joined, joined.cpu().int()):
        for lengths in ((input_lengths, target_lengths), (input_lengths.tolist(), target_lengths.cpu().int())):
            found = loss_and_gradient(ctc_loss_from_logits, logits, form, *lengths)
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[1], expected[1])


def test_in_a_cuda_graph() -> None:
    logits, *arguments = problem((200, 4, 40, 50))
    logits.requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        losses = ctc_loss_from_logits(logits, *arguments, reduction="none")
        return losses, torch.autograd.grad(losses.sum(), logits)[0]

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses, gradient = step()
    with torch.no_grad():
        logits.copy_(torch.randn_like(logits))
        arguments[0].copy_(arguments[0].flip(1))
    graph.replay()
    expected = step()
    assert torch.equal(losses, expected[0])
    assert torch.equal(gradient, expected[1])


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_under_compile(mode: str) -> None:
    logits, *arguments = problem((100, 4, 40, 20))

    def step(logits: Tensor) -> Tensor:
        return ctc_loss_from_logits(logits * 2.0, *arguments, zero_infinity=True) * 3.0

    compiled = torch.compile(step, fullgraph=True, mode=mode)
    for _ in range(3):
        results = []
        for function in (step, compiled):
            scores = logits.detach().clone().requires_grad_()
            value = function(scores)
            results.append((value.detach().clone(), torch.autograd.grad(value, scores)[0].clone()))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("shape", [(400, 8, 30, 150), (250, 8, 1000, 60), (1500, 2, 40, 1200)])
def test_the_same_bits_every_time_and_in_any_company(shape: tuple[int, int, int, int]) -> None:
    logits, *arguments = problem(shape)
    first = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
    for _ in range(5):
        again = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
        assert torch.equal(again[0], first[0])
        assert torch.equal(again[1], first[1])
    alone = loss_and_gradient(ctc_loss_from_logits, logits[:, 1:2], *(item[1:2] for item in arguments))
    assert torch.equal(alone[0], first[0][1:2])
    assert torch.equal(alone[1], first[1][:, 1:2])


def test_bad_examples_stay_alone() -> None:
    logits, targets, input_lengths, target_lengths = problem((60, 6, 50, 12))
    clean = loss_and_gradient(ctc_loss_from_logits, logits, targets, input_lengths, target_lengths)
    targets[2, 3] = 50  # no such class
    input_lengths[3] = 4  # too short
    logits[7, 4] = torch.nan
    losses, gradient = loss_and_gradient(ctc_loss_from_logits, logits, targets, input_lengths, target_lengths)
    assert losses[2].isnan()
    assert losses[3].isposinf()
    assert losses[4].isnan()
    good = [0, 1, 5]
    assert torch.equal(losses[good], clean[0][good])
    assert torch.equal(gradient[:, good], clean[1][:, good])
    assert not gradient[:, 3].any()


@pytest.mark.parametrize(("shape", "limit"), [((250, 32, 5000, 60), 1.3), ((250, 32, 1000, 60), 1.3)])
def test_memory(shape: tuple[int, int, int, int], limit: float) -> None:
    logits, *arguments = problem(shape)
    logits.requires_grad_()
    ctc_loss_from_logits(logits, *arguments).backward()
    logits.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ctc_loss_from_logits(logits, *arguments).backward()
    assert torch.cuda.max_memory_allocated() - before <= limit * logits.numel() * logits.element_size()


@pytest.mark.parametrize("shape", [(200, 3, 30, 40), (3000, 2, 40, 1400)])
def test_paths_and_posteriors(shape: tuple[int, int, int, int]) -> None:
    logits, *arguments = problem(shape)
    log_probs = logits.log_softmax(dim=2)
    on_cpu = [item.cpu() for item in arguments]
    found = forced_align(log_probs.transpose(0, 1), *arguments)
    expected = forced_align(log_probs.cpu().transpose(0, 1), *on_cpu)
    assert torch.equal(found[0].cpu(), expected[0])
    assert torch.equal(found[1].cpu(), expected[1])
    for level in ("token", "state"):
        found_posteriors = ctc_posteriors(log_probs, *arguments, level=level)
        if shape[0] < 1000:
            exact = ctc_posteriors(log_probs.cpu().double(), *on_cpu, level=level)
            torch.testing.assert_close(found_posteriors.cpu().double(), exact, rtol=0.0, atol=5e-6)
        inside = torch.arange(shape[0], device="cuda").unsqueeze(1) < arguments[1]
        torch.testing.assert_close(found_posteriors.sum(dim=2), inside.float(), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_greedy_decoding(dtype: torch.dtype) -> None:
    logits, _, lengths, _ = problem((50, 4, 20, 5), dtype)
    log_probs = logits.float().log_softmax(dim=2).to(dtype).transpose(0, 1)
    tokens = [chr(97 + index) for index in range(20)]
    assert greedy_decode(log_probs, lengths, tokens) == greedy_decode(log_probs.cpu(), lengths.cpu(), tokens)
