"""What goes wrong stays in its example and is named: infeasible targets, non-finite scores, wrong arguments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ctcrec.ctc import ctc_loss, ctc_loss_from_logits, ctc_posteriors, forced_align
from ctcrec.errors import InfeasibleError, InputError

FUNCTIONS = [ctc_loss, ctc_loss_from_logits]
IMPLEMENTATIONS = ["auto", "reference"]


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits = torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[1, 2, 3, 4], [5, 5, 5, 5], [2, 1, 2, 1], [3, 0, 0, 0]])
    return logits, targets, torch.tensor([12, 6, 10, 5]), torch.tensor([4, 4, 4, 1])


def gradient_of(function: Any, scores: Tensor, *arguments: Any, **options: Any) -> Tensor:
    scores = scores.detach().clone().requires_grad_()
    function(scores, *arguments, **options).backward()
    assert scores.grad is not None
    return scores.grad


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_infeasible_target_is_infinite_with_zero_gradient(function: Any, implementation: str) -> None:
    # Example 1 needs 4 labels + 3 blanks = 7 frames and has 6. PyTorch gives NaN in its whole gradient.
    scores, targets, input_lengths, target_lengths = problem()
    arguments = targets, input_lengths, target_lengths
    losses = function(scores, *arguments, reduction="none", implementation=implementation)
    assert torch.isinf(losses).tolist() == [False, True, False, False]
    gradient = gradient_of(function, scores, *arguments, reduction="sum", implementation=implementation)
    assert not gradient[:, 1].any()
    zeroed = gradient_of(
        function, scores, *arguments, reduction="sum", implementation=implementation, zero_infinity=True
    )
    others = [0, 2, 3]
    alone = gradient_of(
        function, scores[:, others], *(a[others] for a in arguments), reduction="sum", implementation=implementation
    )
    torch.testing.assert_close(zeroed[:, others], alone)
    torch.testing.assert_close(gradient[:, others], alone)
    total = function(scores, *arguments, reduction="sum", implementation=implementation, zero_infinity=True)
    torch.testing.assert_close(total, losses[others].sum())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_infeasible_targets_can_be_an_error_that_names_them(function: Any) -> None:
    scores, targets, input_lengths, target_lengths = problem()
    with pytest.raises(InfeasibleError, match=r"examples \[1\]"):
        function(scores, targets, input_lengths, target_lengths, on_infeasible="error")
    input_lengths[1] = 7
    assert function(scores, targets, input_lengths, target_lengths, on_infeasible="error").isfinite()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_stay_in_their_example(function: Any, implementation: str, value: float) -> None:
    scores, targets, input_lengths, target_lengths = problem()
    input_lengths[1] = 8
    arguments = targets, input_lengths, target_lengths
    options = {"implementation": implementation}
    clean = function(scores, *arguments, reduction="none", **options)
    clean_gradient = gradient_of(function, scores, *arguments, reduction="sum", **options)
    spoiled = scores.clone()
    spoiled[3, 2] = value
    spoiled[11, 3] = value  # beyond the length of example 3
    losses = function(spoiled, *arguments, reduction="none", zero_infinity=True, **options)
    gradient = gradient_of(function, spoiled, *arguments, reduction="sum", zero_infinity=True, **options)
    others = [0, 1, 3]
    assert torch.equal(losses[others], clean[others])
    assert torch.equal(gradient[:, others], clean_gradient[:, others])
    if value == -math.inf and function is ctc_loss:
        assert losses[2] == 0.0
        assert not gradient[:, 2].any()
    else:
        assert losses[2].isnan()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_class_ruled_out_by_minus_infinity(function: Any, implementation: str) -> None:
    # PyTorch returns NaN gradients for the whole batch here, zero_infinity or not.
    scores, targets, input_lengths, target_lengths = problem()
    arguments = targets, input_lengths, target_lengths
    scores[:, :, 5] = -math.inf
    options = {"implementation": implementation, "zero_infinity": True, "reduction": "sum"}
    gradient = gradient_of(function, scores, *arguments, **options)
    assert gradient.isfinite().all()
    assert not gradient[:, :, 5].any()
    assert not gradient[:, 1].any()
    double = gradient_of(function, scores.double(), *arguments, **{**options, "implementation": "reference"})
    torch.testing.assert_close(gradient.double(), double, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_impossible_frame_among_others(function: Any) -> None:
    # A needed label has probability zero at some frames only: finite loss, by way of log space.
    scores = torch.randn(9, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    scores[2:5, 0, 2] = -math.inf
    scores[7, 0, 0] = -math.inf
    arguments = torch.tensor([[1, 2, 3]]), [9], [3]
    for implementation in IMPLEMENTATIONS:
        loss = function(scores, *arguments, implementation=implementation)
        assert loss.isfinite()
    found, expected = (gradient_of(function, scores, *arguments, implementation=i) for i in IMPLEMENTATIONS)
    torch.testing.assert_close(found, expected)


def test_an_infinite_or_missing_upstream_gradient_does_not_reach_an_impossible_example() -> None:
    scores, targets, input_lengths, target_lengths = problem()
    scores.requires_grad_()
    losses = ctc_loss_from_logits(scores, targets, input_lengths, target_lengths, reduction="none")
    losses.backward(torch.tensor([1.0, math.nan, 0.0, 1.0]))
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert not scores.grad[:, 1:3].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [[1, 2], [3, 0]]}, "target 0 of example 1 at position 1 is the blank"),
        ({"targets": [[1, 2], [-3, 1]]}, "target -3 of example 1 at position 0 is outside the classes 0..5"),
        ({"targets": [[1, 6], [3, 1]]}, "target 6 of example 0 at position 1 is outside"),
        ({"targets": [[1.0, 2.0], [3.0, 1.0]]}, "targets must have an integer dtype, got torch.float32"),
        ({"targets": [1, 2, 3]}, "concatenated targets have 3 entries"),
        ({"targets": [[1, 2], [3, 1], [1, 1]]}, "targets must be \\(2, L\\)"),
        ({"input_lengths": [8, 9]}, "input_lengths\\[1\\] is 9; expected 0..8"),
        ({"input_lengths": [-1, 8]}, "input_lengths\\[0\\] is -1"),
        ({"input_lengths": [8]}, "input_lengths has 1 entries for a batch of 2"),
        ({"target_lengths": [2, 3]}, "target_lengths\\[1\\] is 3; expected 0..2"),
        ({"input_lengths": [7.5, 8.0]}, "input_lengths must have an integer dtype"),
        ({"blank": 6}, "blank must be in 0..5"),
        ({"blank": -1}, "blank must be in 0..5"),
        ({"wildcard": 3}, "wildcard must be an id outside the classes"),
        ({"reduction": "average"}, "reduction must be"),
        ({"on_infeasible": "skip"}, "on_infeasible must be"),
        ({"implementation": "fast"}, "implementation must be"),
        ({"focal_gamma": -1.0}, "must not be negative"),
        ({"focal_gamma": 1.0, "wildcard": -1}, "focal_gamma needs probabilities"),
        ({"weights": torch.ones(3)}, "weights must have shape"),
        ({"label_priors": torch.ones(3)}, "label priors must have shape"),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_arguments_are_named(function: Any, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "targets": [[1, 2], [3, 1]], "input_lengths": [8, 8], "target_lengths": [2, 2], **change,
    }  # fmt: skip
    for name in ("targets", "input_lengths", "target_lengths"):
        arguments[name] = torch.tensor(arguments[name])
    with pytest.raises(InputError, match=message):
        function(torch.randn(8, 2, 6), **arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_scores_are_named(function: Any) -> None:
    arguments = torch.tensor([[1, 2], [3, 1]]), [8, 8], [2, 2]
    with pytest.raises(InputError, match="scores must be float32"):
        function(torch.ones(8, 2, 6, dtype=torch.int64), *arguments)
    with pytest.raises(InputError, match="expected scores of shape"):
        function(torch.randn(8), *arguments)


def test_empty_batches_frames_and_targets() -> None:
    nothing = ctc_loss_from_logits(torch.randn(5, 0, 4), torch.zeros(0, 3, dtype=torch.int64), [], [], reduction="none")
    assert nothing.shape == (0,)
    arguments = torch.tensor([[1], [1]]), [0, 0], [0, 1]
    for implementation in IMPLEMENTATIONS:
        losses = ctc_loss_from_logits(torch.randn(0, 2, 4), *arguments, reduction="none", implementation=implementation)
        assert losses.tolist() == [0.0, math.inf]
    paths, scores = forced_align(torch.randn(1, 4, 3), torch.zeros(1, 0, dtype=torch.int64))
    assert paths.tolist() == [[0, 0, 0, 0]]
    assert scores.shape == (1, 4)


def test_alignment_names_what_does_not_fit() -> None:
    log_probs = torch.randn(2, 4, 3).log_softmax(dim=2)
    with pytest.raises(InfeasibleError, match="example 1: the target needs 5 frames .* but has 4"):
        forced_align(log_probs, torch.tensor([[1, 2, 1], [1, 1, 1]]))
    with pytest.raises(InputError, match="target 3 of example 0"):
        forced_align(log_probs, torch.tensor([[1, 3], [1, 1]]))
    for value in (math.nan, -math.inf):
        spoiled = log_probs.clone()
        spoiled[1, 2] = value
        with pytest.raises(InfeasibleError, match="example 1: no path"):
            forced_align(spoiled, torch.tensor([[1, 2], [1, 1]]))


def test_posteriors_of_an_infeasible_target_are_zero() -> None:
    scores, targets, input_lengths, target_lengths = problem()
    for level in ("token", "state"):
        posteriors = ctc_posteriors(scores, targets, input_lengths, target_lengths, level=level)
        assert not posteriors[:, 1].any()
        assert posteriors[:, 0].any()
