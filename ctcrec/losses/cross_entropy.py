"""Cross-entropy of padded token sequences, with smoothing, class weights, focusing, and weights of steps and sequences.

With p = softmax(logits) at one step, target y, classes c = 1 .. K and class weights w:

    l = −(1 − p_y)^γ Σ_c w_c q_c ln p_c      (γ: Lin et al. 2017, "Focal loss", eq. 4)

and the smoothed target distribution q (Szegedy et al. 2016, §7) by either definition in use:

    "all"       q_y = 1 − ε + ε/K,  q_c = ε/K          the uniform part is over all classes (PyTorch, the paper)
    "others"    q_y = 1 − ε,        q_c = ε/(K − 1)    it is over the other classes only
"""

from __future__ import annotations

from typing import Literal

import torch

from ctcrec.errors import InputError

__all__ = ["Smoothing", "sequence_cross_entropy"]

Smoothing = Literal["all", "others"]


def sequence_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: torch.Tensor,
    *,
    reduction: Literal["none", "mean", "sum"] = "mean",
    per: Literal["token", "sequence"] = "token",
    label_smoothing: float = 0.0,
    smoothing: Smoothing = "all",
    class_weights: torch.Tensor | None = None,
    focal_gamma: float = 0.0,
    step_weights: torch.Tensor | None = None,
    sequence_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy in nats; steps at and beyond an example's length count nothing, whatever is in them.

    | reduction | per token                                            | per sequence                          |
    |---|---|---|
    | none      | (N, L) loss of each step, 0 beyond the lengths       | (N,) sum over each sequence's steps   |
    | sum       | sum over all steps                                   | the same                              |
    | mean      | sum / sum of the targets' weights, without weights   | sum / sum of the sequence weights,    |
    |           | the number of steps                                  | without them the number of sequences  |

    A step's weight is its class weight × step weight × sequence weight; "mean per token" is therefore PyTorch's mean.

    Args:
        logits: (N, L, K).
        targets: (N, L) classes.
        lengths: (N,) steps of each sequence.
        label_smoothing: ε, from 0 to 1.
        smoothing: which definition of ε.
        class_weights: (K,), not negative.
        focal_gamma: γ ≥ 0; 0 is plain cross-entropy.
        step_weights: (N, L), not negative.
        sequence_weights: (N,), not negative.

    Raises:
        InputError: shapes or values that do not fit.
    """
    _check(logits, targets, lengths, reduction, per, label_smoothing, smoothing, focal_gamma)
    n, steps, classes = logits.shape
    inside = torch.arange(steps, device=logits.device) < lengths.to(logits.device)[:, None]
    known = targets.masked_fill(~inside, 0)
    if bool(((known < 0) | (known >= classes)).any()):
        raise InputError(f"targets must be classes from 0 to {classes - 1} within the lengths")
    clean = logits.masked_fill(~inside[:, :, None], 0.0)  # no NaN from padding, in values or gradients
    log_probs = clean.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(2)
    true = log_probs.gather(2, known[:, :, None]).squeeze(2)
    weights = _weights("class_weights", class_weights, (classes,), log_probs)
    off = label_smoothing / (classes if smoothing == "all" else max(classes - 1, 1))
    on = 1.0 - label_smoothing + (off if smoothing == "all" else 0.0)
    losses = -(on - off) * weights[known] * true
    if off > 0.0:
        losses = losses - off * (weights * log_probs).sum(2)
    if focal_gamma > 0.0:
        losses = losses * (-torch.expm1(true)).clamp(min=torch.finfo(true.dtype).tiny).pow(focal_gamma)
    importance = _weights("step_weights", step_weights, (n, steps), log_probs)
    of_sequence = _weights("sequence_weights", sequence_weights, (n,), log_probs)
    importance = (importance * of_sequence[:, None]).masked_fill(~inside, 0.0)
    losses = (losses * importance).masked_fill(~inside, 0.0)
    if reduction == "none":
        return losses if per == "token" else losses.sum(1)
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / ((importance * weights[known]).sum() if per == "token" else of_sequence.sum())


def _weights(name: str, given: torch.Tensor | None, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """`given`, or ones; checked."""
    if given is None:
        return like.new_ones(shape)
    if tuple(given.shape) != shape:
        raise InputError(f"{name} must have shape {shape}, not {tuple(given.shape)}")
    if not bool(((given >= 0) & torch.isfinite(given)).all()):
        raise InputError(f"{name} must be finite and not negative")
    return given.to(like)


def _check(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: torch.Tensor,
    reduction: str,
    per: str,
    label_smoothing: float,
    smoothing: str,
    focal_gamma: float,
) -> None:
    if logits.dim() != 3 or targets.shape != logits.shape[:2] or lengths.shape != logits.shape[:1]:
        raise InputError(
            "logits must be (N, L, K), targets (N, L) and lengths (N,), not"
            f" {tuple(logits.shape)}, {tuple(targets.shape)} and {tuple(lengths.shape)}"
        )
    if reduction not in ("none", "mean", "sum") or per not in ("token", "sequence"):
        raise InputError(f"reduction must be none, mean or sum, and per token or sequence; not {reduction!r}, {per!r}")
    if not 0.0 <= label_smoothing <= 1.0 or smoothing not in ("all", "others"):
        raise InputError(
            f"label_smoothing must be from 0 to 1 and smoothing all or others; not {label_smoothing}, {smoothing!r}"
        )
    if not focal_gamma >= 0.0:
        raise InputError(f"focal_gamma must be at least 0, not {focal_gamma}")
    if bool(((lengths < 0) | (lengths > logits.shape[1])).any()):
        raise InputError(f"lengths must be from 0 to {logits.shape[1]}, not {lengths.tolist()}")
