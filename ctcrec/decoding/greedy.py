"""Greedy (best-path) decoding: the best token of every frame, repeats collapsed, blanks removed (Graves 2006, §3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.joining import join_tokens, word_groups
from ctcrec.errors import InputError
from ctcrec.records import Hypothesis, Spans, TokenSpan, WordSpan

__all__ = ["greedy_decode"]


def greedy_decode(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    tokens: Sequence[str],
    *,
    blank: int = 0,
    word_delimiter: str = " ",
) -> list[Hypothesis]:
    """The best path of every example.

    Confidences: a token's is the largest probability that its own frames give it; a word's is the product of its
    tokens' confidences, and the hypothesis's the product of all (1.0 when there is no token), that is, the
    probability that all are right if their errors were independent.

    Args:
        log_probs: (N, T, C) natural log-probabilities, on any device.
        lengths: (N,) frames of each example; frames beyond are ignored. Zero frames give an empty hypothesis.
        tokens: the C token strings; SentencePiece's "▁" and `word_delimiter` separate words.
        blank: index of the blank.
        word_delimiter: the token that stands between words.

    Returns:
        N hypotheses. `score` is the sum of the best path's log-probabilities; a token's span is the run of frames
        in which the best path emits it.

    Raises:
        InputError: shapes, lengths or blank that do not fit, or a NaN (names the example).
    """
    if log_probs.dim() != 3 or log_probs.shape[2] != len(tokens):
        raise InputError(
            f"log_probs must be (N, T, {len(tokens)}) for {len(tokens)} tokens, not {tuple(log_probs.shape)}"
        )
    if not 0 <= blank < len(tokens):
        raise InputError(f"blank must be an index into the {len(tokens)} tokens, not {blank}")
    batch, longest = log_probs.shape[:2]
    values, path, frames = _best(log_probs.detach(), lengths.detach())
    if frames.shape != (batch,) or (frames < 0).any() or (frames > longest).any():
        raise InputError(f"lengths must be {batch} numbers of frames from 0 to {longest}, not {frames.tolist()}")
    if batch == 0 or longest == 0:
        return [Hypothesis(text="", tokens=(), score=0.0, confidence=1.0) for _ in range(batch)]

    inside = np.arange(longest) < frames[:, None]
    if np.isnan(values[inside]).any():
        raise InputError(f"log_probs of example {int(np.isnan(np.where(inside, values, 0)).any(1).argmax())} has NaN")
    path = np.where(inside, path, blank)
    scores = np.where(inside, values, 0.0).sum(axis=1, dtype=np.float64)
    examples, starts, ends, confidences = _runs(path, values, blank)
    first = np.searchsorted(examples, np.arange(batch + 1))
    return [
        _hypothesis(
            path[n, starts[first[n] : first[n + 1]]].tolist(),
            starts[first[n] : first[n + 1]].tolist(),
            ends[first[n] : first[n + 1]].tolist(),
            confidences[first[n] : first[n + 1]].tolist(),
            float(scores[n]),
            tokens,
            word_delimiter,
        )
        for n in range(batch)
    ]


def _best(
    log_probs: torch.Tensor, lengths: torch.Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The best value (N, T) and class (N, T) of each frame, and the lengths (N,).

    From a GPU they come in one copy, whatever the size of the batch: each copy would wait for the GPU once.
    """
    batch, longest, _ = log_probs.shape
    if batch == 0 or longest == 0:
        nothing = np.zeros((batch, longest))
        return nothing.astype(np.float32), nothing.astype(np.int64), lengths.cpu().numpy().astype(np.int64)
    if log_probs.device.type == "cpu":
        values = log_probs.float().numpy()
        path = values.argmax(axis=2)  # several times as fast as PyTorch's
        best_values = np.take_along_axis(values, path[:, :, None], axis=2)[:, :, 0]
        return best_values, path, lengths.cpu().numpy().astype(np.int64)
    best, classes = log_probs.max(dim=2)
    bits = best.float().contiguous().view(torch.int32)
    on_device = lengths.to(log_probs.device, torch.int32, non_blocking=True)
    copied = torch.cat([bits.flatten(), classes.to(torch.int32).flatten(), on_device.flatten()]).cpu().numpy()
    size = batch * longest
    return (
        copied[:size].view(np.float32).reshape(batch, longest),
        copied[size : 2 * size].astype(np.int64).reshape(batch, longest),
        copied[2 * size :].astype(np.int64),
    )


def _runs(
    path: npt.NDArray[np.int64], values: npt.NDArray[np.float32], blank: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Example, first frame, end frame and largest probability of every run of one non-blank token, in reading order."""
    edge = np.ones((len(path), 1), dtype=bool)
    changes = np.concatenate([edge, path[:, 1:] != path[:, :-1]], axis=1)
    examples, starts = np.nonzero(changes)
    flat_starts = examples * path.shape[1] + starts
    flat_ends = np.append(flat_starts[1:], path.size)
    largest = np.maximum.reduceat(values.reshape(-1), flat_starts)
    emits = path[examples, starts] != blank
    ends = flat_ends - examples * path.shape[1]
    return examples[emits], starts[emits], ends[emits], np.exp(np.minimum(largest[emits].astype(np.float64), 0.0))


def _hypothesis(
    ids: list[int],
    starts: list[int],
    ends: list[int],
    confidences: list[float],
    score: float,
    tokens: Sequence[str],
    word_delimiter: str,
) -> Hypothesis:
    names = [tokens[index] for index in ids]
    groups = word_groups(names, word_delimiter)
    words = Spans(
        WordSpan,
        [word for word, _ in groups],
        [starts[where[0]] for _, where in groups],
        [ends[where[-1]] for _, where in groups],
        [math.prod(confidences[where.start : where.stop]) for _, where in groups],
    )
    return Hypothesis(
        text=join_tokens(names, word_delimiter),
        tokens=tuple(ids),
        score=score,
        token_spans=Spans(TokenSpan, names, starts, ends, confidences),
        word_spans=words,
        confidence=math.prod(confidences),
    )
