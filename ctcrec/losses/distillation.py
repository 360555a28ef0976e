"""Learning from a teacher: from its output at each frame (Hinton et al. 2015), or from its n-best texts (Kim & Rush
2016, sequence-level knowledge distillation)."""

from __future__ import annotations

from typing import Literal

import torch

from ctcrec.errors import InputError
from ctcrec.losses.cross_entropy import sequence_cross_entropy

__all__ = ["frame_distillation", "nbest_cross_entropy"]


def frame_distillation(
    student: torch.Tensor,
    teacher: torch.Tensor,
    lengths: torch.Tensor,
    *,
    kind: Literal["kl", "mse"] = "kl",
    temperature: float = 1.0,
) -> torch.Tensor:
    """(N,) sums over frames of how far the student's logits are from the teacher's.

    "kl" is τ² KL(softmax(teacher / τ) ‖ softmax(student / τ)) with the temperature τ; the factor keeps the gradient's
    size (Hinton et al. 2015, §2). "mse" is the mean over classes of the squared difference of the logits (Ba & Caruana
    2014), and takes no temperature.

    Args:
        student: (N, T, C) logits, with gradient.
        teacher: (N, T, C) logits; no gradient goes into them.
        lengths: (N,) frames; those beyond count nothing.

    Raises:
        InputError: shapes that do not fit, or a wrong or useless temperature.
    """
    if student.dim() != 3 or student.shape != teacher.shape or lengths.shape != student.shape[:1]:
        raise InputError(
            "student and teacher must be (N, T, C) of one shape and lengths (N,), not"
            f" {tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(lengths.shape)}"
        )
    if not temperature > 0.0 or (kind == "mse" and temperature != 1.0):
        raise InputError(f"temperature must be more than 0, and 1 for mse, which has none; not {temperature}")
    beyond = torch.arange(student.shape[1], device=student.device) >= lengths.to(student.device)[:, None]
    dtype = torch.promote_types(student.dtype, torch.float32)
    ours, theirs = (logits.to(dtype).masked_fill(beyond[:, :, None], 0.0) for logits in (student, teacher.detach()))
    if kind == "mse":
        return (ours - theirs).square().mean(2).sum(1)
    if kind != "kl":
        raise InputError(f"kind must be 'kl' or 'mse', not {kind!r}")
    ours, theirs = (ours / temperature).log_softmax(2), (theirs / temperature).log_softmax(2)
    return temperature**2 * (theirs.exp() * (theirs - ours)).sum((1, 2))


def nbest_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor, teacher_scores: torch.Tensor
) -> torch.Tensor:
    """(N,) cross-entropy on the teacher's n-best texts, each weighted by the teacher's posterior over its list.

    −Σ_h Q_h ln p(h), Q = softmax(teacher_scores); Kim & Rush 2016, eq. 6, is the case of one text.

    Args:
        logits: (N, H, L, K) of the student, teacher-forced on each text.
        targets: (N, H, L) tokens of the texts.
        lengths: (N, H) their lengths.
        teacher_scores: (N, H) natural log-probabilities; -inf where there are fewer than H texts.
    """
    if logits.dim() != 4 or targets.shape != logits.shape[:3] or teacher_scores.shape != logits.shape[:2]:
        raise InputError(
            "logits must be (N, H, L, K), targets (N, H, L) and teacher_scores (N, H), not"
            f" {tuple(logits.shape)}, {tuple(targets.shape)} and {tuple(teacher_scores.shape)}"
        )
    losses = sequence_cross_entropy(
        logits.flatten(0, 1), targets.flatten(0, 1), lengths.flatten(), reduction="none", per="sequence"
    )
    posteriors = teacher_scores.detach().to(losses).softmax(1)
    return (posteriors * losses.view_as(posteriors)).sum(1)
