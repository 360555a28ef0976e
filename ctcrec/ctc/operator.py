"""Picks the implementation of the CTC negative log-likelihood by device."""

from __future__ import annotations

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
    inputs = check_inputs(scores, targets, input_lengths, target_lengths, blank, class_bias, wildcard, wildcard_score)
    return -reference.log_likelihood(scores, inputs, normalize), inputs.feasible
