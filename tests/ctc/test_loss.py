"""The loss and its gradient against enumeration, PyTorch in float64 and finite differences; invariances; options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.ctc import enumerate_log_likelihood, enumerate_posteriors
from torch import Tensor
from torch.nn import functional

from ctcrec.ctc import CTCLoss, ctc_loss, ctc_loss_from_logits, is_feasible, min_frames

IMPLEMENTATIONS = ["auto", "reference"]


def loss_and_gradient(function: Any, scores: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Losses (N,) and the gradient of the sum of the finite ones."""
    scores = scores.detach().clone().requires_grad_()
    losses = function(scores, *arguments, reduction="none", **options)
    losses.masked_fill(torch.isinf(losses), 0.0).sum().backward()
    assert scores.grad is not None
    return losses.detach(), scores.grad


def batch(frames: int, count: int, classes: int, labels: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random float64 logits, padded targets (blank 0) and lengths that fit."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, count, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(1, classes, (count, labels), generator=generator)
    target_lengths = torch.randint(0, labels + 1, (count,), generator=generator)
    needed = torch.tensor([min_frames(targets[n, : target_lengths[n]]) for n in range(count)])
    input_lengths = needed + ((frames - needed) * torch.rand(count, generator=generator)).long()
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


@given(small_problems(), st.sampled_from(IMPLEMENTATIONS), st.booleans())
@settings(max_examples=150, deadline=None)
def test_agrees_with_enumeration_of_all_paths(
    problem: tuple[Tensor, list[list[int]], list[int], int, torch.dtype], implementation: str, from_logits: bool
) -> None:
    scores, targets, lengths, blank, dtype = problem
    longest = max(map(len, targets))
    rows = [target + [blank] * (longest - len(target)) for target in targets]
    padded = torch.tensor(rows, dtype=torch.int64).reshape(len(targets), -1)
    function = ctc_loss_from_logits if from_logits else ctc_loss
    losses, gradient = loss_and_gradient(
        function, scores, padded, lengths, [len(t) for t in targets], blank, implementation=implementation
    )
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


@pytest.mark.parametrize("shape", [(60, 5, 12, 20), (40, 3, 200, 7), (90, 4, 3, 40)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_agrees_with_pytorch_in_float64(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    logits, targets, input_lengths, target_lengths = batch(*shape)

    def peer(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return functional.ctc_loss(logits.log_softmax(dim=2), *arguments, **options)

    logits = logits.to(dtype)
    arguments = targets, input_lengths, target_lengths
    expected, expected_gradient = loss_and_gradient(peer, logits.double(), *arguments)
    losses, gradient = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
    exact = dtype == torch.float64
    torch.testing.assert_close(losses.double(), expected, rtol=1e-12 if exact else 3e-7, atol=1e-10 if exact else 1e-6)
    tolerance = 1e-11 if exact else 5e-7
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_takes_the_place_of_pytorchs(reduction: Any, zero_infinity: bool) -> None:
    logits, targets, input_lengths, target_lengths = batch(30, 4, 6, 8)
    target_lengths[1] = 8
    input_lengths[1] = 5 if zero_infinity else 30
    target_lengths[2] = 0
    log_probs = logits.log_softmax(dim=2)
    joined = torch.cat([target[:length] for target, length in zip(targets, target_lengths, strict=True)])
    options = {"reduction": reduction, "zero_infinity": zero_infinity}
    expected = functional.ctc_loss(log_probs, targets, input_lengths, target_lengths, 0, **options)
    forms = [
        (targets, input_lengths, target_lengths),
        (joined, input_lengths, target_lengths),
        (targets.int(), tuple(input_lengths.tolist()), target_lengths.tolist()),
        (joined.to(torch.int32), input_lengths.int(), tuple(target_lengths.tolist())),
    ]
    for form in forms:
        torch.testing.assert_close(ctc_loss(log_probs, *form, 0, **options), expected)
        torch.testing.assert_close(CTCLoss(0, **options)(log_probs, *form), expected)
        torch.testing.assert_close(CTCLoss(0, **options, from_logits=True)(logits, *form), expected)
    first = targets[0, : target_lengths[0]]
    single = functional.ctc_loss(log_probs[:, 0], first, input_lengths[0], target_lengths[0], **options)
    ours = ctc_loss(log_probs[:, 0], first, int(input_lengths[0]), int(target_lengths[0]), **options)
    torch.testing.assert_close(ours, single)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("function", [ctc_loss, ctc_loss_from_logits])
def test_first_and_second_derivative_are_true_on_unnormalized_input(function: Any, implementation: str) -> None:
    # PyTorch's own gradient fails this: it is right only after a log_softmax (pytorch/pytorch #52241, #127608).
    scores = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    targets = torch.tensor([[1, 1], [2, 1], [3, 3]])

    def losses(scores: Tensor) -> Tensor:
        return function(scores, targets, [5, 4, 3], [2, 2, 1], reduction="none", implementation=implementation)

    assert torch.autograd.gradcheck(losses, scores)
    assert torch.autograd.gradgradcheck(losses, scores)


def test_padding_and_batch_order_do_not_matter_bit_for_bit() -> None:
    logits, targets, input_lengths, target_lengths = batch(40, 6, 9, 10)
    logits = logits.float()
    losses, gradient = loss_and_gradient(ctc_loss_from_logits, logits, targets, input_lengths, target_lengths)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = loss_and_gradient(
        ctc_loss_from_logits, logits[:, order], targets[order], input_lengths[order], target_lengths[order]
    )
    assert torch.equal(permuted[0], losses[order])
    assert torch.equal(permuted[1], gradient[:, order])
    padding = torch.full((17, 6, 9), math.nan)
    wider = torch.cat([targets, torch.full((6, 5), -7)], dim=1)
    padded = loss_and_gradient(ctc_loss_from_logits, torch.cat([logits, padding]), wider, input_lengths, target_lengths)
    assert torch.equal(padded[0], losses)
    assert torch.equal(padded[1][:40], gradient)
    assert not padded[1][40:].any()
    for n in range(6):
        alone = loss_and_gradient(
            ctc_loss_from_logits, logits[: input_lengths[n], n : n + 1], targets[n : n + 1], input_lengths[n : n + 1],
            target_lengths[n : n + 1],
        )  # fmt: skip
        assert torch.equal(alone[0], losses[n : n + 1])
        assert torch.equal(alone[1], gradient[: input_lengths[n], n : n + 1])


def test_layout_in_memory_does_not_matter() -> None:
    logits, targets, input_lengths, target_lengths = batch(20, 3, 8, 5)
    arguments = targets, input_lengths, target_lengths
    expected = loss_and_gradient(ctc_loss_from_logits, logits, *arguments)
    batch_first = logits.transpose(0, 1).contiguous().requires_grad_()
    classes_first = logits.permute(2, 0, 1).contiguous().requires_grad_()
    sliced = torch.randn(40, 5, 16, dtype=torch.float64)
    sliced[::2, 1:4, 4:12] = logits
    sliced.requires_grad_()
    for leaf, view in [
        (batch_first, batch_first.transpose(0, 1)),
        (classes_first, classes_first.permute(1, 2, 0)),
        (sliced, sliced[::2, 1:4, 4:12]),
    ]:
        losses = ctc_loss_from_logits(view, *arguments, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), view)
        assert torch.equal(losses, expected[0])
        assert torch.equal(gradient, expected[1])
        losses = ctc_loss_from_logits(view, *arguments, reduction="none")
        losses.sum().backward()
        assert leaf.grad is not None


def test_feasibility() -> None:
    assert min_frames([]) == 0
    assert min_frames(torch.tensor([3, 3, 3, 1, 1])) == 8
    assert is_feasible([1, 1], 3)
    assert not is_feasible([1, 1], 2)


# Optional terms


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_label_priors_are_subtracted_from_the_log_probabilities(implementation: Any) -> None:
    logits, targets, input_lengths, target_lengths = batch(25, 3, 6, 6)
    priors = torch.rand(6, dtype=torch.float64).log_softmax(dim=0)
    arguments = targets, input_lengths, target_lengths

    def plain(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return ctc_loss(logits.log_softmax(dim=2) - 0.3 * priors, *arguments, implementation="reference", **options)

    expected = loss_and_gradient(plain, logits, *arguments)
    found = loss_and_gradient(
        ctc_loss_from_logits, logits, *arguments, label_priors=priors, prior_scale=0.3, implementation=implementation
    )
    torch.testing.assert_close(found, expected)
    zero = loss_and_gradient(ctc_loss_from_logits, logits, *arguments, label_priors=priors, prior_scale=0.0)
    torch.testing.assert_close(zero, loss_and_gradient(ctc_loss_from_logits, logits, *arguments))


def wildcard_oracle(log_probs: Tensor, before: int, after: int, score: float) -> float:
    """-log of the summed alignments of  before * after  with blank 0, state by state in probabilities."""
    frames = log_probs.shape[0]
    probabilities = log_probs.double().exp()
    emit = [
        lambda t: float(probabilities[t, 0]),
        lambda t: float(probabilities[t, before]),
        lambda t: float(probabilities[t, 0]),
        lambda t: math.exp(score),
        lambda t: float(probabilities[t, 0]),
        lambda t: float(probabilities[t, after]),
        lambda t: float(probabilities[t, 0]),
    ]
    total = 0.0
    pending = [(0, state, emit[state](0)) for state in (0, 1)]
    while pending:
        t, state, weight = pending.pop()
        if t == frames - 1:
            total += weight if state >= 5 else 0.0
            continue
        for step in (0, 1, 2):
            if state + step < 7 and (step < 2 or state % 2 == 1):
                pending.append((t + 1, state + step, weight * emit[state + step](t + 1)))
    return -math.log(total)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("score", [0.0, -0.7])
def test_wildcard_matches_any_frames(implementation: Any, score: float) -> None:
    logits = torch.randn(7, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    options = {"wildcard": -1, "wildcard_score": score, "implementation": implementation, "reduction": "sum"}
    targets = torch.tensor([[2, -1, 3]])
    loss = ctc_loss_from_logits(logits, targets, [7], [3], **options)
    assert float(loss.detach()) == pytest.approx(
        wildcard_oracle(logits[:, 0].log_softmax(dim=1), 2, 3, score), rel=1e-12
    )
    assert torch.autograd.gradcheck(lambda x: ctc_loss_from_logits(x, targets, [7], [3], **options), logits)
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x, targets, [7], [3], **options), logits)


def test_wildcard_forgives_an_untranscribed_stretch() -> None:
    said = [1, 2, 3, 4, 5]
    logits = torch.full((10, 1, 6), 0.0)
    for index, label in enumerate(said):
        logits[2 * index, 0, label] = 8.0
        logits[2 * index + 1, 0, 0] = 8.0
    missing = ctc_loss_from_logits(logits, torch.tensor([[1, 5]]), [10], [2], reduction="sum")
    starred = ctc_loss_from_logits(logits, torch.tensor([[1, 9, 5]]), [10], [3], reduction="sum", wildcard=9)
    assert float(missing) > 20.0
    assert float(starred) < 0.1


def test_focal_weighting_and_weights() -> None:
    logits, targets, input_lengths, target_lengths = batch(12, 4, 5, 4)
    arguments = targets, input_lengths, target_lengths
    plain = ctc_loss_from_logits(logits, *arguments, reduction="none")
    focal = ctc_loss_from_logits(logits, *arguments, reduction="none", focal_gamma=2.0)
    torch.testing.assert_close(focal, (1.0 - torch.exp(-plain)) ** 2 * plain)
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5])
    weighted = ctc_loss_from_logits(logits, *arguments, reduction="sum", weights=weights)
    torch.testing.assert_close(weighted, (plain * weights).sum())

    def function(logits: Tensor) -> Tensor:
        return ctc_loss_from_logits(logits, *arguments, focal_gamma=0.5, weights=weights)

    assert torch.autograd.gradcheck(function, logits.requires_grad_())


def test_focal_gradient_is_finite_where_the_loss_vanishes() -> None:
    logits = torch.zeros(3, 1, 2)
    logits[:, :, 0] = 200.0
    loss, gradient = loss_and_gradient(
        ctc_loss_from_logits, logits, torch.zeros(1, 0, dtype=torch.int64), [3], [0], focal_gamma=0.5
    )
    assert float(loss) == 0.0
    assert not gradient.isnan().any()


def test_confidence_penalty_rewards_entropy_within_the_lengths() -> None:
    logits, targets, input_lengths, target_lengths = batch(12, 3, 5, 4)
    arguments = targets, input_lengths, target_lengths
    plain = ctc_loss_from_logits(logits, *arguments, reduction="none")
    expected = plain.clone()
    for n in range(3):
        distribution = torch.distributions.Categorical(logits=logits[: input_lengths[n], n])
        expected[n] -= 0.2 * distribution.entropy().sum()
    penalized = ctc_loss_from_logits(logits, *arguments, reduction="none", confidence_penalty=0.2)
    torch.testing.assert_close(penalized, expected)
    again = ctc_loss(logits.log_softmax(dim=2), *arguments, reduction="none", confidence_penalty=0.2)
    torch.testing.assert_close(again, expected)
