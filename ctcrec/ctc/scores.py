"""Rows of scores and rows of gradient, of any float type: what the recursions read and what they leave behind.

With y = softmax(z) and gamma_t(k) the occupancy of class k at frame t, the gradient of -log p(l|x) with respect to the
logits is y_t(k) * sum_k' gamma_t(k') - gamma_t(k); the sum is 1, less the occupancy of wildcards, which emit no class.
With respect to log-probabilities it is -gamma_t(k). Both passes over the classes go through a small buffer, the *tile*,
that stays in the first-level cache: rows of few classes are joined in it, so that the loop over exp is long enough to
vectorize.

Scores are a flat array; frame t of example n starts at n * example_stride + t * stride. Only this module is compiled
for each type of scores; what is read goes to a float64 *buffer*, (T, U) for an example from its offset on: the scores
of the target's U distinct symbols, in whose place the recursions put the symbols' occupancies.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc.vector_math import fast_exp, from_ordered_bits, narrow, ordered_bits, widen
from ctcrec.kernel_cache import cached_njit

__all__ = ["FINITE", "NOT_A_NUMBER", "ZERO", "flat_view", "read_scores", "rows_in_memory", "tile", "write_gradient"]

_TILE = 4096  # elements

# What becomes of an example's gradient.
ZERO, NOT_A_NUMBER, FINITE = 0, 1, 2

_jit = cached_njit(fastmath={"contract", "nsz"}, error_model="numpy")
_jit_sums = cached_njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")


@_jit
def _row_max(row):
    """The largest element; NaN if there is a NaN with the sign bit clear."""
    top = ordered_bits(widen(row[0]))
    for c in range(row.size):
        top = max(top, ordered_bits(widen(row[c])))
    return from_ordered_bits(top)


@_jit
def _exp_in_place(tile):
    for j in range(tile.size):
        tile[j] = fast_exp(tile[j])


@_jit
def _subtract(row, shift, tile):
    for c in range(row.size):
        tile[c] = widen(row[c]) - shift


@_jit_sums
def _sum(tile):
    total = tile.dtype.type(0)
    for j in range(tile.size):
        total += tile[j]
    return total


@_jit
def log_normalizers(scores, base, stride, frames, classes, tile, normalizers):
    """normalizers[t] = logsumexp of row t, in float64. NaN for rows with NaN or +inf, or of -inf alone."""
    rows = max(1, tile.size // classes)
    tops = np.empty(rows)
    width = min(classes, tile.size)
    for t0 in range(0, frames, rows):
        count = min(rows, frames - t0)
        sums = np.zeros(count)
        for c0 in range(0, classes, width):
            span = min(width, classes - c0)
            for k in range(count):
                start = base + (t0 + k) * stride
                if c0 == 0:
                    tops[k] = _row_max(scores[start : start + classes])
                part = scores[start + c0 : start + c0 + span]
                _subtract(part, tile.dtype.type(tops[k]), tile[k * span : (k + 1) * span])
            _exp_in_place(tile[: count * span])
            for k in range(count):
                sums[k] += _sum(tile[k * span : (k + 1) * span])
        for k in range(count):
            normalizers[t0 + k] = tops[k] + math.log(sums[k])


@_jit
def read_scores(
    examples, scores, stride, example_stride, classes, lengths, symbols, symbol_counts, bias, wildcards, wild_score,
    normalize, normalizers, known, tile, buffer, offsets,
):  # fmt: skip
    """Scores of each example's symbols, plus the classes' bias, to the buffer.

    If `normalize`, the log-normalizers are computed first, unless they are `known`. A wildcard, symbol number
    `wildcards[n]` if that is not negative, scores as a class of log-probability `wild_score` would.
    """
    for j in range(examples.size):
        n = examples[j]
        base = n * example_stride
        if normalize and not known:
            log_normalizers(scores, base, stride, lengths[n], classes, tile, normalizers[n])
        used = symbol_counts[n]
        for t in range(lengths[n]):
            row = base + t * stride
            place = offsets[j] + t * used
            for u in range(used):
                c = symbols[n, u]
                value = np.float64(widen(scores[row + c]))
                buffer[place + u] = value + bias[c] if bias.size else value
            if wildcards[n] >= 0:
                buffer[place + wildcards[n]] = wild_score + (normalizers[n, t] if normalize else 0.0)


@_jit
def _scale_to(tile, factor, gradient):
    for c in range(gradient.size):
        gradient[c] = narrow(tile[c] * factor, gradient[c])


@_jit
def _write_sparse(gradient, base, stride, frames, classes, symbols, wildcard, occupancy, factor):
    """Gradient rows with respect to log-probabilities."""
    _fill_rows(gradient, base, stride, frames, classes, 0.0)
    for t in range(frames):
        row = gradient[base + t * stride : base + t * stride + classes]
        for u in range(symbols.size):
            if u != wildcard:
                row[symbols[u]] = narrow(-factor * occupancy[t, u], row[0])


@_jit
def _write_dense(
    scores, gradient, base, stride, frames, classes, symbols, wildcard, occupancy, normalizers, factor, tile
):
    """Gradient rows with respect to logits."""
    rows = max(1, tile.size // classes)
    width = min(classes, tile.size)
    for t0 in range(0, frames, rows):
        some = min(rows, frames - t0)
        for c0 in range(0, classes, width):
            span = min(width, classes - c0)
            for k in range(some):
                start = base + (t0 + k) * stride + c0
                shift = tile.dtype.type(normalizers[t0 + k])
                _subtract(scores[start : start + span], shift, tile[k * span : (k + 1) * span])
            _exp_in_place(tile[: some * span])
            for k in range(some):
                t = t0 + k
                row = tile[k * span : (k + 1) * span]
                # What rounding the normalizer to the tile's precision left over, and what the wildcard takes away.
                rest = math.exp(np.float64(tile.dtype.type(normalizers[t])) - normalizers[t])
                if wildcard >= 0:
                    rest *= max(0.0, 1.0 - occupancy[t, wildcard])
                if rest > 0.0:
                    inverse = 1.0 / rest
                    for u in range(symbols.size):
                        c = symbols[u] - c0
                        if 0 <= c < span and u != wildcard:
                            row[c] -= occupancy[t, u] * inverse
                start = base + t * stride + c0
                _scale_to(row, tile.dtype.type(rest * factor), gradient[start : start + span])


@_jit
def _fill_rows(gradient, start, stride, count, classes, value):
    """Sets `count` whole rows to `value`."""
    for k in range(count):
        row = gradient[start + k * stride : start + k * stride + classes]
        filler = narrow(value, row[0])
        for c in range(classes):
            row[c] = filler


@_jit
def write_gradient(
    examples, scores, gradient, stride, example_stride, max_frames, classes, lengths, symbols, symbol_counts, wildcards,
    normalize, normalizers, factors, fates, tile, buffer, offsets,
):  # fmt: skip
    """All gradient rows of each example, times its factor, given the symbols' occupancies in the buffer.

    `fates[n]` says whether they are zero (ZERO), NaN (NOT_A_NUMBER) or what the occupancies make of them (FINITE).
    """
    for j in range(examples.size):
        n = examples[j]
        frames = lengths[n]
        base = n * example_stride
        _fill_rows(gradient, base + frames * stride, stride, max_frames - frames, classes, 0.0)
        if fates[n] != FINITE:
            _fill_rows(gradient, base, stride, frames, classes, 0.0 if fates[n] == ZERO else np.nan)
            continue
        used = symbol_counts[n]
        occupancy = buffer[offsets[j] : offsets[j] + frames * used].reshape(frames, used)
        if normalize:
            _write_dense(
                scores, gradient, base, stride, frames, classes, symbols[n, :used], wildcards[n], occupancy,
                normalizers[n], factors[n], tile,
            )  # fmt: skip
        else:
            _write_sparse(
                gradient, base, stride, frames, classes, symbols[n, :used], wildcards[n], occupancy, factors[n]
            )


def rows_in_memory(scores: Tensor) -> Tensor:
    """`scores`, or a copy if its classes don't lie next to each other or its elements leave gaps or overlap."""
    scores = scores.detach()
    if scores.stride(2) == 1 and torch.empty_like(scores, device="meta").stride() == scores.stride():
        return scores
    return scores.contiguous()


def flat_view(scores: Tensor) -> NDArray[Any]:
    """The elements of `rows_in_memory` in their order, without a copy; bfloat16 as uint16 and float16 as int16."""
    flat = scores.as_strided((scores.numel(),), (1,))
    if scores.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    if scores.dtype == torch.float16:
        return flat.view(torch.int16).numpy()
    return flat.numpy()


def tile(scores: Tensor) -> NDArray[Any]:
    """A tile for scores of this type: float64 for float64, else float32."""
    return np.empty(_TILE, np.float64 if scores.dtype == torch.float64 else np.float32)
