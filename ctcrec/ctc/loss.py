"""The CTC loss: `ctc_loss`, `ctc_loss_from_logits` and the module `CTCLoss`, in the place of PyTorch's own.

This module joins the pieces: the negative log-likelihood of each example (computed by the kernels of the device), the
optional terms that change it (focal weighting, example weights, a confidence penalty) and the reduction.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ctcrec.ctc.inputs import Lengths, lengths_tensor
from ctcrec.ctc.operator import negative_log_likelihood
from ctcrec.errors import InfeasibleError, InputError

__all__ = ["CTCLoss", "Implementation", "Reduction", "ctc_loss", "ctc_loss_from_logits"]

Reduction = Literal["none", "mean", "sum"]
Implementation = Literal["auto", "reference"]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    weights: Tensor | None = None,
    focal_gamma: float = 0.0,
    label_priors: Tensor | None = None,
    prior_scale: float = 1.0,
    wildcard: int | None = None,
    wildcard_score: float = 0.0,
    confidence_penalty: float = 0.0,
    on_infeasible: Literal["inf", "error"] = "inf",
    implementation: Implementation = "auto",
) -> Tensor:
    """Connectionist temporal classification loss (Graves et al. 2006), with the meaning of PyTorch's `ctc_loss`.

    The gradient is the true one with respect to `log_probs`, whether they are normalized or not. A target that does
    not fit its frames has loss inf and gradient zero; so has a target of probability zero.

    Args:
        log_probs: (T, N, C) or (T, C) float32, float64, bfloat16 or float16.
        targets: (N, L) padded, or concatenated (sum of target_lengths,); class ids other than `blank`.
        input_lengths: frames of each example, (N,) tensor, sequence, or int.
        target_lengths: labels of each example, likewise.
        blank: class of the blank.
        reduction: "none" gives (N,); "sum"; "mean" divides each loss by its target length (at least 1), then averages.
        zero_infinity: infinite losses count as zero (their gradient is zero in any case).
        weights: (N,) factors of the examples' losses.
        focal_gamma: multiplies each loss by (1 - p)^gamma, p = exp(-loss), so that examples already right count less
            (Feng, Yao and Zhang 2019, Focal CTC Loss).
        label_priors: (C,) log-priors of the classes; `prior_scale` times these are subtracted from `log_probs`, which
            makes the outputs less peaky (Huang et al. 2024, arXiv 2406.02560). `LabelPriors` estimates them.
        wildcard: an id outside 0..C-1 that may stand in `targets` for a stretch of one or more frames with any content,
            each at log-probability `wildcard_score` (Pratap et al. 2022, Cai et al. 2022). As alignments that differ
            only in where the wildcard ends are added up, such a loss may be negative.
        confidence_penalty: subtracts this times the sum of the frames' entropies (Pereyra et al. 2017).
        on_infeasible: "error" raises `InfeasibleError` naming the examples whose target does not fit.
        implementation: "auto" picks by device; "reference" is plain PyTorch in log space.

    Returns:
        A scalar, or (N,) losses for reduction "none" (a scalar for unbatched input), in float32 or float64.

    Raises:
        InputError: what is wrong with which example.
    """
    return _loss(
        log_probs,
        targets,
        input_lengths,
        target_lengths,
        blank,
        reduction,
        zero_infinity,
        weights,
        focal_gamma,
        label_priors,
        prior_scale,
        wildcard,
        wildcard_score,
        confidence_penalty,
        on_infeasible,
        implementation,
        normalize=False,
    )


def ctc_loss_from_logits(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    weights: Tensor | None = None,
    focal_gamma: float = 0.0,
    label_priors: Tensor | None = None,
    prior_scale: float = 1.0,
    wildcard: int | None = None,
    wildcard_score: float = 0.0,
    confidence_penalty: float = 0.0,
    on_infeasible: Literal["inf", "error"] = "inf",
    implementation: Implementation = "auto",
) -> Tensor:
    """`ctc_loss(logits.log_softmax(2), ...)` in one step, without a second (T, N, C) tensor in the forward pass.

    Takes float32, float64, bfloat16 or float16 logits and computes in float32 or better. All arguments as in
    `ctc_loss`; the gradient is the true one with respect to `logits`.
    """
    return _loss(
        logits,
        targets,
        input_lengths,
        target_lengths,
        blank,
        reduction,
        zero_infinity,
        weights,
        focal_gamma,
        label_priors,
        prior_scale,
        wildcard,
        wildcard_score,
        confidence_penalty,
        on_infeasible,
        implementation,
        normalize=True,
    )


class CTCLoss(torch.nn.Module):
    """`ctc_loss` as a module, in the place of `torch.nn.CTCLoss`; with `from_logits` it is `ctc_loss_from_logits`.

    `options` are the keyword arguments of `ctc_loss` other than `weights`, which are given with each call.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
        *,
        from_logits: bool = False,
        focal_gamma: float = 0.0,
        prior_scale: float = 1.0,
        wildcard: int | None = None,
        wildcard_score: float = 0.0,
        confidence_penalty: float = 0.0,
        on_infeasible: Literal["inf", "error"] = "inf",
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        self.blank = blank
        self.reduction = reduction
        self.zero_infinity = zero_infinity
        self.from_logits = from_logits
        self.focal_gamma = focal_gamma
        self.prior_scale = prior_scale
        self.wildcard = wildcard
        self.wildcard_score = wildcard_score
        self.confidence_penalty = confidence_penalty
        self.on_infeasible = on_infeasible
        self.implementation = implementation

    def forward(
        self,
        scores: Tensor,
        targets: Tensor,
        input_lengths: Lengths,
        target_lengths: Lengths,
        weights: Tensor | None = None,
        label_priors: Tensor | None = None,
    ) -> Tensor:
        return _loss(
            scores,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            weights,
            self.focal_gamma,
            label_priors,
            self.prior_scale,
            self.wildcard,
            self.wildcard_score,
            self.confidence_penalty,
            self.on_infeasible,
            self.implementation,
            normalize=self.from_logits,
        )


def _loss(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int,
    reduction: str,
    zero_infinity: bool,
    weights: Tensor | None,
    focal_gamma: float,
    label_priors: Tensor | None,
    prior_scale: float,
    wildcard: int | None,
    wildcard_score: float,
    confidence_penalty: float,
    on_infeasible: str,
    implementation: str,
    normalize: bool,
) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise InputError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    if on_infeasible not in ("inf", "error"):
        raise InputError(f"on_infeasible must be 'inf' or 'error', got {on_infeasible!r}")
    if implementation not in ("auto", "reference"):
        raise InputError(f"implementation must be 'auto' or 'reference', got {implementation!r}")
    if focal_gamma < 0 or confidence_penalty < 0:
        raise InputError("focal_gamma and confidence_penalty must not be negative")
    if focal_gamma and wildcard is not None:
        raise InputError("focal_gamma needs probabilities; with a wildcard the loss is not one: use one of the two")
    input_lengths = lengths_tensor(input_lengths, "input_lengths")
    target_lengths = lengths_tensor(target_lengths, "target_lengths")
    batched = scores.dim() != 2
    if not batched:
        scores = scores.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
        input_lengths, target_lengths = input_lengths.reshape(1), target_lengths.reshape(1)
    bias = None if label_priors is None else -prior_scale * label_priors
    losses, feasible = negative_log_likelihood(
        scores,
        targets,
        input_lengths,
        target_lengths,
        blank,
        bias,
        wildcard,
        wildcard_score,
        normalize,
        implementation == "reference",
    )
    if on_infeasible == "error" and not bool(feasible.all()):
        wrong = (~feasible).nonzero().flatten().tolist()
        raise InfeasibleError(f"the targets of examples {wrong} do not fit their frames (labels + repeats > frames)")
    if zero_infinity:
        losses = losses.masked_fill(torch.isposinf(losses), 0.0)
    if focal_gamma:
        losses = _focal(losses, focal_gamma)
    if confidence_penalty:
        losses = losses - confidence_penalty * frame_entropies(scores, input_lengths, normalize)
    if weights is not None:
        if weights.shape != losses.shape:
            raise InputError(f"weights must have shape {tuple(losses.shape)}, got {tuple(weights.shape)}")
        losses = losses * weights.to(losses)
    if reduction == "mean":
        labels = target_lengths.to(losses.device, losses.dtype, non_blocking=True)
        return (losses / labels.clamp(min=1)).mean()
    if reduction == "sum":
        return losses.sum()
    return losses if batched else losses.squeeze(0)


def _focal(losses: Tensor, gamma: float) -> Tensor:
    """(1 - exp(-loss))^gamma * loss; infinite losses stay as they are."""
    infinite = torch.isposinf(losses)
    finite = losses.masked_fill(infinite, 1.0).clamp(min=0.0)
    # -expm1 keeps 1 - p exact for losses near zero; the floor keeps the power's derivative finite at p = 1.
    miss = (-torch.expm1(-finite)).clamp(min=torch.finfo(losses.dtype).tiny)
    return torch.where(infinite, losses, miss**gamma * finite)


def frame_entropies(scores: Tensor, input_lengths: Tensor, normalize: bool) -> Tensor:
    """Entropy of the classes in nats, summed over each example's frames: (N,) of (T, N, C) logits or log-probs."""
    work = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    beyond = torch.arange(scores.shape[0], device=scores.device).unsqueeze(1) >= input_lengths.to(scores.device)
    work = work.masked_fill(beyond.unsqueeze(2), 0.0)
    log_probs = work.log_softmax(dim=2) if normalize else work
    # p log p is 0 at p = 0.
    terms = log_probs.exp() * log_probs.clamp(min=torch.finfo(work.dtype).min)
    return -terms.sum(dim=2).masked_fill(beyond, 0.0).sum(dim=0)
