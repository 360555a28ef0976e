"""Learning without texts: to tell which frame was hidden from those of the same example (InfoNCE, van den Oord et al.
2018, eq. 4; on masked frames and with cosines as wav2vec 2.0, Baevski et al. 2020, eq. 3, without its quantizer)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ctcrec.errors import InputError

__all__ = ["InfoNCE", "draw_spans", "info_nce"]


@dataclass(frozen=True, slots=True)
class InfoNCE:
    """Of one batch: the loss summed over the chosen frames (nats), their number, and how many were told right."""

    loss: torch.Tensor
    frames: int
    correct: int


def info_nce(
    predictions: torch.Tensor, targets: torch.Tensor, chosen: torch.Tensor, temperature: float = 0.1
) -> InfoNCE:
    """−ln of the true frame's share in the softmax of cos(prediction, target) / τ over its example's chosen frames.

    Args:
        predictions, targets: (N, T, P).
        chosen: (N, T) bool, the frames that were hidden; an example with fewer than two has nothing to tell apart and
            counts nothing.
        temperature: τ > 0.

    Raises:
        InputError: shapes that do not fit, or a wrong temperature.
    """
    if predictions.dim() != 3 or predictions.shape != targets.shape or chosen.shape != predictions.shape[:2]:
        raise InputError(
            "predictions and targets must be (N, T, P) of one shape and chosen (N, T), not"
            f" {tuple(predictions.shape)}, {tuple(targets.shape)} and {tuple(chosen.shape)}"
        )
    if not temperature > 0.0:
        raise InputError(f"temperature must be more than 0, not {temperature}")
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    ours, theirs = (torch.nn.functional.normalize(part.to(dtype), dim=2) for part in (predictions, targets))
    counted = chosen & (chosen.sum(1, keepdim=True) > 1)
    cosines = ours @ theirs.transpose(1, 2) / temperature  # (N, T, T)
    scores = cosines.masked_fill(~chosen[:, None, :], -torch.inf)[counted]  # (M, T)
    true = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)[counted]
    loss = torch.nn.functional.cross_entropy(scores, true, reduction="sum") if len(true) else cosines.sum() * 0.0
    return InfoNCE(loss, len(true), int((scores.argmax(1) == true).sum()) if len(true) else 0)


def draw_spans(lengths: torch.Tensor, longest: int, share: float, span: int) -> torch.Tensor:
    """(N, T) bool: spans of `span` frames that begin anywhere, as many as hide about `share` of each example; at least
    one. From torch's generator.

    Args:
        lengths: (N,) frames of each example.
        longest: T.
    """
    starts = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for row, length in zip(starts, lengths.tolist(), strict=True):
        count = max(1, round(share * length / span))
        row[torch.randint(max(length - span + 1, 1), (count,))] = True
    hidden = starts.clone()
    for shift in range(1, span):
        hidden[:, shift:] |= starts[:, :-shift] if shift < longest else False
    return hidden & (torch.arange(longest) < lengths.cpu()[:, None])
