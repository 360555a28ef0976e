"""The CTC negative log-likelihood as a PyTorch operator, and the choice of its implementation by device.

On the CPU it is a custom operator, `ctcrec::ctc_nll`, opaque to `torch.compile` and autocast, whose derivative is a
second operator, `ctcrec::ctc_nll_backward`; the derivative of that one, for double backward, comes from `reference`.
On a CUDA GPU likewise, `ctcrec::ctc_nll_gpu`, whose operators never wait for the GPU. On other devices it is
`reference`, which autograd differentiates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctcrec.ctc import reference
from ctcrec.ctc.inputs import check_inputs, check_scores, check_unread

if TYPE_CHECKING:
    from ctcrec.ctc.gpu import Problem

__all__ = ["negative_log_likelihood", "on_gpu"]


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
    """-log p(target | x) of each example, (N,), and whether its target fits its frames, (N,) bool.

    On a GPU the second is there too, and targets and lengths that are there are not read: where one is out of range,
    the loss is NaN in place of an error.
    """
    if not use_reference and on_gpu(scores):
        keep = torch.is_grad_enabled() and scores.requires_grad
        losses, feasible, *_ = _nll_gpu(
            scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize, keep
        )
        return losses, feasible
    if use_reference or scores.device.type != "cpu":
        return _reference(
            scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
        )
    losses, _, feasible = _nll(
        scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
    )
    return losses, feasible


def on_gpu(scores: Tensor) -> bool:
    """Whether the Triton kernels take these scores."""
    return scores.device.type == "cuda"


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


def _problem(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
) -> Problem:
    """The arguments on the device of `scores`. What is on the CPU is checked first."""
    from ctcrec.ctc.gpu import Problem

    check_scores(scores, blank, wildcard, class_bias)
    given = targets, input_lengths, target_lengths
    if all(tensor.device.type == "cpu" for tensor in given):
        check_inputs(scores, *given, blank, None, wildcard)
    else:
        check_unread(scores, *given)
    device = scores.device
    targets, input_lengths, target_lengths = (tensor.detach().to(device, non_blocking=True) for tensor in given)
    if class_bias is not None:
        class_bias = class_bias.detach().to(device, torch.float64, non_blocking=True)
    return Problem(
        scores,
        targets,
        input_lengths.reshape(-1).contiguous(),
        target_lengths.reshape(-1).contiguous(),
        min(targets.shape[-1], scores.shape[0]),
        blank,
        class_bias,
        wildcard,
        wildcard_score,
        normalize,
    )


@torch.library.custom_op("ctcrec::ctc_nll_gpu", mutates_args=())
def _nll_gpu(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses (N,), feasibility (N,), and the tensors of `gpu.Forward`; those for the backward pass only if `keep`."""
    from ctcrec.ctc import gpu

    problem = _problem(
        scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
    )
    state = gpu.forward(problem, keep)
    return state.losses.to(_loss_dtype(scores), copy=True), state.feasible, *state.tensors()


@_nll_gpu.register_fake
def _(scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize, keep):  # type: ignore[no-untyped-def]
    from ctcrec.ctc import gpu

    longest = min(targets.shape[-1], scores.shape[0])
    problem = gpu.Problem(
        scores, targets, input_lengths, target_lengths, longest, blank, class_bias, wildcard, wildcard_score, normalize
    )
    state = gpu.allocate(problem, keep)
    return state.losses.to(_loss_dtype(scores), copy=True), state.feasible, *state.tensors()


@torch.library.custom_op("ctcrec::ctc_nll_gpu_backward", mutates_args=())
def _nll_gpu_backward(
    factors: Tensor,
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    class_bias: Tensor | None,
    state: list[Tensor],
    blank: int,
    wildcard: int | None,
    wildcard_score: float,
    normalize: bool,
) -> Tensor:
    """sum_n factors[n] * d losses[n] / d scores, (T, N, C)."""
    from ctcrec.ctc import gpu

    problem = _problem(
        scores, targets, input_lengths, target_lengths, class_bias, blank, wildcard, wildcard_score, normalize
    )
    return gpu.gradient(problem, gpu.Forward(*state), factors)


@_nll_gpu_backward.register_fake
def _(factors, scores, *rest):  # type: ignore[no-untyped-def]
    return torch.empty_like(scores)


def _save_gpu(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, blank, wildcard, wildcard_score, normalize, _ = inputs
    ctx.settings = blank, wildcard, wildcard_score, normalize
    ctx.save_for_backward(*tensors, *output[2:])
    ctx.set_materialize_grads(False)  # zeros for all that the backward pass only keeps


def _derivative_gpu(ctx, factors, *_):  # type: ignore[no-untyped-def]
    if factors is None:
        return (None,) * 10
    *tensors, losses, info, chains, normalizers, kept_m, kept_e, last_m, last_e, totals_e = ctx.saved_tensors
    state = [losses, info, chains, normalizers, kept_m, kept_e, last_m, last_e, totals_e]
    return _nll_gpu_backward(factors, *tensors, state, *ctx.settings), *[None] * 9


def _save_second_gpu(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, state, blank, wildcard, wildcard_score, normalize = inputs
    ctx.save_for_backward(*tensors)
    ctx.kept = len(state)
    ctx.settings = blank, wildcard, wildcard_score, normalize


def _second_derivative_gpu(ctx, cotangent):  # type: ignore[no-untyped-def]
    found = _second_derivative(ctx, cotangent)[:2]  # type: ignore[no-untyped-call]
    return *found, *[None] * 4, [None] * ctx.kept, *[None] * 4


_nll_gpu.register_autograd(_derivative_gpu, setup_context=_save_gpu)
_nll_gpu_backward.register_autograd(_second_derivative_gpu, setup_context=_save_second_gpu)
