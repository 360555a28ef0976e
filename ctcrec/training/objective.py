"""What training minimizes: CTC, cross-entropy of the attention decoder, or both.

    loss = λ · ctc + (1 − λ) · cross-entropy                      λ is `loss.ctc_weight` (Watanabe et al. 2017, eq. 31)
    ctc  = (1 − w) · CTC(last) + w · mean CTC(intermediate) + c · consistency

w is `loss.intermediate_weight` (InterCTC, Lee & Watanabe 2021), c is `loss.consistency_weight` (CR-CTC, Yao et al.
2024). Everything is a sum over examples; the loop divides by the number of target tokens of the whole step, so that
accumulated batches equal one large batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from ctcrec.ctc import consistency_loss, ctc_loss_from_logits
from ctcrec.losses import Smoothing, sequence_cross_entropy
from ctcrec.models.attention_decoder import END
from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch
from ctcrec.training.weights import NO_WEIGHTS, Weights

__all__ = ["LossSum", "attention_loss", "loss_sum", "true_token_share"]


@dataclass(frozen=True, slots=True)
class LossSum:
    """The loss of a batch, summed over its examples.

    Attributes:
        total: what is minimized.
        ctc: CTC of the last layer, nats; 0 without a CTC head.
        attention: cross-entropy of the decoder, nats; 0 without a decoder.
        infeasible: how many targets did not fit their frames and count as zero in the CTC loss.
    """

    total: torch.Tensor
    ctc: torch.Tensor
    attention: torch.Tensor
    infeasible: torch.Tensor

    def main(self, ctc_weight: float) -> torch.Tensor:
        """The two heads' losses without what regularizes CTC: what is logged as the loss."""
        if ctc_weight == 1.0:
            return self.ctc
        return ctc_weight * self.ctc + (1.0 - ctc_weight) * self.attention


def loss_sum(
    output: ModelOutput,
    batch: Batch,
    *,
    intermediate_weight: float = 0.0,
    consistency_weight: float = 0.0,
    ctc_weight: float = 1.0,
    label_smoothing: float = 0.0,
    smoothing: Smoothing = "all",
    focal_gamma: float = 0.0,
    weights: Weights = NO_WEIGHTS,
) -> LossSum:
    """The loss of one batch.

    With `consistency_weight` the batch holds two views of its examples, view 0 first, and the CTC and attention terms
    are the mean of both. `label_smoothing`, `smoothing`, `focal_gamma` and all `weights` but those of sequences are the
    cross-entropy's.
    """
    nothing = output.logits.new_zeros((), dtype=torch.float32)
    if ctc_weight > 0.0:
        total, ctc, infeasible = _ctc(output, batch, intermediate_weight, consistency_weight, weights.sequences)
    else:
        total, ctc, infeasible = nothing, nothing, torch.zeros((), dtype=torch.int64, device=nothing.device)
    if output.attention is None:
        return LossSum(total, ctc, nothing, infeasible)
    attention = attention_loss(
        output, batch, label_smoothing=label_smoothing, smoothing=smoothing, focal_gamma=focal_gamma, weights=weights
    )
    if consistency_weight > 0:
        attention = 0.5 * attention
    return LossSum(ctc_weight * total + (1.0 - ctc_weight) * attention, ctc, attention, infeasible)


def attention_loss(
    output: ModelOutput,
    batch: Batch,
    *,
    label_smoothing: float = 0.0,
    smoothing: Smoothing = "all",
    focal_gamma: float = 0.0,
    weights: Weights = NO_WEIGHTS,
    reduction: Literal["sum", "none"] = "sum",
) -> torch.Tensor:
    """Cross-entropy of all targets and their ends, nats; `output` was made with the batch's targets. The sum over the
    batch, or (N,) with `reduction` none."""
    assert output.attention is not None
    targets = torch.nn.functional.pad(batch.targets, (0, 1), value=END)  # beyond a target there is END, once inside
    return sequence_cross_entropy(
        output.attention.logits,
        targets,
        batch.target_lengths + 1,
        reduction=reduction,
        per="sequence",
        label_smoothing=label_smoothing,
        smoothing=smoothing,
        focal_gamma=focal_gamma,
        class_weights=weights.classes,
        step_weights=weights.steps,
        sequence_weights=weights.sequences,
    )


def true_token_share(
    schedule: Literal["linear", "exponential", "inverse_sigmoid"], k: float, floor: float, position: float
) -> float:
    """Scheduled sampling's share of true tokens after `position` steps or epochs (Bengio et al. 2015, §2.4).

    linear 1 − i / k; exponential k^i; inverse sigmoid k / (k + exp(i / k)); never below `floor`.
    """
    if schedule == "linear":
        share = 1.0 - position / k
    elif schedule == "exponential":
        share = k**position
    else:
        share = 1.0 / (1.0 + math.exp(min(position / k, 700.0)) / k)
    return max(floor, share)


def _ctc(
    output: ModelOutput,
    batch: Batch,
    intermediate_weight: float,
    consistency_weight: float,
    sequence_weights: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All that is CTC, its last layer's part, and how many targets did not fit."""

    def ctc(logits: torch.Tensor) -> torch.Tensor:
        return ctc_loss_from_logits(
            logits.transpose(0, 1), batch.targets, output.lengths, batch.target_lengths, reduction="none"
        )

    def weighted(losses: torch.Tensor) -> torch.Tensor:
        losses = torch.where(infeasible, 0.0, losses)
        return (losses if sequence_weights is None else losses * sequence_weights).sum()

    losses = ctc(output.logits)
    infeasible = torch.isinf(losses)
    last = weighted(losses)
    total = last
    if output.intermediate:
        lower = torch.stack([weighted(ctc(logits)) for logits in output.intermediate]).mean()
        total = (1.0 - intermediate_weight) * total + intermediate_weight * lower
    if consistency_weight > 0:
        half = len(batch) // 2
        first, second = output.logits[:half].transpose(0, 1), output.logits[half:].transpose(0, 1)
        difference = consistency_loss(first, second, output.lengths[:half], reduction="sum")
        return 0.5 * total + consistency_weight * difference, 0.5 * last, infeasible.sum()
    return total, last, infeasible.sum()
