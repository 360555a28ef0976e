"""What training minimizes: CTC on the last layer, and if wanted on layers below it and between two views.

    loss = (1 − w) · CTC(last) + w · mean CTC(intermediate) + c · consistency

w is `loss.intermediate_weight` (InterCTC, Lee & Watanabe 2021), c is `loss.consistency_weight` (CR-CTC, Yao et al.
2024). Everything is a sum over examples; the loop divides by the number of target tokens of the whole step, so that
accumulated batches equal one large batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ctcrec.ctc import consistency_loss, ctc_loss_from_logits
from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch

__all__ = ["LossSum", "loss_sum"]


@dataclass(frozen=True, slots=True)
class LossSum:
    """The sum to minimize, its CTC part (last layer, nats), and how many targets did not fit and count as zero."""

    total: torch.Tensor
    ctc: torch.Tensor
    infeasible: torch.Tensor


def loss_sum(
    output: ModelOutput, batch: Batch, *, intermediate_weight: float = 0.0, consistency_weight: float = 0.0
) -> LossSum:
    """The loss of one batch.

    With `consistency_weight` the batch holds two views of its examples, view 0 first, and the CTC terms are the mean
    of both.
    """

    def ctc(logits: torch.Tensor) -> torch.Tensor:
        return ctc_loss_from_logits(
            logits.transpose(0, 1), batch.targets, output.lengths, batch.target_lengths, reduction="none"
        )

    losses = ctc(output.logits)
    infeasible = torch.isinf(losses)
    last = torch.where(infeasible, 0.0, losses).sum()
    total = last
    if output.intermediate:
        lower = torch.stack([torch.where(infeasible, 0.0, ctc(logits)).sum() for logits in output.intermediate]).mean()
        total = (1.0 - intermediate_weight) * total + intermediate_weight * lower
    if consistency_weight > 0:
        half = len(batch) // 2
        first, second = output.logits[:half].transpose(0, 1), output.logits[half:].transpose(0, 1)
        difference = consistency_loss(first, second, output.lengths[:half], reduction="sum")
        return LossSum(0.5 * total + consistency_weight * difference, 0.5 * last, infeasible.sum())
    return LossSum(total, last, infeasible.sum())
