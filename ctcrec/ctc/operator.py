"""The CTC negative log-likelihood as a PyTorch operator, and the choice of its implementation by device.

On the CPU it is a custom operator, `ctcrec::ctc_nll`, opaque to `torch.compile` and autocast, whose derivative is a
second operator, `ctcrec::ctc_nll_backward`; the derivative of that one, for double backward, comes from `reference`.
On other devices it is `reference`, which autograd differentiates.
"""

import torch
from torch import Tensor

from ctcrec.ctc import reference
from ctcrec.ctc.inputs import check_inputs

__all__ = ["negative_log_likelihood"]


def negative_log_likelihood(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    class_bias: Tensor | None,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
    use_reference: bool,
) -> tuple[Tensor, Tensor]:
    """-log p(target | x) of each example, (N,), and whether its target fits its frames, (N,) bool on the CPU."""
    if use_reference or scores.device.type != "cpu":
        return _reference(
            scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
        )
    losses, _, feasible = _nll(
        scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
    )
    return losses, feasible


def _reference(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
) -> tuple[Tensor, Tensor]:
    inputs = check_inputs(scores, targets, input_lengths, target_lengths, blank, class_bias, wildcard, wildcard_score)
    return -reference.log_likelihood(scores, inputs, normalize), inputs.feasible


@torch.library.custom_op("ctcrec::ctc_nll", mutates_args=())
def _nll(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (N,), log-normalizers for the backward pass (N, T) or (N, 0), and feasibility (N,)."""
    from ctcrec.ctc import cpu

    inputs = check_inputs(scores, targets, input_lengths, target_lengths, blank, class_bias, wildcard, wildcard_score)
    losses, normalizers = cpu.losses(scores, inputs, normalize)
    return losses.to(_loss_dtype(scores)), normalizers, inputs.feasible


@_nll.register_fake
def _(scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize):  # type: ignore[no-untyped-def]
    frames, count, _ = scores.shape
    return (
        scores.new_empty((count,), dtype=_loss_dtype(scores)),
        scores.new_empty((count, frames if normalize else 0), dtype=torch.float64),
        scores.new_empty((count,), dtype=torch.bool),
    )


@torch.library.custom_op("ctcrec::ctc_nll_backward", mutates_args=())
def _nll_backward(
    factors: Tensor,
    scores: Tensor,
    losses: Tensor,
    normalizers: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
) -> Tensor:
    """sum_n factors[n] * d losses[n] / d scores, (T, N, C)."""
    from ctcrec.ctc import cpu

    inputs = check_inputs(scores, targets, input_lengths, target_lengths, blank, class_bias, wildcard, wildcard_score)
    return cpu.gradient(scores, inputs, normalize, losses, normalizers, factors)


@_nll_backward.register_fake
def _(factors, scores, *rest):  # type: ignore[no-untyped-def]
    return torch.empty_like(scores)


def _loss_dtype(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    scores, targets, input_lengths, target_lengths, class_bias, *ctx.settings = inputs
    losses, normalizers, _ = output
    ctx.save_for_backward(scores, losses, normalizers, targets, input_lengths, target_lengths, class_bias)


def _derivative(ctx, factors, _normalizers, _feasible):  # type: ignore[no-untyped-def]
    return _nll_backward(factors, *ctx.saved_tensors, *ctx.settings), *[None] * 8


def _save_second(ctx, inputs, output):  # type: ignore[no-untyped-def]
    factors, scores, _, _, *rest = inputs
    *tensors, blank, wildcard, wildcard_score, normalize = rest
    ctx.save_for_backward(factors, scores, *tensors)
    ctx.settings = blank, wildcard, wildcard_score, normalize


def _second_derivative(ctx, cotangent):  # type: ignore[no-untyped-def]
    factors, scores, *tensors = ctx.saved_tensors
    with torch.enable_grad():
        factors, scores = factors.detach().requires_grad_(), scores.detach().requires_grad_()
        losses, _ = _reference(scores, *tensors, *ctx.settings)
        # An infinite loss has no gradient, but inf * 0 would be NaN.
        finite = losses.masked_fill(torch.isposinf(losses), 0.0)
        (first,) = torch.autograd.grad((finite * factors).sum(), scores, create_graph=True)
        for_factors, for_scores = torch.autograd.grad(first, (factors, scores), cotangent)
    return for_factors, for_scores, *[None] * 10


_nll.register_autograd(_derivative, setup_context=_save)
_nll_backward.register_autograd(_second_derivative, setup_context=_save_second)
