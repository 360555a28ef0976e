"""What training adds around the CTC loss: consistency between views, losses of intermediate layers, label priors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctcrec.ctc.inputs import Lengths, lengths_tensor
from ctcrec.errors import InputError

__all__ = ["LabelPriors", "consistency_loss", "intermediate_loss"]


def consistency_loss(logits_a: Tensor, logits_b: Tensor, input_lengths: Lengths, reduction: str = "mean") -> Tensor:
    """CR-CTC's consistency regularization between two augmented views (Yao et al. 2024, arXiv 2410.05101, eq. 5).

    1/2 sum_t KL(sg(b_t) || a_t) + KL(sg(a_t) || b_t), with a_t and b_t the views' distributions at frame t and sg a
    stopped gradient: each view learns from the other. The paper's whole loss is
    1/2 (ctc(a) + ctc(b)) + 0.2 * consistency, each summed over the frames.

    Args:
        logits_a, logits_b: (T, N, C) of the same frames; log-probabilities do as well.
        input_lengths: frames of each example.
        reduction: "none" gives (N,), summed over frames; "sum"; "mean" divides each by its frames, then averages.
    """
    if logits_a.shape != logits_b.shape or logits_a.dim() != 3:
        raise InputError(
            f"both views must be (T, N, C) of one shape, got {tuple(logits_a.shape)} and {tuple(logits_b.shape)}"
        )
    if reduction not in ("none", "mean", "sum"):
        raise InputError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    lengths = lengths_tensor(input_lengths, "input_lengths").to(logits_a.device).reshape(-1)
    if lengths.shape[0] != logits_a.shape[1]:
        raise InputError(f"input_lengths has {lengths.shape[0]} entries for a batch of {logits_a.shape[1]}")
    beyond = torch.arange(logits_a.shape[0], device=logits_a.device).unsqueeze(1) >= lengths
    dtype = torch.promote_types(logits_a.dtype, torch.float32)
    a, b = (view.to(dtype).masked_fill(beyond.unsqueeze(2), 0.0).log_softmax(dim=2) for view in (logits_a, logits_b))
    losses = 0.5 * (_divergence(b.detach(), a) + _divergence(a.detach(), b)).sum(dim=0)
    if reduction == "mean":
        return (losses / lengths.clamp(min=1)).mean()
    return losses.sum() if reduction == "sum" else losses


def _divergence(target: Tensor, log_probs: Tensor) -> Tensor:
    """KL(target || log_probs) of log-probabilities over the last dimension; 0 log 0 counts as 0."""
    terms = target.exp() * (target - log_probs)
    return terms.masked_fill(torch.isneginf(target), 0.0).sum(dim=-1)


def intermediate_loss(final: Tensor, intermediate: Sequence[Tensor], weight: float = 0.3) -> Tensor:
    """(1 - weight) * final + weight * mean(intermediate): CTC on encoder layers (Lee & Watanabe 2021, InterCTC, eq. 9).

    `intermediate` holds the CTC losses of the layers' own outputs, reduced like `final`.
    """
    if not intermediate:
        raise InputError("intermediate_loss needs the loss of at least one layer")
    if not 0.0 <= weight < 1.0:
        raise InputError(f"weight must be in [0, 1), got {weight}")
    return (1.0 - weight) * final + weight * torch.stack(list(intermediate)).mean(dim=0)


class LabelPriors:
    """Running estimate of the classes' priors, for `label_priors` of `ctc_loss`.

    The prior of a class is the mean of its posteriors over all frames of an epoch (Huang et al. 2024, arXiv
    2406.02560): `update` with every batch, take `log_priors` for the next epoch, `reset`.
    """

    def __init__(self, classes: int) -> None:
        self._sum = torch.zeros(classes, dtype=torch.float64)
        self._frames = 0

    @torch.no_grad()
    def update(self, logits: Tensor, input_lengths: Lengths) -> None:
        """Adds the frames of one batch; `logits` (T, N, C), log-probabilities do as well."""
        if logits.dim() != 3 or logits.shape[2] != self._sum.shape[0]:
            raise InputError(f"expected logits (T, N, {self._sum.shape[0]}), got {tuple(logits.shape)}")
        lengths = lengths_tensor(input_lengths, "input_lengths").reshape(-1)
        inside = torch.arange(logits.shape[0]).unsqueeze(1) < lengths.cpu()
        self._sum += logits[inside.to(logits.device)].float().softmax(dim=1).sum(dim=0).cpu()
        self._frames += int(inside.sum())

    def reset(self) -> None:
        """Forgets all frames."""
        self._sum.zero_()
        self._frames = 0

    def log_priors(self, floor: float = 1e-6) -> Tensor:
        """(C,) float32; priors below `floor` count as `floor`.

        Raises:
            InputError: no frame has been added.
        """
        if self._frames == 0:
            raise InputError("label priors need at least one update")
        return (self._sum / self._frames).clamp(min=floor).log().float()
