"""Viterbi's algorithm on the CTC states, compiled: the kernels of `alignment.forced_align`.

    blank_t[i] = max(blank_{t-1}[i], label_{t-1}[i-1]) + e_t(blank)
    label_t[i] = max(label_{t-1}[i], blank_{t-1}[i], label_{t-1}[i-1] if the labels differ) + e_t(label i)

with blank[i] the blank before label i. The forward pass keeps no back-pointers, only the scores before each K-th frame
(`kept`), and visits only states on some complete path (the band of `recursions`). Then, from the last stretch of K
frames to the first, back-pointers are computed for the labels that can lead to where the path leaves the stretch: at
most K of them, as a path enters at most one label a frame.

Equal scores are resolved as in torchaudio: stay rather than move, and end in the last label rather than the last blank.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc.inputs import CTCInputs
from ctcrec.ctc.recursions import band
from ctcrec.ctc.scores import flat_view, rows_in_memory
from ctcrec.ctc.symbols import read_symbols
from ctcrec.ctc.threads import run_balanced
from ctcrec.ctc.vector_math import widen
from ctcrec.kernel_cache import cached_njit

__all__ = ["best_paths"]

_jit = cached_njit(error_model="numpy")
_0, _1 = np.uint64(0), np.uint64(1)  # unsigned indices let the loops vectorize, as in `recursions`


@_jit
def _emit(scores, start, classes, wild, wild_score, labels, emission, label_emission, lo, hi):
    """Scores of the symbols in the row at `start`, and of the labels [lo, hi)."""
    for u in range(classes.size):
        emission[u] = widen(scores[start + classes[u]])
    if wild >= 0:
        emission[wild] = wild_score
    for i in range(np.uint64(lo), np.uint64(hi)):
        label_emission[i] = emission[labels[i]]


@_jit
def _step(blank, label, new_blank, new_label, closed, lo, hi, e_blank, label_emission):
    """One frame for the band [lo, hi); `closed[i]` is -inf where labels i - 1 and i are equal, else 0."""
    begin, end = np.uint64(lo), np.uint64(hi)
    for i in range(begin, end + _1):
        moved, stayed = label[i], blank[i]
        new_blank[i] = (moved if moved > stayed else stayed) + e_blank
    for i in range(begin, end):
        stayed, entered, skipped = label[i + _1], blank[i], label[i] + closed[i]
        best = entered if entered > stayed else stayed
        new_label[i + _1] = (skipped if skipped > best else best) + label_emission[i]
    new_label[lo] = -np.inf
    new_label[hi + 1] = -np.inf
    new_label[min(hi + 2, new_label.size - 1)] = -np.inf
    if hi + 1 < new_blank.size:
        new_blank[hi + 1] = -np.inf


@_jit
def _trace_stretch(
    scores, base, stride, t0, count, state, classes, wild, wild_score, labels, closed, blank, label, label_emission,
    emission, path, path_scores,
):  # fmt: skip
    """Fills path[t0 : t0 + count], which ends in `state` (2 i for blank i, 2 i + 1 for label i). Returns the state
    before t0."""
    high = min(state // 2 + 1, labels.size)  # labels [low, high) can lead to the state
    low = max(0, high - count - 1)
    width = high - low
    old_blank, old_label = blank[low : high + 1].copy(), label[low : high + 1].copy()
    new_blank, new_label = np.empty(width + 1), np.empty(width + 1)
    blank_from = np.empty((count, width + 1), np.uint8)
    label_from = np.empty((count, width), np.uint8)
    blank_scores = np.empty(count)
    label_scores = np.empty((count, width))
    for k in range(count):
        _emit(scores, base + (t0 + k) * stride, classes, wild, wild_score, labels, emission, label_emission, low, high)
        blank_scores[k] = emission[0]
        for j in range(width + 1):
            moved = old_label[j] > old_blank[j]
            blank_from[k, j] = moved
            new_blank[j] = (old_label[j] if moved else old_blank[j]) + emission[0]
        for j in range(width):
            stayed, entered, skipped = old_label[j + 1], old_blank[j], old_label[j] + closed[low + j]
            source, best = 0, stayed
            if entered > best:
                source, best = 1, entered
            if skipped > best:
                source, best = 2, skipped
            label_from[k, j] = source
            label_scores[k, j] = label_emission[low + j]
            new_label[j + 1] = best + label_emission[low + j]
        new_label[0] = -np.inf
        old_blank, new_blank = new_blank, old_blank
        old_label, new_label = new_label, old_label
    for k in range(count - 1, -1, -1):
        j = state // 2 - low
        if state % 2 == 0:
            path[t0 + k] = -1
            path_scores[t0 + k] = blank_scores[k]
            state -= np.int64(blank_from[k, j])
        else:
            path[t0 + k] = state // 2
            path_scores[t0 + k] = label_scores[k, j]
            state -= np.int64(label_from[k, j])
    return state


@_jit
def _best_path(scores, base, stride, frames, classes, wild, wild_score, labels, first, skip, slack, path, path_scores):
    """Label index of each frame, -1 for blank, and its score. Returns the path's total score."""
    count = labels.size
    every = max(64, int(np.sqrt(frames)))
    closed = np.empty(count)
    for i in range(count):
        closed[i] = 0.0 if skip[i] > 0 else -np.inf
    kept_blank = np.empty(((frames + every - 1) // every, count + 1))
    kept_label = np.empty((kept_blank.shape[0], count + 2))
    emission = np.empty(classes.size)
    label_emission = np.empty(count)
    blank, label = np.full(count + 1, -np.inf), np.full(count + 2, -np.inf)
    new_blank, new_label = blank.copy(), label.copy()
    blank[0] = 0.0
    lo = hi = 0
    for t in range(frames):
        if t % every == 0:
            # Only the band is stored: the rest stays unreachable, and its memory untouched.
            index = t // every
            kept_blank[index, lo : hi + 1] = blank[lo : hi + 1]
            kept_label[index, lo + 1 : hi + 1] = label[lo + 1 : hi + 1]
        lo, hi = band(t, lo, hi, first, slack)
        _emit(scores, base + t * stride, classes, wild, wild_score, labels, emission, label_emission, lo, hi)
        _step(blank, label, new_blank, new_label, closed, lo, hi, emission[0], label_emission)
        blank, new_blank = new_blank, blank
        label, new_label = new_label, label
    state = 2 * count
    total = blank[count]
    if count > 0 and not total > label[count]:
        state, total = 2 * count - 1, label[count]
    for index in range(kept_blank.shape[0] - 1, -1, -1):
        t0 = index * every
        lo, hi = band(t0 - 1, 0, 0, first, slack)
        blank[:], label[:] = -np.inf, -np.inf
        blank[lo : hi + 1] = kept_blank[index, lo : hi + 1]
        label[lo + 1 : hi + 1] = kept_label[index, lo + 1 : hi + 1]
        state = _trace_stretch(
            scores, base, stride, t0, min(every, frames - t0), state, classes, wild, wild_score, labels, closed, blank,
            label, label_emission, emission, path, path_scores,
        )  # fmt: skip
    return total


@_jit
def _task(
    examples, scores, stride, example_stride, targets, blank, input_lengths, target_lengths, symbols, wild_score, paths,
    path_scores, totals,
):  # fmt: skip
    for n in examples:
        frames, count = input_lengths[n], target_lengths[n]
        path, along = paths[n], path_scores[n]
        totals[n] = _best_path(
            scores, n * example_stride, stride, frames, symbols.classes[n, : symbols.counts[n]], symbols.wildcards[n],
            wild_score, symbols.labels[n, :count], symbols.first[n, :count], symbols.skip[n, :count], symbols.slack[n],
            path, along,
        )  # fmt: skip
        for t in range(frames):
            path[t] = blank if path[t] < 0 else targets[n, path[t]]
            # The maximum passes NaN over; a path's own NaN must not stay hidden.
            totals[n] += 0.0 * along[t]


def best_paths(scores: Tensor, inputs: CTCInputs) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    """Paths (N, T) int64, their scores (N, T) float64 and their totals (N,), not finite where there is no path.

    `scores` is (T, N, C) on the CPU and every target is feasible.
    """
    frames, count, classes = scores.shape
    scores = rows_in_memory(scores)
    paths = np.full((count, frames), inputs.blank)
    path_scores = np.zeros((count, frames))
    totals = np.zeros(count)
    flat = flat_view(scores)
    symbols = read_symbols(inputs, classes)
    lengths, target_lengths = inputs.input_lengths.numpy(), inputs.target_lengths.numpy()

    def task(examples: NDArray[np.int64]) -> None:
        _task(
            examples, flat, scores.stride(0), scores.stride(1), inputs.targets.numpy(), inputs.blank, lengths,
            target_lengths, symbols, inputs.wildcard_score, paths, path_scores, totals,
        )  # fmt: skip

    run_balanced(task, np.asarray(lengths * (target_lengths + 16), dtype=np.float64))
    return torch.from_numpy(paths), torch.from_numpy(path_scores), totals
