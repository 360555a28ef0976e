"""Training on whole hypotheses: the risk (a number of errors, or 1 − BLEU) that a model is expected to have.

A model gives hypotheses h of one example the log-probabilities s_h; each has a risk r_h. Over a list of hypotheses that
a search found, the probabilities are made to sum to one (Shannon 2017; Prabhavalkar et al. 2018, "Minimum word error
rate training", eq. 4; Shen et al. 2016, §3.2, with its sharpness α):

    Q_h = exp(α s_h) / Σ_g exp(α s_g)          loss = Σ_h Q_h (r_h − b)

and over hypotheses drawn from the model itself (REINFORCE, Williams 1992), the gradient of the expectation is that of

    loss = mean_h (r_h − b) s_h

The baseline b changes no expectation of the gradient, only its variance. For lists it is the mean risk of the list
(Prabhavalkar et al., §3.3), for samples that of the other samples, or self-critical: the risk of the greedy hypothesis
(Rennie et al. 2017).
"""

from __future__ import annotations

from typing import Literal

import torch

from ctcrec.errors import InputError

__all__ = ["expected_risk", "reinforce_loss"]


def expected_risk(
    log_scores: torch.Tensor,
    risks: torch.Tensor,
    *,
    sharpness: float = 1.0,
    baseline: Literal["mean", "none"] = "mean",
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N,) expected risks over the lists, less the baseline.

    Args:
        log_scores: (N, H) natural log-probabilities of the hypotheses, with gradient; -inf has no probability.
        risks: (N, H), without gradient.
        sharpness: α > 0; small values make the list's distribution flat.
        baseline: "mean" subtracts the mean risk of the list.
        valid: (N, H) bool, false where a list is shorter than H.

    Raises:
        InputError: shapes or values that do not fit, or a list without any hypothesis.
    """
    valid = _check(log_scores, risks, valid) & torch.isfinite(log_scores.detach())
    if not sharpness > 0.0:
        raise InputError(f"sharpness must be more than 0, not {sharpness}")
    if not bool(valid.any(1).all()):
        raise InputError("each example needs a hypothesis with a probability above zero")
    weights = (sharpness * log_scores.masked_fill(~valid, 0.0)).masked_fill(~valid, -torch.inf).softmax(1)
    kept = risks.to(weights).masked_fill(~valid, 0.0)
    total = (weights * kept).sum(1)
    return total - kept.sum(1) / valid.sum(1) if baseline == "mean" else total


def reinforce_loss(
    log_scores: torch.Tensor,
    risks: torch.Tensor,
    baseline: torch.Tensor | Literal["others", "none"] = "others",
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N,) surrogates whose gradient is an unbiased estimate of the expected risk's.

    Args:
        log_scores: (N, H) ln p of hypotheses drawn from the model, with gradient.
        risks: (N, H), without gradient.
        baseline: (N,) the risk of each example's greedy hypothesis (self-critical); "others": of each sample, the mean
            risk of the example's other samples, which are independent of it; or "none".
        valid: (N, H) bool, false where there are fewer than H samples.
    """
    valid = _check(log_scores, risks, valid)
    kept = risks.to(log_scores).masked_fill(~valid, 0.0)
    counts = valid.sum(1, keepdim=True).clamp(min=1)
    if isinstance(baseline, torch.Tensor):
        if baseline.shape != risks.shape[:1]:
            raise InputError(f"the baseline must be ({len(risks)},), not {tuple(baseline.shape)}")
        advantage = kept - baseline.to(kept)[:, None]
    elif baseline == "others":
        if bool((valid.sum(1) < 2).any()):
            raise InputError("the baseline 'others' needs at least 2 samples of each example")
        advantage = kept - (kept.sum(1, keepdim=True) - kept) / (counts - 1)
    else:
        advantage = kept
    terms = (advantage.detach() * log_scores.masked_fill(~valid, 0.0)).masked_fill(~valid, 0.0)
    return terms.sum(1) / counts.squeeze(1)


def _check(log_scores: torch.Tensor, risks: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """`valid`, or all true; shapes checked."""
    if log_scores.dim() != 2 or risks.shape != log_scores.shape:
        raise InputError(f"log_scores and risks must be (N, H), not {tuple(log_scores.shape)} and {tuple(risks.shape)}")
    if valid is None:
        return torch.ones_like(risks, dtype=torch.bool)
    if valid.shape != risks.shape or valid.dtype != torch.bool:
        raise InputError(f"valid must be bool of shape {tuple(risks.shape)}")
    return valid
