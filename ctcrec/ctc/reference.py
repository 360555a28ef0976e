"""The CTC forward-backward algorithm in log space, in plain PyTorch: readable, float32/float64, differentiable twice.

Graves, Fernandez, Gomez and Schmidhuber: Connectionist Temporal Classification (ICML 2006), section 4.1.

A target l_1 .. l_L is read as the S = 2 L + 1 states  blank l_1 blank l_2 ... l_L blank.  A path stays in its state or
goes to the next one; it may also skip the blank between two labels that differ. With e_t(s) the log-probability that
frame t emits the symbol of state s:

    alpha_t(s) = e_t(s) + log( exp alpha_{t-1}(s) + exp alpha_{t-1}(s-1) + [skip s] exp alpha_{t-1}(s-2) )
    beta_t(s)  = log( exp(beta_{t+1}(s) + e_{t+1}(s)) + ... (s+1) ... + [skip s+2] ... (s+2) ... )
    log p(l|x) = logsumexp_s( alpha_t(s) + beta_t(s) )         for every t; at the last frame beta is 0 or -inf
    occupancy of s at t = exp( alpha_t(s) + beta_t(s) - log p(l|x) )

The gradient of log p(l|x) with respect to a log-probability is the occupancy of the states that emit it. Here autograd
derives it from the forward recursion alone, and so the second derivative as well; `state_posteriors` writes it out.

Letters: T frames, N examples, C classes, L longest target, S states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctcrec.ctc.inputs import CTCInputs

__all__ = ["log_likelihood", "state_posteriors"]


def log_likelihood(scores: Tensor, inputs: CTCInputs, normalize: bool) -> Tensor:
    """log p(target | x) of each example, (N,); -inf where no path fits.

    `scores` is (T, N, C): logits that get a log_softmax if `normalize`, else log-probabilities, used as they are.
    """
    emissions, skip = _emissions(scores, inputs, normalize)
    device = scores.device
    input_lengths = inputs.input_lengths.to(device)
    alpha = _start(emissions, skip)
    for t in range(1, emissions.shape[0]):
        alive = (t < input_lengths).unsqueeze(1)
        alpha = torch.where(alive, _forward_step(alpha, emissions[t], skip), alpha)
    target_lengths = inputs.target_lengths.to(device).unsqueeze(1)
    last_blank = alpha.gather(1, 2 * target_lengths)
    last_label = alpha.gather(1, (2 * target_lengths - 1).clamp(min=0))
    last_label = last_label.masked_fill(target_lengths == 0, -torch.inf)
    total = _logsumexp(torch.cat([last_blank, last_label], dim=1))
    no_frames = torch.where(target_lengths.squeeze(1) == 0, 0.0, -torch.inf).to(total)
    return torch.where(input_lengths > 0, total, no_frames)


def state_posteriors(scores: Tensor, inputs: CTCInputs, normalize: bool) -> Tensor:
    """Occupancy of each state at each frame, (T, N, S); zero beyond an example's lengths and where no path fits."""
    emissions, skip = _emissions(scores, inputs, normalize)
    frames, count, states = emissions.shape
    if frames == 0:
        return emissions
    device = scores.device
    input_lengths = inputs.input_lengths.to(device).unsqueeze(1)
    target_lengths = inputs.target_lengths.to(device).unsqueeze(1)
    state = torch.arange(states, device=device).expand(count, states)
    final = (state == 2 * target_lengths) | (state == 2 * target_lengths - 1)
    at_end = torch.zeros_like(emissions[0]).masked_fill(~final, -torch.inf)

    alphas = [_start(emissions, skip)]
    for t in range(1, frames):
        alphas.append(_forward_step(alphas[-1], emissions[t], skip))
    betas = [at_end]
    for t in range(frames - 2, -1, -1):
        stepped = _backward_step(betas[-1] + emissions[t + 1], skip)
        betas.append(torch.where(t < input_lengths - 1, stepped, at_end))
    joint = torch.stack(alphas) + torch.stack(betas[::-1])
    total = _logsumexp(joint).unsqueeze(2)
    total = torch.where(torch.isneginf(total), 0.0, total)
    inside = torch.arange(frames, device=device).view(-1, 1, 1) < input_lengths
    return torch.where(inside & (state <= 2 * target_lengths), (joint - total).exp(), 0.0)


def _emissions(scores: Tensor, inputs: CTCInputs, normalize: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the states, (T, N, S), and where a state may be entered from two states before, (N, S)."""
    frames, count, classes = scores.shape
    device = scores.device
    work = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    # Padding is cut off first, so that nothing in it, not even NaN, can reach a value or a gradient.
    beyond = torch.arange(frames, device=device).view(-1, 1, 1) >= inputs.input_lengths.to(device).view(1, -1, 1)
    work = work.masked_fill(beyond, 0.0)
    if normalize:
        work = work.log_softmax(dim=2)
    if inputs.class_bias is not None:
        work = work + inputs.class_bias.to(work)
    longest = inputs.targets.shape[1]
    labels = torch.full((count, 2 * longest + 1), inputs.blank, dtype=torch.int64, device=device)
    labels[:, 1::2] = inputs.targets.to(device)
    is_wildcard = torch.zeros_like(labels, dtype=torch.bool)
    if inputs.wildcard is not None:
        is_wildcard = labels == inputs.wildcard
    skip = torch.zeros_like(labels, dtype=torch.bool)
    skip[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    index = labels.masked_fill(is_wildcard, 0).expand(frames, count, -1)
    emissions = work.gather(2, index).masked_fill(is_wildcard, inputs.wildcard_score)
    return emissions, skip


def _start(emissions: Tensor, skip: Tensor) -> Tensor:
    """alpha_0: a path starts in the first blank or the first label."""
    if emissions.shape[0] == 0:
        return torch.full_like(skip, -torch.inf, dtype=emissions.dtype)
    state = torch.arange(emissions.shape[2], device=emissions.device)
    return emissions[0].masked_fill(state >= 2, -torch.inf)


def _forward_step(alpha: Tensor, emission: Tensor, skip: Tensor) -> Tensor:
    one_before = _shift(alpha, 1)
    two_before = _shift(alpha, 2).masked_fill(~skip, -torch.inf)
    return emission + _logsumexp(torch.stack([alpha, one_before, two_before], dim=2))


def _backward_step(after: Tensor, skip: Tensor) -> Tensor:
    one_after = _shift(after, -1)
    two_after = _shift(after.masked_fill(~skip, -torch.inf), -2)
    return _logsumexp(torch.stack([after, one_after, two_after], dim=2))


def _shift(values: Tensor, by: int) -> Tensor:
    """Moves states by `by` places, filling with -inf."""
    states = values.shape[1]
    if by > 0:
        return torch.nn.functional.pad(values, (by, 0), value=-torch.inf)[:, :states]
    return torch.nn.functional.pad(values, (0, -by), value=-torch.inf)[:, -states:]


def _logsumexp(values: Tensor) -> Tensor:
    """logsumexp over the last dimension with derivatives that are 0, not NaN, where every value is -inf."""
    peak = values.detach().amax(dim=-1, keepdim=True)
    peak = torch.where(torch.isinf(peak), 0.0, peak)
    total = (values - peak).exp().sum(dim=-1)
    impossible = total == 0
    return torch.where(impossible, -torch.inf, torch.where(impossible, 1.0, total).log() + peak.squeeze(-1))
