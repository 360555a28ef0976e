"""CTC on the CPU: negative log-likelihoods and their gradient, from logits or log-probabilities, in compiled code.

One example is computed by one thread from beginning to end, so results do not depend on the number of threads, bit for
bit. The forward pass keeps only a (N, T) array of log-normalizers. The backward pass runs the forward recursion again,
keeping alpha at the segments' ends, then walks the segments from the last to the first: it recomputes the alphas of a
segment, runs beta through it, and writes the gradient rows of its frames while they are hot in the cache.

Each example is done in the probability domain (`recursions`), or, where that can't hold it, in log space
(`log_space`), never by a mixture of both. `softmax` turns occupancies into rows of gradient.

Letters as in `recursions`: T frames, N examples, C classes, L labels, U distinct symbols, K frames of a segment.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc import log_space
from ctcrec.ctc.inputs import CTCInputs
from ctcrec.ctc.recursions import (
    MAX_DECAY,
    backward_frame,
    band,
    band_back,
    forward_frame,
    joint_scale,
    likelihood,
    renormalize_backward,
    renormalize_forward,
)
from ctcrec.ctc.softmax import TILE, fill_rows, log_normalizers, write_gradient
from ctcrec.ctc.threads import run_balanced
from ctcrec.ctc.vector_math import exponent_of, fast_exp, widen

__all__ = ["gradient", "losses"]

_SEGMENT = 32  # frames at most
_SEGMENT_STATES = 32768  # frames of a segment times labels, so that its alphas fit the second-level cache

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_jit
def _prepare(labels, blank, wildcard, bias, slot, symbol, symbol_class, symbol_bias, first, skip):
    """Numbers the target's distinct symbols, the blank first. Returns their count and the wildcard's number or -1.

    `slot` (C,) is -1 throughout, before and after.
    """
    symbol_class[0] = blank
    count = 1
    wild = -1
    repeats = 0
    for i in range(labels.size):
        label = labels[i]
        repeated = i > 0 and labels[i - 1] == label
        repeats += repeated
        first[i] = i + repeats
        skip[i] = 0.0 if repeated or i == 0 else 1.0
        if label == wildcard:
            if wild < 0:
                wild = count
                symbol_class[count] = blank
                count += 1
            symbol[i] = wild
        else:
            if slot[label] < 0:
                slot[label] = count
                symbol_class[count] = label
                count += 1
            symbol[i] = slot[label]
    for u in range(count):
        symbol_bias[u] = bias[symbol_class[u]] if bias.size and u != wild else 0.0
        slot[symbol_class[u]] = -1
    return count, wild


@_jit
def _gather(scores, row, symbol_class, symbol_bias, wild, wild_score, emission):
    """Scores of the distinct symbols at one frame."""
    for u in range(symbol_class.size):
        emission[u] = np.float64(widen(scores[row + symbol_class[u]])) + symbol_bias[u]
    if wild >= 0:
        emission[wild] = wild_score


@_jit
def _load_segment(
    scores, base, stride, t0, count, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, emission, tops
):
    """Emissions of at most `count` frames from t0; fewer where the mantissas' range asks for it, none where one frame
    alone exceeds it. Returns the number of frames."""
    symbols = symbol_class.size
    decay = 0.0
    loaded = 0
    for k in range(count):
        here = emission[k * symbols : (k + 1) * symbols]
        wild_here = wild_score + normalizers[t0 + k] if normalize else wild_score
        _gather(scores, base + (t0 + k) * stride, symbol_class, symbol_bias, wild, wild_here, here)
        top = here[0]
        low = here[0]
        for u in range(1, symbols):
            top = max(top, here[u])
            low = min(low, here[u])
        decay += (top - low) * 1.4426950408889634
        if not decay <= MAX_DECAY:
            break
        tops[k] = top
        for u in range(symbols):
            here[u] -= top
        loaded += 1
    for j in range(loaded * symbols):
        emission[j] = fast_exp(emission[j])
    return loaded


@_jit
def _doubled(rows):
    """A copy with room for twice as many rows."""
    larger = np.empty((2 * rows.shape[0], rows.shape[1]), rows.dtype)
    larger[: rows.shape[0], :] = rows
    return larger


@_jit
def _forward_pass(
    scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, symbol, first,
    skip, slack, segment, emission, tops, rows_blank, rows_label, exps, consts, kept_blank, kept_label, kept_exps, kept,
):  # fmt: skip
    """Alpha from the first frame to the last, in segments.

    Returns log p (NaN where the probability domain can't hold it), its exponent without what `tops` divided out, the
    number of segments, and the `kept` arrays, which grow as needed: if they have any rows, each segment's starting
    alpha and exponents, its end and the band before it are stored there.
    """
    keep = kept.shape[0] > 0
    blank, label = rows_blank[0], rows_label[0]
    blank[:] = 0.0
    label[:] = 0.0
    blank[0] = 1.0
    exps[:] = 0
    lo = hi = t = segments = 0
    log_scale = 0.0
    while t < frames:
        count = _load_segment(
            scores, base, stride, t, min(segment, frames - t), symbol_class, symbol_bias, wild, wild_score, normalize,
            normalizers, emission, tops,
        )  # fmt: skip
        if keep:
            if segments == kept.shape[0]:
                kept_blank, kept_label = _doubled(kept_blank), _doubled(kept_label)
                kept_exps, kept = _doubled(kept_exps), _doubled(kept)
            kept_blank[segments, :] = blank
            kept_label[segments, :] = label
            kept_exps[segments, :] = exps.reshape(-1)
            kept[segments, 0], kept[segments, 1], kept[segments, 2] = t + count, lo, hi
        if count == 0 or not renormalize_forward(
            t - 1, lo, hi, first, slack, skip, blank, label, exps[0], exps[1], consts[0], consts[1], consts[2], segment
        ):
            return np.nan, 0, 0, kept_blank, kept_label, kept_exps, kept
        for k in range(count):
            lo, hi = band(t + k, lo, hi, first, slack)
            new_blank, new_label = rows_blank[(k + 1) % 2], rows_label[(k + 1) % 2]
            forward_frame(
                blank, label, new_blank, new_label, lo, hi, consts[0], consts[1], consts[2],
                emission[k * symbol_class.size : (k + 1) * symbol_class.size], symbol,
            )  # fmt: skip
            blank, label = new_blank, new_label
            log_scale += tops[k]
        if count % 2 == 1:
            rows_blank[0, :] = blank
            rows_label[0, :] = label
            blank, label = rows_blank[0], rows_label[0]
        t += count
        segments += 1
    total, exponent = likelihood(blank, label, exps[0], exps[1])
    if not 0.0 < total < np.inf:
        return np.nan, 0, 0, kept_blank, kept_label, kept_exps, kept
    log_p = math.log(total) + exponent * math.log(2.0) + log_scale
    return log_p, exponent + exponent_of(total), segments, kept_blank, kept_label, kept_exps, kept


@_jit
def _backward_segment(
    t0, t1, lo, hi, lo_after, hi_after, first, skip, slack, segment, emission, symbol, rows_blank, rows_label, exps,
    consts, blank, label, beta_exps, scales, total_exp, label_occupancy, occupancy,
):  # fmt: skip
    """Occupancies of the frames [t0, t1), normalized. [lo, hi) is the band before t0, [lo_after, hi_after) at t1.

    Takes beta at t1 in `blank` and `label` and leaves beta at t0. Returns whether the probability domain held it, and
    the band at t0.
    """
    symbols = occupancy.shape[1]
    from_label, from_blank, from_skip = consts[0], consts[1], consts[2]
    ok = renormalize_forward(
        t0 - 1, lo, hi, first, slack, skip, rows_blank[0], rows_label[0], exps[0], exps[1], from_label, from_blank,
        from_skip, segment,
    )  # fmt: skip
    lo, hi = band(t0, lo, hi, first, slack)
    lo_first = lo
    for k in range(t1 - t0):
        lo, hi = band(t0 + k, lo, hi, first, slack)
        forward_frame(
            rows_blank[k], rows_label[k], rows_blank[k + 1], rows_label[k + 1], lo, hi, from_label, from_blank,
            from_skip, emission[k * symbols : (k + 1) * symbols], symbol,
        )  # fmt: skip
    to_label, to_blank, to_skip = consts[0], consts[1], consts[2]
    ok &= renormalize_backward(
        t1, lo_after, hi_after, first, slack, skip, blank, label, beta_exps[0], beta_exps[1], to_label, to_blank,
        to_skip, segment,
    )  # fmt: skip
    joint_scale(lo_first, hi, total_exp, exps[0], exps[1], beta_exps[0], beta_exps[1], scales[0], scales[1])
    lo, hi = lo_after, hi_after
    for k in range(t1 - t0 - 1, -1, -1):
        lo, hi = band_back(t0 + k, lo, hi, first, slack)
        here = occupancy[k]
        here[:] = 0.0
        here[0] = backward_frame(
            blank, label, lo, hi, to_label, to_blank, to_skip, emission[k * symbols : (k + 1) * symbols], symbol,
            rows_blank[k + 1], rows_label[k + 1], scales[0], scales[1], label_occupancy,
        )  # fmt: skip
        for i in range(lo, hi):
            here[symbol[i]] += label_occupancy[i]
        total = 0.0
        for u in range(symbols):
            total += here[u]
        # Every frame's joint probability is the likelihood, whose mantissa is between 1 and 2.
        ok &= 0.99 < total < 2.01
        inverse = 1.0 / total
        for u in range(symbols):
            here[u] *= inverse
    return ok, lo, hi


@_jit
def _log_emissions(
    scores, base, stride, t, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, emission
):
    normalizer = normalizers[t] if normalize else 0.0
    row = base + t * stride
    _gather(scores, row, symbol_class, symbol_bias, wild, wild_score + normalizer, emission)
    for u in range(emission.size):
        emission[u] -= normalizer


@_jit
def _forward_log_space(
    scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, symbol, skip,
    segment, kept,
):  # fmt: skip
    """log p of one example in log space; alphas before the frames 0, segment, 2 * segment ... go to `kept` if it has
    room."""
    alpha = np.empty(2 * symbol.size + 1)
    new = np.empty_like(alpha)
    emission = np.empty(symbol_class.size)
    log_space.start_alpha(alpha)
    for t in range(frames):
        if kept.shape[0] > 0 and t % segment == 0:
            kept[t // segment, :] = alpha
        _log_emissions(
            scores, base, stride, t, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, emission
        )
        log_space.alpha_step(alpha, new, emission, symbol, skip)
        alpha, new = new, alpha
    return log_space.log_total(alpha)


@_jit
def _gradient_log_space(
    scores, gradient, base, stride, frames, classes, symbol_class, symbol_bias, wild, wild_score, normalize,
    normalizers, symbol, skip, segment, factor, tile,
):  # fmt: skip
    """The gradient rows of one example by way of log space."""
    states = 2 * symbol.size + 1
    symbols = symbol_class.size
    kept = np.empty(((frames + segment - 1) // segment, states))
    total = _forward_log_space(
        scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, symbol, skip,
        segment, kept,
    )  # fmt: skip
    alphas = np.empty((segment + 1, states))
    emission = np.empty((segment, symbols))
    occupancy = np.empty((segment, symbols))
    beta = np.empty(states)
    ahead = np.full(states, -np.inf)
    ahead[states - 1] = 0.0
    for index in range(kept.shape[0] - 1, -1, -1):
        t0 = index * segment
        count = min(segment, frames - t0)
        alphas[0, :] = kept[index]
        for k in range(count):
            _log_emissions(
                scores, base, stride, t0 + k, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers,
                emission[k],
            )  # fmt: skip
            log_space.alpha_step(alphas[k], alphas[k + 1], emission[k], symbol, skip)
        for k in range(count - 1, -1, -1):
            log_space.beta_step(ahead, beta, symbol, skip)
            occupancy[k, :] = 0.0
            for s in range(states):
                u = symbol[s // 2] if s % 2 == 1 else 0
                occupancy[k, u] += math.exp(alphas[k + 1, s] + beta[s] - total)
                ahead[s] = beta[s] + emission[k, u]
        write_gradient(
            scores, gradient, base, stride, t0, count, classes, symbol_class, wild, occupancy, normalizers, normalize,
            factor, tile,
        )  # fmt: skip


@_jit
def _losses_task(
    examples, scores, stride, example_stride, classes, targets, input_lengths, target_lengths, blank, bias, wildcard,
    wild_score, normalize, normalizers, losses, tile,
):  # fmt: skip
    """losses[n] of each example n in `examples`, and normalizers[n] if `normalize`."""
    slot = np.full(classes, -1, np.int32)
    none = np.empty((0, 0))
    none_exps = np.empty((0, 0), np.int64)
    for n in examples:
        frames = input_lengths[n]
        labels = target_lengths[n]
        base = n * example_stride
        if normalize:
            log_normalizers(scores, base, stride, frames, classes, tile, normalizers[n])
        symbol = np.empty(labels, np.int32)
        first = np.empty(labels, np.int64)
        skip = np.empty(labels)
        symbol_class = np.empty(labels + 1, np.int64)
        symbol_bias = np.empty(labels + 1)
        symbols, wild = _prepare(
            targets[n, :labels], blank, wildcard, bias, slot, symbol, symbol_class, symbol_bias, first, skip
        )
        symbol_class, symbol_bias = symbol_class[:symbols], symbol_bias[:symbols]
        slack = frames - (first[labels - 1] + 1 if labels > 0 else 0)
        if slack < 0:
            losses[n] = np.inf
            continue
        segment = max(2, min(_SEGMENT, _SEGMENT_STATES // (labels + 1)))
        log_p = _forward_pass(
            scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers[n],
            symbol, first, skip, slack, segment, np.empty(segment * symbols), np.empty(segment),
            np.empty((2, labels + 1)), np.empty((2, labels + 2)), np.empty((2, labels + 1), np.int64),
            np.empty((3, labels + 1)), none, none, none_exps, none_exps,
        )[0]  # fmt: skip
        if math.isnan(log_p):
            log_p = _forward_log_space(
                scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers[n],
                symbol, skip, segment, none,
            )  # fmt: skip
        elif normalize:
            for t in range(frames):
                log_p -= normalizers[n, t]
        losses[n] = -log_p


@_jit
def _gradient_task(
    examples, scores, gradient, stride, example_stride, max_frames, classes, targets, input_lengths, target_lengths,
    blank, bias, wildcard, wild_score, normalize, normalizers, losses, factors, tile,
):  # fmt: skip
    """All gradient rows of each example in `examples`, times its factor."""
    slot = np.full(classes, -1, np.int32)
    for n in examples:
        frames = input_lengths[n]
        labels = target_lengths[n]
        base = n * example_stride
        factor = factors[n]
        fill_rows(gradient, base + frames * stride, stride, max_frames - frames, classes, 0.0)
        if not abs(losses[n]) < np.inf or not abs(factor) < np.inf or factor == 0.0:
            # Impossible: zero, whatever the factor is. Not finite otherwise: NaN, in this example alone.
            zero = losses[n] == np.inf or factor == 0.0
            fill_rows(gradient, base, stride, frames, classes, 0.0 if zero else np.nan)
            continue
        symbol = np.empty(labels, np.int32)
        first = np.empty(labels, np.int64)
        skip = np.empty(labels)
        symbol_class = np.empty(labels + 1, np.int64)
        symbol_bias = np.empty(labels + 1)
        symbols, wild = _prepare(
            targets[n, :labels], blank, wildcard, bias, slot, symbol, symbol_class, symbol_bias, first, skip
        )
        symbol_class, symbol_bias = symbol_class[:symbols], symbol_bias[:symbols]
        slack = frames - (first[labels - 1] + 1 if labels > 0 else 0)
        segment = max(2, min(_SEGMENT, _SEGMENT_STATES // (labels + 1)))
        done = _gradient_scaled(
            scores, gradient, base, stride, frames, classes, symbol_class, symbol_bias, wild, wild_score, normalize,
            normalizers[n], symbol, first, skip, slack, segment, factor, tile,
        )  # fmt: skip
        if not done:
            _gradient_log_space(
                scores, gradient, base, stride, frames, classes, symbol_class, symbol_bias, wild, wild_score,
                normalize, normalizers[n], symbol, skip, segment, factor, tile,
            )  # fmt: skip


@_jit
def _gradient_scaled(
    scores, gradient, base, stride, frames, classes, symbol_class, symbol_bias, wild, wild_score, normalize,
    normalizers, symbol, first, skip, slack, segment, factor, tile,
):  # fmt: skip
    """The gradient rows of one example by way of the probability domain; False where that can't hold it."""
    labels = symbol.size
    symbols = symbol_class.size
    emission = np.empty(segment * symbols)
    tops = np.empty(segment)
    rows_blank = np.empty((segment + 1, labels + 1))
    rows_label = np.empty((segment + 1, labels + 2))
    exps = np.empty((2, labels + 1), np.int64)
    consts = np.empty((3, labels + 1))
    room = frames // segment + 1
    kept_blank = np.empty((room, labels + 1))
    kept_label = np.empty((room, labels + 2))
    kept_exps = np.empty((room, 2 * labels + 2), np.int64)
    kept = np.empty((room, 3), np.int64)
    log_p, total_exp, segments, kept_blank, kept_label, kept_exps, kept = _forward_pass(
        scores, base, stride, frames, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers, symbol,
        first, skip, slack, segment, emission, tops, rows_blank[:2], rows_label[:2], exps, consts, kept_blank,
        kept_label, kept_exps, kept,
    )  # fmt: skip
    if math.isnan(log_p):
        return False
    blank = np.zeros(labels + 1)
    label = np.zeros(labels + 2)
    blank[labels] = 1.0
    beta_exps = np.zeros((2, labels + 1), np.int64)
    scales = np.empty((2, labels + 1))
    label_occupancy = np.empty(labels)
    occupancy = np.empty((segment, symbols))
    lo_after = hi_after = labels
    t1 = frames
    for index in range(segments - 1, -1, -1):
        t0 = kept[index - 1, 0] if index > 0 else 0
        _load_segment(
            scores, base, stride, t0, t1 - t0, symbol_class, symbol_bias, wild, wild_score, normalize, normalizers,
            emission, tops,
        )  # fmt: skip
        rows_blank[0, :] = kept_blank[index]
        rows_label[0, :] = kept_label[index]
        exps[:] = kept_exps[index].reshape(2, labels + 1)
        ok, lo_after, hi_after = _backward_segment(
            t0, t1, kept[index, 1], kept[index, 2], lo_after, hi_after, first, skip, slack, segment, emission, symbol,
            rows_blank, rows_label, exps, consts, blank, label, beta_exps, scales, total_exp, label_occupancy,
            occupancy,
        )  # fmt: skip
        if not ok:
            return False
        write_gradient(
            scores, gradient, base, stride, t0, t1 - t0, classes, symbol_class, wild, occupancy, normalizers,
            normalize, factor, tile,
        )  # fmt: skip
        t1 = t0
    return True


def losses(scores: Tensor, inputs: CTCInputs, normalize: bool) -> tuple[Tensor, Tensor]:
    """Negative log-likelihoods (N,) float64 and, if `normalize`, log-normalizers (N, T) float64, else (N, 0).

    `scores` is (T, N, C): logits if `normalize`, else log-probabilities.
    """
    frames, count, classes = scores.shape
    scores = _dense(scores)
    flat = _flat(scores)
    result = np.empty(count)
    normalizers = np.zeros((count, frames if normalize else 0))
    arguments = _arguments(inputs)

    def task(examples: NDArray[np.int64]) -> None:
        _losses_task(
            examples, flat, scores.stride(0), scores.stride(1), classes, *arguments, normalize, normalizers, result,
            _tile(scores),
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
    scores = _dense(scores)
    target = result if result.stride() == scores.stride() else torch.empty_like(scores)
    flat, flat_gradient = _flat(scores), _flat(target)
    arguments = _arguments(inputs)
    loss_array = loss.detach().to(torch.float64).numpy()
    factor_array = factors.detach().to(torch.float64).contiguous().numpy()
    normalizer_array = normalizers.numpy()

    def task(examples: NDArray[np.int64]) -> None:
        _gradient_task(
            examples, flat, flat_gradient, scores.stride(0), scores.stride(1), frames, classes, *arguments, normalize,
            normalizer_array, loss_array, factor_array, _tile(scores),
        )  # fmt: skip

    run_balanced(task, _costs(classes, inputs))
    return result if target is result else result.copy_(target)


def _dense(scores: Tensor) -> Tensor:
    """`scores`, or a copy if its classes don't lie next to each other or its elements leave gaps or overlap."""
    scores = scores.detach()
    if scores.stride(2) == 1 and torch.empty_like(scores, device="meta").stride() == scores.stride():
        return scores
    return scores.contiguous()


def _flat(scores: Tensor) -> NDArray[np.generic]:
    """The elements in the order of memory, without a copy; bfloat16 as uint16 and float16 as int16."""
    flat = scores.as_strided((scores.numel(),), (1,))
    if scores.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    if scores.dtype == torch.float16:
        return flat.view(torch.int16).numpy()
    return flat.numpy()


def _tile(scores: Tensor) -> NDArray[np.generic]:
    return np.empty(TILE, np.float64 if scores.dtype == torch.float64 else np.float32)


def _arguments(inputs: CTCInputs) -> tuple[object, ...]:
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
