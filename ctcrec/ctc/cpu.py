"""CTC on the CPU: negative log-likelihoods and their gradient, from logits or log-probabilities, in compiled code.

One example is computed by one thread from beginning to end, so results do not depend on the number of threads, bit for
bit. A thread takes its examples in groups: `scores` reads what a group's targets need into a buffer of a megabyte or
so, the recursions run on the buffer, and, for the gradient, leave occupancies there, from which `scores` writes the
gradient rows.

The forward pass keeps only a (N, T) array of log-normalizers. The backward pass runs the forward recursion again,
keeping alpha at the starts of segments of a few frames, then walks the segments from the last to the first: it
recomputes the alphas of a segment and runs beta through it.

Each example is done in the probability domain (`recursions`), or, where that can't hold it, in log space
(`log_space`), never by a mixture of both.

Letters as in `recursions`: T frames, N examples, C classes, L labels, U distinct symbols, K frames of a segment.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc import log_space
from ctcrec.ctc.inputs import CTCInputs
from ctcrec.ctc.recursions import (
    backward_segment,
    band,
    copy_row,
    forward_segment,
    joint_scale,
    likelihood,
    plan_segments,
    renormalize_backward,
    renormalize_forward,
)
from ctcrec.ctc.scores import (
    FINITE,
    NOT_A_NUMBER,
    ZERO,
    flat_view,
    read_scores,
    rows_in_memory,
    tile,
    write_gradient,
)
from ctcrec.ctc.symbols import Symbols, read_symbols
from ctcrec.ctc.threads import run_balanced
from ctcrec.ctc.vector_math import exponent_of, power_of_two
from ctcrec.kernel_cache import cached_njit

__all__ = ["gradient", "losses"]

_SEGMENT = 32  # frames at most
_SEGMENT_STATES = 32768  # frames of a segment times labels, so that its alphas fit the second-level cache
_BUFFER = 1 << 17  # elements of a group's buffer, unless one example needs more

_jit = cached_njit(fastmath={"contract", "nsz"}, error_model="numpy")

Integers = NDArray[np.int64]


@_jit
def _forward(
    emission, ends, segments, longest, labels, first, skip, slack, kept_blank, kept_label, kept_exps, kept_band
):
    """Alpha from the first frame to the last. Returns whether the probability domain held it, and the likelihood's
    mantissa and exponent. If `kept_band` has rows, what stands before each segment is kept."""
    count = labels.size
    label_emission = np.empty((longest, count))
    rows_blank = np.zeros((longest + 1, count + 1))
    rows_label = np.zeros((longest + 1, count + 2))
    rows_blank[0, 0] = 1.0
    exps = np.zeros((2, count + 1), np.int64)
    consts = np.zeros((3, count + 1))
    scratch = np.empty((2, count + 1), np.int64)
    lo = hi = t0 = np.int64(0)  # not literals, for which everything would be compiled once more
    for index in range(segments):
        t1 = ends[index]
        if kept_band.shape[0] > 0:
            copy_row(kept_blank[index], rows_blank[0], 0, count + 1)
            copy_row(kept_label[index], rows_label[0], 0, count + 2)
            copy_row(kept_exps[index, 0], exps[0], 0, count + 1)
            copy_row(kept_exps[index, 1], exps[1], 0, count + 1)
            kept_band[index, 0], kept_band[index, 1] = lo, hi
        if not renormalize_forward(
            t0 - 1, lo, hi, first, slack, skip, rows_blank[0], rows_label[0], exps, consts, longest, scratch
        ):
            return False, 0.0, 0
        lo, hi = forward_segment(
            t0, t1 - t0, lo, hi, first, slack, consts, emission[t0:t1], labels, label_emission, rows_blank, rows_label
        )
        copy_row(rows_blank[0], rows_blank[t1 - t0], 0, count + 1)
        copy_row(rows_label[0], rows_label[t1 - t0], 0, count + 2)
        t0 = t1
    total, exponent = likelihood(rows_blank[0], rows_label[0], exps[0], exps[1])
    size = exponent_of(total)
    return 0.0 < total < np.inf, total * power_of_two(-size), exponent + size


@_jit
def _segment_frames(labels):
    return max(2, min(_SEGMENT, _SEGMENT_STATES // (labels + 1)))


@_jit
def _forward_task(examples, frames, target_lengths, symbols, buffer, offsets, log_p):
    """log_p[n] of each example from its scores in the buffer; NaN where the probability domain can't hold it."""
    no_floats, no_exps, no_bands = np.empty((0, 0)), np.empty((0, 0, 0), np.int64), np.empty((0, 0), np.int64)
    for j in range(examples.size):
        n = examples[j]
        used, count = symbols.counts[n], target_lengths[n]
        emission = buffer[offsets[j] : offsets[j] + frames[n] * used].reshape(frames[n], used)
        ends = np.empty(frames[n], np.int64)
        longest = _segment_frames(count)
        segments, log_scale = plan_segments(emission, longest, ends)
        log_p[n] = np.nan
        if segments >= 0:
            ok, mantissa, exponent = _forward(
                emission, ends, segments, longest, symbols.labels[n, :count], symbols.first[n, :count],
                symbols.skip[n, :count], symbols.slack[n], no_floats, no_floats, no_exps, no_bands,
            )  # fmt: skip
            if ok:
                log_p[n] = math.log(mantissa) + exponent * math.log(2.0) + log_scale


@_jit
def _occupancies(emission, labels, first, skip, slack):
    """Puts the symbols' occupancies in the place of their scores. False where the probability domain can't hold it."""
    frames, count = emission.shape[0], labels.size
    ends = np.empty(frames, np.int64)
    longest = _segment_frames(count)
    segments, _ = plan_segments(emission, longest, ends)
    if segments < 0:
        return False
    kept_blank = np.empty((segments, count + 1))
    kept_label = np.empty((segments, count + 2))
    kept_exps = np.empty((segments, 2, count + 1), np.int64)
    kept_band = np.empty((segments, 2), np.int64)
    ok, mantissa, exponent = _forward(
        emission, ends, segments, longest, labels, first, skip, slack, kept_blank, kept_label, kept_exps, kept_band
    )
    if not ok:
        return False
    label_emission = np.empty((longest, count))
    rows_blank = np.empty((longest + 1, count + 1))
    rows_label = np.empty((longest + 1, count + 2))
    consts = np.zeros((3, count + 1))
    scratch = np.empty((2, count + 1), np.int64)
    scales = np.empty((2, count + 1))
    beta = np.empty((2, count + 1))
    beta_exps = np.zeros((2, count + 1), np.int64)
    blank, label = np.zeros(count + 1), np.zeros(count + 2)
    blank[count] = 1.0
    lo = hi = count
    for index in range(segments - 1, -1, -1):
        t0, t1 = ends[index - 1] if index > 0 else 0, ends[index]
        here = emission[t0:t1]
        copy_row(rows_blank[0], kept_blank[index], 0, count + 1)
        copy_row(rows_label[0], kept_label[index], 0, count + 2)
        exps = kept_exps[index]
        before_lo, before_hi = kept_band[index, 0], kept_band[index, 1]
        ok &= renormalize_forward(
            t0 - 1, before_lo, before_hi, first, slack, skip, rows_blank[0], rows_label[0], exps, consts, longest,
            scratch,
        )  # fmt: skip
        _, last_hi = forward_segment(
            t0, t1 - t0, before_lo, before_hi, first, slack, consts, here, labels, label_emission, rows_blank,
            rows_label,
        )  # fmt: skip
        ok &= renormalize_backward(t1, lo, hi, first, slack, skip, blank, label, beta_exps, consts, longest, scratch)
        first_lo, _ = band(t0, before_lo, before_hi, first, slack)
        joint_scale(first_lo, last_hi, exponent, exps, beta_exps, scales)
        lo, hi, totals_ok = backward_segment(
            t0, t1 - t0, lo, hi, first, slack, consts, here, labels, label_emission, rows_blank, rows_label, scales,
            blank, label, beta, mantissa,
        )  # fmt: skip
        ok &= totals_ok
    return ok


@_jit
def _occupancy_task(examples, frames, target_lengths, symbols, buffer, offsets, ok):
    """Occupancies in the place of scores; ok[n] is False where the probability domain can't hold them."""
    for j in range(examples.size):
        n = examples[j]
        used, count = symbols.counts[n], target_lengths[n]
        emission = buffer[offsets[j] : offsets[j] + frames[n] * used].reshape(frames[n], used)
        ok[n] = _occupancies(
            emission, symbols.labels[n, :count], symbols.first[n, :count], symbols.skip[n, :count], symbols.slack[n]
        )


class _Batch:
    """Scores, targets and results of one call; `losses` and `gradient` run its methods on threads."""

    def __init__(self, scores: Tensor, inputs: CTCInputs, normalize: bool, normalizers: NDArray[np.float64]) -> None:
        self.scores = rows_in_memory(scores)
        self.flat = flat_view(self.scores)
        self.frames, self.count, self.classes = scores.shape
        self.lengths = inputs.input_lengths.numpy()
        self.target_lengths = inputs.target_lengths.numpy()
        self.symbols: Symbols = read_symbols(inputs, self.classes)
        self.bias = np.empty(0) if inputs.class_bias is None else inputs.class_bias.numpy()
        self.wild_score = inputs.wildcard_score
        self.normalize = normalize
        self.normalizers = normalizers

    def costs(self) -> NDArray[np.float64]:
        """Time that each example will take, roughly, in units of one class at one frame."""
        return np.asarray(self.lengths * (self.classes + 8 * self.target_lengths + 16), dtype=np.float64)

    def groups(self, examples: Integers) -> Iterator[tuple[Integers, NDArray[np.float64], Integers]]:
        """Examples whose scores fit a buffer, the buffer, and each one's place in it."""
        sizes = self.lengths[examples] * self.symbols.counts[examples]
        ends = np.cumsum(sizes)
        begin = 0
        while begin < len(examples):
            before = ends[begin] - sizes[begin]
            end = max(begin + 1, int(np.searchsorted(ends, before + _BUFFER, side="right")))
            offsets = ends[begin:end] - sizes[begin:end] - before
            yield examples[begin:end], np.empty(int(ends[end - 1] - before)), offsets
            begin = end

    def read(self, examples: Integers, known: bool, buffer: NDArray[np.float64], offsets: Integers) -> None:
        read_scores(
            examples, self.flat, self.scores.stride(0), self.scores.stride(1), self.classes, self.lengths,
            self.symbols.classes, self.symbols.counts, self.bias, self.symbols.wildcards, self.wild_score,
            self.normalize, self.normalizers, known, tile(self.scores), buffer, offsets,
        )  # fmt: skip

    def arguments(self, examples: Integers, buffer: NDArray[np.float64], offsets: Integers) -> tuple[Any, ...]:
        return examples, self.lengths, self.target_lengths, self.symbols, buffer, offsets


def losses(scores: Tensor, inputs: CTCInputs, normalize: bool) -> tuple[Tensor, Tensor]:
    """Negative log-likelihoods (N,) float64 and, if `normalize`, log-normalizers (N, T) float64, else (N, 0).

    `scores` is (T, N, C): logits if `normalize`, else log-probabilities.
    """
    frames, count, _ = scores.shape
    normalizers = np.zeros((count, frames if normalize else 0))
    batch = _Batch(scores, inputs, normalize, normalizers)
    log_p = np.full(count, -np.inf)

    def task(examples: Integers) -> None:
        for group, buffer, offsets in batch.groups(examples[batch.symbols.slack[examples] >= 0]):
            batch.read(group, False, buffer, offsets)
            _forward_task(*batch.arguments(group, buffer, offsets), log_p)
            if normalize:
                log_p[group] -= normalizers[group].sum(axis=1)
        failed = examples[np.isnan(log_p[examples])]
        for group, buffer, offsets in batch.groups(failed):
            batch.read(group, True, buffer, offsets)
            log_space.forward_task(*batch.arguments(group, buffer, offsets), normalize, normalizers, log_p)

    run_balanced(task, batch.costs())
    return torch.from_numpy(-log_p), torch.from_numpy(normalizers)


def _new_like(scores: Tensor) -> Tensor:
    """`torch.empty_like` in memory from NumPy, which asks the kernel for huge pages: far fewer page faults."""
    like = torch.empty_like(scores, device="meta")
    memory = torch.from_numpy(np.empty(scores.numel() * scores.element_size(), np.uint8))
    return memory.view(scores.dtype).as_strided(like.shape, like.stride())


def gradient(
    scores: Tensor, inputs: CTCInputs, normalize: bool, loss: Tensor, normalizers: Tensor, factors: Tensor
) -> Tensor:
    """sum_n factors[n] * d loss_n / d scores, (T, N, C) in the dtype of `scores`.

    `loss` and `normalizers` come from `losses`. Zero where a loss is +inf; NaN where a loss or factor is not finite
    otherwise.
    """
    result = _new_like(scores)
    batch = _Batch(scores, inputs, normalize, normalizers.numpy())
    target = result if result.stride() == batch.scores.stride() else torch.empty_like(batch.scores)
    flat_gradient = flat_view(target)
    loss_array = loss.detach().to(torch.float64).numpy()
    factor_array = factors.detach().to(torch.float64).contiguous().numpy()
    fates = np.full(batch.count, FINITE)
    fates[~(np.isfinite(loss_array) & np.isfinite(factor_array))] = NOT_A_NUMBER
    fates[(loss_array == np.inf) | (factor_array == 0.0)] = ZERO
    ok = np.ones(batch.count, np.bool_)

    def write(examples: Integers, buffer: NDArray[np.float64], offsets: Integers) -> None:
        write_gradient(
            examples, batch.flat, flat_gradient, batch.scores.stride(0), batch.scores.stride(1), batch.frames,
            batch.classes, batch.lengths, batch.symbols.classes, batch.symbols.counts, batch.symbols.wildcards,
            normalize, batch.normalizers, factor_array, fates, tile(batch.scores), buffer, offsets,
        )  # fmt: skip

    def task(examples: Integers) -> None:
        plain = examples[fates[examples] != FINITE]
        write(plain, np.empty(0), np.zeros(len(plain), np.int64))
        for group, buffer, offsets in batch.groups(examples[fates[examples] == FINITE]):
            batch.read(group, True, buffer, offsets)
            _occupancy_task(*batch.arguments(group, buffer, offsets), ok)
            done = ok[group]
            write(group[done], buffer, offsets[done])
        for group, buffer, offsets in batch.groups(examples[~ok[examples]]):
            batch.read(group, True, buffer, offsets)
            log_space.occupancy_task(*batch.arguments(group, buffer, offsets), normalize, batch.normalizers)
            write(group, buffer, offsets)

    run_balanced(task, batch.costs())
    return result if target is result else result.copy_(target)
