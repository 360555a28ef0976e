"""CTC by enumerating every path: slow and obviously right. For a handful of frames and classes only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["collapse", "enumerate_best_path", "enumerate_log_likelihood", "enumerate_posteriors", "matching_paths"]


def collapse(path: Sequence[int], blank: int) -> tuple[int, ...]:
    """The label sequence of a path: repeats merged, then blanks removed."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def matching_paths(frames: int, classes: int, target: Sequence[int], blank: int) -> list[tuple[int, ...]]:
    """All paths of `frames` classes that collapse to `target`."""
    every = itertools.product(range(classes), repeat=frames)
    return [path for path in every if collapse(path, blank) == tuple(target)]


def _score(log_probs: Tensor, path: Sequence[int]) -> float:
    return math.fsum(float(log_probs[t, label]) for t, label in enumerate(path))


def enumerate_log_likelihood(log_probs: Tensor, target: Sequence[int], blank: int) -> float:
    """log p(target) for (T, C) log-probabilities of one example; -inf without any path."""
    scores = [_score(log_probs, path) for path in matching_paths(*log_probs.shape, target, blank)]
    if not scores:
        return -math.inf
    return float(torch.tensor(scores, dtype=torch.float64).logsumexp(dim=0))


def enumerate_posteriors(log_probs: Tensor, target: Sequence[int], blank: int) -> Tensor:
    """(T, C): the share of the target's probability whose paths emit class c at frame t."""
    total = enumerate_log_likelihood(log_probs, target, blank)
    posteriors = torch.zeros(log_probs.shape, dtype=torch.float64)
    for path in matching_paths(*log_probs.shape, target, blank):
        weight = math.exp(_score(log_probs, path) - total)
        for t, label in enumerate(path):
            posteriors[t, label] += weight
    return posteriors


def enumerate_best_path(log_probs: Tensor, target: Sequence[int], blank: int) -> tuple[int, ...]:
    """The path of the highest score."""
    return max(matching_paths(*log_probs.shape, target, blank), key=lambda path: _score(log_probs, path))
