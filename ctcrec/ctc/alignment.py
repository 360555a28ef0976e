"""Forced alignment (the best path of a target), spans of its tokens, and the posteriors of all paths.

`forced_align` has the meaning of torchaudio's, for whole batches and any length. `ctc_posteriors` gives, in place of
the one best path, how probable each class or state is at each frame given the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ctcrec.ctc import reference
from ctcrec.ctc.inputs import CTCInputs, Lengths, check_inputs, lengths_tensor
from ctcrec.ctc.operator import on_gpu
from ctcrec.errors import InfeasibleError, InputError

__all__ = ["AlignedToken", "ctc_posteriors", "forced_align", "merge_tokens"]


@dataclass(frozen=True, slots=True)
class AlignedToken:
    """One token of an alignment: frames [start, end) and the mean of their scores."""

    token: int
    start: int
    end: int
    score: float

    def __len__(self) -> int:
        return self.end - self.start


def forced_align(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    *,
    wildcard: int | None = None,
    wildcard_score: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The most probable path of each target, with the meaning of `torchaudio.functional.forced_align`.

    Viterbi's algorithm on the states of Graves et al. 2006, in float64, exact at any length. Memory grows with
    (L + T) sqrt(T), not with L T: the forward recursion keeps its scores every K ~ sqrt(T) frames; from the last frame
    back, each stretch of K frames is computed again with back-pointers, and only for the 2 K states that can lead to
    where the path leaves it. On a GPU all back-pointers are kept, three bits a label and frame; paths are the same.

    Args:
        log_probs: (N, T, C), batch first as in torchaudio; log-probabilities or any other scores to be summed.
        targets: (N, L) padded, without blanks.
        input_lengths: frames of each example; T where not given.
        target_lengths: labels of each example; L where not given.
        blank: class of the blank.
        wildcard, wildcard_score: as in `ctc_loss`: an id in `targets` that matches any frame.

    Returns:
        Paths (N, T) in the dtype of `targets`, and scores (N, T) in the dtype of `log_probs`: the class of each frame
        and its log-probability. Beyond an example's length the path is `blank` and the score 0.

    Raises:
        InputError: what is wrong with which example; `InfeasibleError` if a target does not fit its frames, or no path
            has a probability above zero.
    """
    if log_probs.dim() != 3:
        raise InputError(f"log_probs must be (N, T, C), got {tuple(log_probs.shape)}")
    if targets.dim() != 2:
        raise InputError(f"targets must be padded to (N, L), got {tuple(targets.shape)}")
    count, frames, _ = log_probs.shape
    if input_lengths is None:
        input_lengths = [frames] * count
    if target_lengths is None:
        target_lengths = [targets.shape[1]] * count
    scores = log_probs.detach().transpose(0, 1)
    inputs = check_inputs(
        scores,
        targets,
        lengths_tensor(input_lengths, "input_lengths"),
        lengths_tensor(target_lengths, "target_lengths"),
        blank,
        None,
        wildcard,
        wildcard_score,
    )
    _require_feasible(inputs)
    if on_gpu(scores):
        from ctcrec.ctc import gpu_viterbi

        paths, path_scores, totals = gpu_viterbi.best_paths(scores, inputs)
        sums = totals.tolist()
    else:
        from ctcrec.ctc import viterbi

        paths, path_scores, on_cpu = viterbi.best_paths(scores.cpu(), inputs)
        sums = on_cpu.tolist()
    for n, total in enumerate(sums):
        if not math.isfinite(total):
            raise InfeasibleError(
                f"example {n}: no path of the target has a finite score; look for NaN or -inf in its log_probs"
            )
    return paths.to(targets), path_scores.to(log_probs)


def _require_feasible(inputs: CTCInputs) -> None:
    if bool(inputs.feasible.all()):
        return
    n = int((~inputs.feasible).nonzero()[0, 0])
    raise InfeasibleError(
        f"example {n}: the target needs {int(inputs.required_frames[n])} frames (labels + repeats), but has "
        f"{int(inputs.input_lengths[n])}"
    )


def merge_tokens(path: Tensor | Sequence[int], scores: Tensor | Sequence[float], blank: int = 0) -> list[AlignedToken]:
    """The runs of equal classes in one path (T,) other than `blank`, as torchaudio's `merge_tokens` has them.

    `scores` (T,) may be log-probabilities or probabilities; a token's score is their mean over its frames.
    """
    labels = path.tolist() if isinstance(path, Tensor) else list(path)
    values = scores.tolist() if isinstance(scores, Tensor) else list(scores)
    if len(labels) != len(values) or (labels and isinstance(labels[0], list)):
        raise InputError(f"path and scores must be of one example and equally long: {len(labels)} and {len(values)}")
    spans: list[AlignedToken] = []
    start = 0
    for end in range(1, len(labels) + 1):
        if end < len(labels) and labels[end] == labels[start]:
            continue
        if labels[start] != blank:
            spans.append(AlignedToken(labels[start], start, end, math.fsum(values[start:end]) / (end - start)))
        start = end
    return spans


def ctc_posteriors(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    *,
    level: Literal["token", "state"] = "token",
) -> Tensor:
    """Probability of each class or state at each frame, given that the frames spell the target (Graves et al. 2006).

    Args:
        log_probs: (T, N, C); they need not be normalized.
        level: "token" gives (T, N, C), the occupancies of the classes; "state" gives (T, N, 2 L + 1), those of the
            states blank l_1 blank ... l_L blank.

    Returns:
        Occupancies that sum to 1 at each frame; zero beyond an example's length and where its target does not fit. Not
        differentiable.
    """
    lengths = lengths_tensor(input_lengths, "input_lengths"), lengths_tensor(target_lengths, "target_lengths")
    inputs = check_inputs(log_probs, targets, *lengths, blank)
    scores = log_probs.detach()
    if level not in ("token", "state"):
        raise InputError(f"level must be 'token' or 'state', got {level!r}")
    if on_gpu(scores):
        return _posteriors_on_gpu(scores, inputs, level)
    if level == "state":
        return reference.state_posteriors(scores, inputs, normalize=False)
    if scores.device.type == "cpu":
        from ctcrec.ctc import cpu

        losses, normalizers = cpu.losses(scores, inputs, normalize=False)
        return cpu.gradient(scores, inputs, False, losses, normalizers, -torch.ones_like(losses))
    with torch.enable_grad():
        scores.requires_grad_()
        total = reference.log_likelihood(scores, inputs, normalize=False)
        return torch.autograd.grad(total.masked_fill(torch.isneginf(total), 0.0).sum(), scores)[0]


def _posteriors_on_gpu(scores: Tensor, inputs: CTCInputs, level: str) -> Tensor:
    from ctcrec.ctc import gpu

    targets, input_lengths, target_lengths = (
        tensor.to(scores.device, non_blocking=True)
        for tensor in (inputs.targets, inputs.input_lengths, inputs.target_lengths)
    )
    longest = inputs.targets.shape[1]
    problem = gpu.Problem(
        scores, targets, input_lengths, target_lengths, longest, inputs.blank, None, None, 0.0, normalize=False
    )
    if level == "state":
        return gpu.state_posteriors(problem)
    state = gpu.forward(problem, keep=True)
    return gpu.gradient(problem, state, torch.full_like(state.losses, -1.0))
