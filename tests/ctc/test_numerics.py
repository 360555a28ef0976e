"""Where probabilities underflow: long, confidently wrong and barely fitting sequences; the same bits on any threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ctcrec.ctc import cpu, ctc_loss_from_logits
from ctcrec.ctc.inputs import check_inputs
from ctcrec.ctc.vector_math import NO_EXPONENT, exponent_of, fast_exp, narrow, power_of_two, widen


def compare(logits: Tensor, targets: Tensor, tolerance: float = 1e-9) -> None:
    """Value and gradient in float64 against the reference (if short) or PyTorch."""
    frames, count, _ = logits.shape
    arguments = targets, [frames] * count, [targets.shape[1]] * count
    logits = logits.double().requires_grad_()
    ours = ctc_loss_from_logits(logits, *arguments, reduction="none")
    if frames <= 300:
        expected = ctc_loss_from_logits(logits, *arguments, reduction="none", implementation="reference")
    else:
        expected = functional.ctc_loss(logits.log_softmax(dim=2), *arguments, reduction="none")
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-8)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(gradient, wanted, rtol=0.0, atol=tolerance)


def random(frames: int, count: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0, 1e5])
def test_from_flat_to_saturated_outputs(scale: float) -> None:
    targets = torch.randint(1, 12, (3, 40), generator=torch.Generator().manual_seed(1))
    # Rounding alone moves scores of a million by 1e-10.
    compare(scale * random(150, 3, 12), targets, max(1e-9, 1e-12 * scale))


def test_confidently_wrong_outputs() -> None:
    # Every frame is sure of a label that the target does not have; then of the blank; then of the wrong labels.
    targets = torch.tensor([[1, 2, 3] * 20, [4, 5, 4] * 20])
    for winner in (7, 0):
        logits = random(250, 2, 8)
        logits[:, :, winner] += 60.0
        compare(logits, targets)
    logits = random(250, 2, 8)
    logits[:, 0, 4] += 50.0
    logits[:, 1, 1] += 50.0
    compare(logits, targets)


def test_a_spike_train_aligned_elsewhere() -> None:
    # Confident spikes in the order of the target, but all of them in the last fifth of the frames, one a frame.
    labels = torch.arange(1, 41).unsqueeze(0)
    logits = torch.zeros(250, 1, 41, dtype=torch.float64)
    logits[:, :, 0] = 40.0
    for index in range(40):
        logits[205 + index, 0, 0] = 0.0
        logits[205 + index, 0, index + 1] = 40.0
    compare(logits, labels)
    compare(logits.flip(0), labels)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_targets_that_barely_fit(extra: int) -> None:
    targets = torch.randint(1, 4, (3, 60), generator=torch.Generator().manual_seed(2))
    needed = [60 + int((target[1:] == target[:-1]).sum()) for target in targets]
    for n, frames in enumerate(needed):
        compare(20.0 * random(frames + extra, 1, 4, seed=n), targets[n : n + 1])


def test_long_sequences() -> None:
    compare(random(6000, 1, 6), torch.randint(1, 6, (1, 500), generator=torch.Generator().manual_seed(3)), 1e-8)


def test_float32_gradient_of_long_sequences_is_exact_to_one_in_a_hundred_thousand() -> None:
    # PyTorch's own is off by 0.1 at this length.
    logits = random(6000, 1, 32).float().requires_grad_()
    targets = torch.randint(1, 32, (1, 400), generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad(ctc_loss_from_logits(logits, targets, [6000], [400], reduction="sum"), logits)
    double = logits.detach().double().requires_grad_()
    loss = functional.ctc_loss(double.log_softmax(dim=2), targets, [6000], [400], reduction="sum")
    (exact,) = torch.autograd.grad(loss, double)
    assert float((gradient - exact).abs().max()) < 1e-6


@pytest.mark.parametrize("confidence", [0.0, 30.0])
def test_twenty_thousand_frames(confidence: float) -> None:
    # A path of known likelihood: uniform frames, or frames sure of one path.
    frames, labels = 20_000, 50
    targets = torch.arange(labels).remainder(3).add(1).unsqueeze(0)
    logits = torch.zeros(frames, 1, 4)
    every = frames // labels
    logits[:, 0, 0] = confidence
    logits[::every, 0, 0] = 0.0
    logits[torch.arange(0, frames, every), 0, targets[0]] = confidence
    logits.requires_grad_()
    loss = ctc_loss_from_logits(logits, targets, [frames], [labels], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    # Occupancies and probabilities both sum to one at each frame.
    assert float(gradient.sum(dim=2).abs().max()) < 1e-5
    if confidence:
        assert float(loss.detach()) < 1e-3
    else:
        # Each of the 4^T paths is equally likely: paths that spell the target over all paths. Among T frames, L labels
        # that all differ from their neighbours take up runs; blanks before, between and behind are optional.
        paths = _count_paths(frames, labels)
        assert float(loss.detach()) == pytest.approx(frames * math.log(4.0) - paths, rel=1e-6)


def _count_paths(frames: int, labels: int) -> float:
    """log of the number of paths for `labels` labels without repeats: choose (T + L) over 2 L."""
    return math.lgamma(frames + labels + 1) - math.lgamma(2 * labels + 1) - math.lgamma(frames - labels + 1)


def test_log_space_takes_over_and_agrees() -> None:
    # One frame rules a needed label out all but entirely: beyond the range of the scaled recursion, not of log space.
    logits = random(60, 2, 5)
    logits[30, :, 1] = -2000.0
    logits[31, 0, 0] = -5000.0
    compare(logits, torch.tensor([[1, 2, 3, 1, 1, 4], [4, 3, 2, 1, 2, 3]]))


@pytest.mark.usefixtures("small_calls_use_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_for_any_number_of_threads(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(60, 7, 33, generator=generator).to(dtype)
    targets = torch.randint(1, 33, (7, 20), generator=generator)
    input_lengths = torch.randint(40, 61, (7,), generator=generator)
    target_lengths = torch.randint(1, 21, (7,), generator=generator)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            scores = logits.clone().requires_grad_()
            losses = ctc_loss_from_logits(scores, targets, input_lengths, target_lengths, reduction="none")
            results.append((losses, torch.autograd.grad(losses.sum(), scores)[0]))
    finally:
        torch.set_num_threads(before)
    for losses, gradient in results[1:]:
        assert torch.equal(losses, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_both_domains_agree_on_the_same_example() -> None:
    logits = random(80, 1, 6)
    inputs = check_inputs(logits, torch.tensor([[1, 2, 2, 3, 5, 1]]), torch.tensor([80]), torch.tensor([6]), 0)
    losses, normalizers = cpu.losses(logits, inputs, normalize=True)
    scaled = cpu.gradient(logits, inputs, True, losses, normalizers, torch.ones(1))
    # Class 4 is not in the target: making it certain changes the normalizers alone, class 5 at -1e4 forces log space.
    forced = logits.clone()
    forced[40, 0, 5] = -1e4
    losses, normalizers = cpu.losses(forced, inputs, normalize=True)
    in_log_space = cpu.gradient(forced, inputs, True, losses, normalizers, torch.ones(1))
    nearly = logits.clone()
    nearly[40, 0, 5] = -150.0
    losses, normalizers = cpu.losses(nearly, inputs, normalize=True)
    close = cpu.gradient(nearly, inputs, True, losses, normalizers, torch.ones(1))
    torch.testing.assert_close(in_log_space, close, rtol=0.0, atol=1e-12)
    assert not torch.equal(scaled, close)


def test_fast_exp_and_its_kin() -> None:
    import numba

    @numba.njit
    def exps(values, result):  # type: ignore[no-untyped-def]
        for i in range(values.size):
            result[i] = fast_exp(values[i])

    @numba.njit
    def split(value):  # type: ignore[no-untyped-def]
        return exponent_of(value), power_of_two(exponent_of(value))

    @numba.njit
    def round_trip(values, result):  # type: ignore[no-untyped-def]
        for i in range(values.size):
            result[i] = narrow(widen(values[i]), values[i])

    for dtype, lowest, tolerance in ((np.float32, -86.0, 1.2e-7), (np.float64, -700.0, 2.5e-16)):
        values = np.linspace(lowest, 0.5, 20011).astype(dtype)
        result = np.empty_like(values)
        exps(values, result)
        exact = np.exp(values.astype(np.longdouble))
        assert float(np.max(np.abs(result / exact - 1.0))) < tolerance
        special = np.array([-np.inf, -1e30, 0.0, np.nan], dtype)
        result = np.empty_like(special)
        exps(special, result)
        assert result[0] == result[1] == 0.0
        assert result[2] == 1.0
        assert np.isnan(result[3])
    assert split(0.75) == (-1, 0.5)
    assert split(0.0) == (-1023, 0.0)
    assert NO_EXPONENT < -(1 << 30)
    for dtype, kind in ((torch.bfloat16, np.uint16), (torch.float16, np.int16)):
        numbers = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, math.inf, -math.inf, 1e-7])]).to(dtype)
        bits = numbers.view(torch.int16).numpy().view(kind)
        copied = np.empty_like(bits)
        round_trip(bits, copied)
        assert np.array_equal(bits, copied)
