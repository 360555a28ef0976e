"""CTC on the CPU: negative log-likelihoods and their gradient, from logits or log-probabilities, in compiled code.

One example is computed by one thread from beginning to end, so results do not depend on the number of threads, bit for
bit. The forward pass keeps only a (N, T) array of log-normalizers. The backward pass runs the forward recursion again,
keeping alpha at the segments' ends, then walks the segments from the last to the first: it recomputes the alphas of a
segment, runs beta through it, and writes the gradient rows of its frames while they are hot in the cache.

Each example is done in the probability domain (`recursions`), or, where that can't hold it, in log space
(`log_space`), never by a mixture of both. `scores` reads rows of scores and writes rows of gradient.

Letters as in `recursions`: T frames, N examples, C classes, L labels, U distinct symbols, K frames of a segment.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc import log_space
from ctcrec.ctc.inputs import CTCInputs
from ctcrec.ctc.recursions import (
    MAX_DECAY,
    backward_segment,
    band,
    forward_segment,
    joint_scale,
    likelihood,
    renormalize_backward,
    renormalize_forward,
)
from ctcrec.ctc.scores import fill_rows, gather, log_normalizers, score_views, tiles, write_gradient
from ctcrec.ctc.threads import run_balanced
from ctcrec.ctc.vector_math import exponent_of, fast_exp, from_ordered_bits, ordered_bits, power_of_two

__all__ = ["gradient", "kernel_arguments", "losses", "read_symbols", "rows_in_memory"]

_SEGMENT = 32  # frames at most
_SEGMENT_STATES = 32768  # frames of a segment times labels, so that its alphas fit the second-level cache

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")


class Rows(NamedTuple):
    """Where the scores of one example stand: the row of frame t starts at `base + t * stride`."""

    views: tuple[np.ndarray, ...]
    base: int
    stride: int
    frames: int
    classes: int
    normalize: bool
    normalizers: np.ndarray


class Symbols(NamedTuple):
    """The target of one example: its distinct symbols, the blank first, and what the recursions need of it."""

    classes: np.ndarray  # (U,)
    bias: np.ndarray  # (U,) added to the scores
    wild: int  # number of the wildcard, or -1
    wild_score: float
    label: np.ndarray  # (L,) numbers of the labels
    first: np.ndarray  # (L,) the earliest frame of each label
    skip: np.ndarray  # (L,) 1.0 where the blank before it may be left out
    slack: int  # frames more than the target needs; negative if it doesn't fit


@_jit
def read_symbols(labels, frames, blank, wildcard, wild_score, bias, slot):
    """Reads one target. `slot` (C,) is -1 throughout, before and after."""
    count = labels.size
    symbol = np.empty(count, np.uint64)
    first = np.empty(count, np.int64)
    skip = np.empty(count)
    classes = np.empty(count + 1, np.int64)
    classes[0] = blank
    used = 1
    wild = -1
    repeats = 0
    for i in range(count):
        label = labels[i]
        repeated = i > 0 and labels[i - 1] == label
        repeats += repeated
        first[i] = i + repeats
        skip[i] = 0.0 if repeated or i == 0 else 1.0
        if label == wildcard:
            if wild < 0:
                wild = used
                classes[used] = blank
                used += 1
            symbol[i] = wild
        else:
            if slot[label] < 0:
                slot[label] = used
                classes[used] = label
                used += 1
            symbol[i] = slot[label]
    symbol_bias = np.zeros(used)
    for u in range(used):
        if bias.size and u != wild:
            symbol_bias[u] = bias[classes[u]]
        slot[classes[u]] = -1
    slack = frames - (first[count - 1] + 1 if count > 0 else 0)
    return Symbols(classes[:used], symbol_bias, wild, wild_score, symbol, first, skip, slack)


@_jit
def _segment_frames(labels):
    return max(2, min(_SEGMENT, _SEGMENT_STATES // (labels + 1)))


@_jit
def _load_segment(rows, symbols, t0, count, emission, tops):
    """Emissions of at most `count` frames from t0; fewer where the mantissas' range asks for it, none where one frame
    alone exceeds it. Returns the number of frames."""
    used = symbols.classes.size
    decay = 0.0
    loaded = 0
    for k in range(count):
        gather(rows.views, rows.base + (t0 + k) * rows.stride, symbols.classes, symbols.bias, emission, k)
        if symbols.wild >= 0:
            emission[k, symbols.wild] = symbols.wild_score + (rows.normalizers[t0 + k] if rows.normalize else 0.0)
        # Compared as integers, because such loops vectorize.
        most = least = ordered_bits(emission[k, 0])
        for u in range(1, used):
            bits = ordered_bits(emission[k, u])
            most = max(most, bits)
            least = min(least, bits)
        top, low = from_ordered_bits(most), from_ordered_bits(least)
        decay += (top - low) * 1.4426950408889634
        if not decay <= MAX_DECAY:
            break
        tops[k] = top
        for u in range(used):
            emission[k, u] -= top
        loaded += 1
    flat = emission.reshape(-1)
    for j in range(loaded * used):
        flat[j] = fast_exp(flat[j])
    return loaded


@_jit
def _doubled(kept):
    """A copy with room for twice as many rows."""
    larger = np.empty((2 * kept.shape[0], kept.shape[1]), kept.dtype)
    larger[: kept.shape[0], :] = kept
    return larger


@_jit
def _forward_pass(rows, symbols, segment, kept_blank, kept_label, kept_exps, kept):
    """Alpha from the first frame to the last, in segments.

    Returns log p (NaN where the probability domain can't hold it), its mantissa and exponent without what was divided
    out of the emissions, the number of segments, and the `kept` arrays, which grow as needed: if they have any rows,
    each segment's starting alpha and exponents, its end and the band before it are stored there.
    """
    labels = symbols.label.size
    keep = kept.shape[0] > 0
    emission = np.empty((segment, symbols.classes.size))
    tops = np.empty(segment)
    label_emission = np.empty((segment, labels))
    rows_blank = np.zeros((segment + 1, labels + 1))
    rows_label = np.zeros((segment + 1, labels + 2))
    rows_blank[0, 0] = 1.0
    exps = np.zeros((2, labels + 1), np.int64)
    consts = np.zeros((3, labels + 1))
    scratch = np.empty((2, labels + 1), np.int64)
    lo = hi = t = segments = 0
    log_scale = 0.0
    failed = (np.nan, 0.0, 0, 0, kept_blank, kept_label, kept_exps, kept)
    while t < rows.frames:
        count = _load_segment(rows, symbols, t, min(segment, rows.frames - t), emission, tops)
        if count == 0:
            return failed
        if keep:
            if segments == kept.shape[0]:
                kept_blank, kept_label = _doubled(kept_blank), _doubled(kept_label)
                kept_exps, kept = _doubled(kept_exps), _doubled(kept)
            kept_blank[segments, :] = rows_blank[0]
            kept_label[segments, :] = rows_label[0]
            kept_exps[segments, :] = exps.reshape(-1)
            kept[segments, 0], kept[segments, 1], kept[segments, 2] = t + count, lo, hi
        if not renormalize_forward(
            t - 1,
            lo,
            hi,
            symbols.first,
            symbols.slack,
            symbols.skip,
            rows_blank[0],
            rows_label[0],
            exps,
            consts,
            segment,
            scratch,
        ):
            return failed
        lo, hi = forward_segment(
            t, count, lo, hi, symbols.first, symbols.slack, consts, emission, symbols.label, label_emission,
            rows_blank, rows_label,
        )  # fmt: skip
        rows_blank[0, :] = rows_blank[count]
        rows_label[0, :] = rows_label[count]
        for k in range(count):
            log_scale += tops[k]
        t += count
        segments += 1
    total, exponent = likelihood(rows_blank[0], rows_label[0], exps[0], exps[1])
    if not 0.0 < total < np.inf:
        return failed
    log_p = math.log(total) + exponent * math.log(2.0) + log_scale
    size = exponent_of(total)
    return log_p, total * power_of_two(-size), exponent + size, segments, kept_blank, kept_label, kept_exps, kept


@_jit
def _gradient_scaled(rows, symbols, gradient, factor, buffers):
    """The gradient rows of one example by way of the probability domain; False where that can't hold it."""
    labels, used = symbols.label.size, symbols.classes.size
    first, slack, skip = symbols.first, symbols.slack, symbols.skip
    segment = _segment_frames(labels)
    room = rows.frames // segment + 1
    log_p, mantissa, total_exp, segments, kept_blank, kept_label, kept_exps, kept = _forward_pass(
        rows, symbols, segment, np.empty((room, labels + 1)), np.empty((room, labels + 2)),
        np.empty((room, 2 * labels + 2), np.int64), np.empty((room, 3), np.int64),
    )  # fmt: skip
    if math.isnan(log_p):
        return False
    emission = np.empty((segment, used))
    tops = np.empty(segment)
    label_emission = np.empty((segment, labels))
    rows_blank = np.empty((segment + 1, labels + 1))
    rows_label = np.empty((segment + 1, labels + 2))
    consts = np.zeros((3, labels + 1))
    scratch = np.empty((2, labels + 1), np.int64)
    scales = np.empty((2, labels + 1))
    beta = np.empty((2, labels + 1))
    beta_exps = np.zeros((2, labels + 1), np.int64)
    blank, label = np.zeros(labels + 1), np.zeros(labels + 2)
    blank[labels] = 1.0
    occupancy = np.empty((segment, used))
    lo = hi = labels
    t1 = rows.frames
    for index in range(segments - 1, -1, -1):
        t0 = kept[index - 1, 0] if index > 0 else 0
        count = t1 - t0
        _load_segment(rows, symbols, t0, count, emission, tops)
        rows_blank[0, :] = kept_blank[index]
        rows_label[0, :] = kept_label[index]
        exps = kept_exps[index].reshape(2, labels + 1)
        before_lo, before_hi = kept[index, 1], kept[index, 2]
        ok = renormalize_forward(
            t0 - 1,
            before_lo,
            before_hi,
            first,
            slack,
            skip,
            rows_blank[0],
            rows_label[0],
            exps,
            consts,
            segment,
            scratch,
        )
        _, last_hi = forward_segment(
            t0, count, before_lo, before_hi, first, slack, consts, emission, symbols.label, label_emission, rows_blank,
            rows_label,
        )  # fmt: skip
        ok &= renormalize_backward(t1, lo, hi, first, slack, skip, blank, label, beta_exps, consts, segment, scratch)
        start_lo, _ = band(t0, before_lo, before_hi, first, slack)
        joint_scale(start_lo, last_hi, total_exp, exps, beta_exps, scales)
        lo, hi, totals_ok = backward_segment(
            t0, count, lo, hi, first, slack, consts, emission, symbols.label, label_emission, rows_blank, rows_label,
            scales, blank, label, beta, mantissa, occupancy,
        )  # fmt: skip
        if not (ok and totals_ok):
            return False
        write_gradient(
            rows.views, gradient, rows.base, rows.stride, t0, count, rows.classes, symbols.classes, symbols.wild,
            occupancy, rows.normalizers, rows.normalize, factor, buffers,
        )  # fmt: skip
        t1 = t0
    return True


@_jit
def _log_emissions(rows, symbols, t, emission, k):
    """Log-probabilities of the symbols at frame t into row k."""
    gather(rows.views, rows.base + t * rows.stride, symbols.classes, symbols.bias, emission, k)
    if rows.normalize:
        for u in range(symbols.classes.size):
            emission[k, u] -= rows.normalizers[t]
    if symbols.wild >= 0:
        emission[k, symbols.wild] = symbols.wild_score


@_jit
def _forward_log_space(rows, symbols, segment, kept):
    """log p of one example; alphas before the frames 0, segment, 2 * segment ... go to `kept` if it has room."""
    alpha = np.empty(2 * symbols.label.size + 1)
    new = np.empty_like(alpha)
    emission = np.empty((1, symbols.classes.size))
    log_space.start_alpha(alpha)
    for t in range(rows.frames):
        if kept.shape[0] > 0 and t % segment == 0:
            kept[t // segment, :] = alpha
        _log_emissions(rows, symbols, t, emission, 0)
        log_space.alpha_step(alpha, new, emission[0], symbols.label, symbols.skip)
        alpha, new = new, alpha
    return log_space.log_total(alpha)


@_jit
def _gradient_log_space(rows, symbols, gradient, factor, buffers):
    """The gradient rows of one example by way of log space."""
    states = 2 * symbols.label.size + 1
    segment = _segment_frames(symbols.label.size)
    kept = np.empty(((rows.frames + segment - 1) // segment, states))
    total = _forward_log_space(rows, symbols, segment, kept)
    alphas = np.empty((segment + 1, states))
    emission = np.empty((segment, symbols.classes.size))
    occupancy = np.empty((segment, symbols.classes.size))
    beta = np.empty(states)
    ahead = np.full(states, -np.inf)
    ahead[states - 1] = 0.0
    for index in range(kept.shape[0] - 1, -1, -1):
        t0 = index * segment
        count = min(segment, rows.frames - t0)
        alphas[0, :] = kept[index]
        for k in range(count):
            _log_emissions(rows, symbols, t0 + k, emission, k)
            log_space.alpha_step(alphas[k], alphas[k + 1], emission[k], symbols.label, symbols.skip)
        for k in range(count - 1, -1, -1):
            log_space.beta_step(ahead, beta, symbols.label.size, symbols.skip)
            occupancy[k, :] = 0.0
            for s in range(states):
                u = symbols.label[s // 2] if s % 2 == 1 else np.uint64(0)
                occupancy[k, u] += math.exp(alphas[k + 1, s] + beta[s] - total)
                ahead[s] = beta[s] + emission[k, u]
            # They add up to one but for the rounding of large logarithms, which this takes out.
            occupancy[k, :] /= occupancy[k].sum()
        write_gradient(
            rows.views, gradient, rows.base, rows.stride, t0, count, rows.classes, symbols.classes, symbols.wild,
            occupancy, rows.normalizers, rows.normalize, factor, buffers,
        )  # fmt: skip


@_jit
def _losses_task(
    examples, views, stride, example_stride, classes, targets, input_lengths, target_lengths, blank, bias, wildcard,
    wild_score, normalize, normalizers, losses, buffers,
):  # fmt: skip
    """losses[n] of each example n in `examples`, and normalizers[n] if `normalize`."""
    slot = np.full(classes, -1, np.int64)
    none = np.empty((0, 0))
    no_integers = np.empty((0, 0), np.int64)
    for n in examples:
        frames = input_lengths[n]
        base = n * example_stride
        if normalize:
            log_normalizers(views, base, stride, frames, classes, buffers, normalizers[n])
        rows = Rows(views, base, stride, frames, classes, normalize, normalizers[n])
        labels = targets[n, : target_lengths[n]]
        symbols = read_symbols(labels, frames, blank, wildcard, wild_score, bias, slot)
        if symbols.slack < 0:
            losses[n] = np.inf
            continue
        segment = _segment_frames(labels.size)
        log_p = _forward_pass(rows, symbols, segment, none, none, no_integers, no_integers)[0]
        if math.isnan(log_p):
            log_p = _forward_log_space(rows, symbols, segment, none)
        elif normalize:
            for t in range(frames):
                log_p -= normalizers[n, t]
        losses[n] = -log_p


@_jit
def _gradient_task(
    examples, views, gradient, stride, example_stride, max_frames, classes, targets, input_lengths, target_lengths,
    blank, bias, wildcard, wild_score, normalize, normalizers, losses, factors, buffers,
):  # fmt: skip
    """All gradient rows of each example in `examples`, times its factor."""
    slot = np.full(classes, -1, np.int64)
    for n in examples:
        frames = input_lengths[n]
        base = n * example_stride
        factor = factors[n]
        fill_rows(gradient, base + frames * stride, stride, max_frames - frames, classes, 0.0)
        if losses[n] == np.inf or factor == 0.0:
            fill_rows(gradient, base, stride, frames, classes, 0.0)
            continue
        if not (math.isfinite(losses[n]) and math.isfinite(factor)):
            fill_rows(gradient, base, stride, frames, classes, np.nan)
            continue
        rows = Rows(views, base, stride, frames, classes, normalize, normalizers[n])
        labels = targets[n, : target_lengths[n]]
        symbols = read_symbols(labels, frames, blank, wildcard, wild_score, bias, slot)
        if not _gradient_scaled(rows, symbols, gradient, factor, buffers):
            _gradient_log_space(rows, symbols, gradient, factor, buffers)


def losses(scores: Tensor, inputs: CTCInputs, normalize: bool) -> tuple[Tensor, Tensor]:
    """Negative log-likelihoods (N,) float64 and, if `normalize`, log-normalizers (N, T) float64, else (N, 0).

    `scores` is (T, N, C): logits if `normalize`, else log-probabilities.
    """
    frames, count, classes = scores.shape
    scores = rows_in_memory(scores)
    views = score_views(scores)
    result = np.empty(count)
    normalizers = np.zeros((count, frames if normalize else 0))
    arguments = kernel_arguments(inputs)

    def task(examples: NDArray[np.int64]) -> None:
        _losses_task(
            examples, views, scores.stride(0), scores.stride(1), classes, *arguments, normalize, normalizers, result,
            tiles(scores),
        )  # fmt: skip

    run_balanced(task, _costs(classes, inputs))
    return torch.from_numpy(result), torch.from_numpy(normalizers)


def gradient(
    scores: Tensor, inputs: CTCInputs, normalize: bool, loss: Tensor, normalizers: Tensor, factors: Tensor
) -> Tensor:
    """sum_n factors[n] * d loss_n / d scores, (T, N, C) in the dtype of `scores`.

    `loss` and `normalizers` come from `losses`. Zero where a loss is +inf; NaN where a loss or factor is not finite
    otherwise.
    """
    frames, _, classes = scores.shape
    result = torch.empty_like(scores)
    scores = rows_in_memory(scores)
    target = result if result.stride() == scores.stride() else torch.empty_like(scores)
    views, gradient_views = score_views(scores), score_views(target)
    arguments = kernel_arguments(inputs)
    loss_array = loss.detach().to(torch.float64).numpy()
    factor_array = factors.detach().to(torch.float64).contiguous().numpy()
    normalizer_array = normalizers.numpy()

    def task(examples: NDArray[np.int64]) -> None:
        _gradient_task(
            examples, views, gradient_views, scores.stride(0), scores.stride(1), frames, classes, *arguments,
            normalize, normalizer_array, loss_array, factor_array, tiles(scores),
        )  # fmt: skip

    run_balanced(task, _costs(classes, inputs))
    return result if target is result else result.copy_(target)


def rows_in_memory(scores: Tensor) -> Tensor:
    """`scores`, or a copy if its classes don't lie next to each other or its elements leave gaps or overlap."""
    scores = scores.detach()
    if scores.stride(2) == 1 and torch.empty_like(scores, device="meta").stride() == scores.stride():
        return scores
    return scores.contiguous()


def kernel_arguments(inputs: CTCInputs) -> tuple[object, ...]:
    """The checked inputs as the kernels take them."""
    bias = np.empty(0) if inputs.class_bias is None else inputs.class_bias.numpy()
    wildcard = -(1 << 62) if inputs.wildcard is None else inputs.wildcard
    return (
        inputs.targets.numpy(),
        inputs.input_lengths.numpy(),
        inputs.target_lengths.numpy(),
        inputs.blank,
        bias,
        wildcard,
        inputs.wildcard_score,
    )


def _costs(classes: int, inputs: CTCInputs) -> NDArray[np.float64]:
    """Time that each example will take, roughly, in units of one class at one frame."""
    return np.asarray(inputs.input_lengths * (classes + 8 * inputs.target_lengths + 16), dtype=np.float64)
