"""Rows of scores and rows of gradient, of any float type: log-normalizers, and the gradient of the CTC loss.

With y = softmax(z) and gamma_t(k) the occupancy of class k at frame t, the gradient of -log p(l|x) with respect to the
logits is y_t(k) * sum_k' gamma_t(k') - gamma_t(k); the sum is 1, less the occupancy of wildcards, which emit no class.
With respect to log-probabilities it is -gamma_t(k). Both passes go through a small buffer, the *tile*, that stays in
the first-level cache: rows of few classes are joined in it, so that the loop over exp is long enough to vectorize.

Scores come as four flat views (float32, float64, bfloat16 as uint16, float16 as int16), of which one has elements:
the kernels are compiled once for all types, and only the loops here for each. The row of frame t starts at
`base + t * stride`.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.ctc.vector_math import fast_exp, from_ordered_bits, narrow, ordered_bits, widen

__all__ = ["fill_rows", "gather", "log_normalizers", "score_views", "tiles", "write_gradient"]

_TILE = 4096  # elements

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
_jit_sums = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")


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
def _log_normalizers(scores, base, stride, frames, classes, tile, normalizers):
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
def _scale_to(tile, factor, gradient):
    for c in range(gradient.size):
        gradient[c] = narrow(tile[c] * factor, gradient[c])


@_jit
def _write_gradient(
    scores, gradient, base, stride, t0, count, classes, symbol_class, wildcard, occupancy, normalizers, normalize,
    factor, tile,
):  # fmt: skip
    """Writes the gradient rows of frames [t0, t0 + count), times `factor`, given occupancy[k, u] of their symbols."""
    if not normalize:
        for k in range(count):
            start = base + (t0 + k) * stride
            row = gradient[start : start + classes]
            _fill_rows(gradient, start, stride, 1, classes, 0.0)
            for u in range(symbol_class.size):
                if u != wildcard:
                    c = symbol_class[u]
                    row[c] = narrow(-factor * occupancy[k, u], row[c])
        return
    rows = max(1, tile.size // classes)
    width = min(classes, tile.size)
    for k0 in range(0, count, rows):
        some = min(rows, count - k0)
        for c0 in range(0, classes, width):
            span = min(width, classes - c0)
            for k in range(some):
                start = base + (t0 + k0 + k) * stride + c0
                shift = tile.dtype.type(normalizers[t0 + k0 + k])
                _subtract(scores[start : start + span], shift, tile[k * span : (k + 1) * span])
            _exp_in_place(tile[: some * span])
            for k in range(some):
                t = t0 + k0 + k
                row = tile[k * span : (k + 1) * span]
                # What rounding the normalizer to the tile's precision left over, and what the wildcard takes away.
                rest = math.exp(np.float64(tile.dtype.type(normalizers[t])) - normalizers[t])
                if wildcard >= 0:
                    rest *= max(0.0, 1.0 - occupancy[k0 + k, wildcard])
                if rest > 0.0:
                    for u in range(symbol_class.size):
                        c = symbol_class[u] - c0
                        if 0 <= c < span and u != wildcard:
                            row[c] -= occupancy[k0 + k, u] / rest
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
def _gather(scores, start, classes, bias, result, k):
    for u in range(classes.size):
        result[k, u] = np.float64(widen(scores[start + classes[u]])) + bias[u]


# Which view has the elements is known at run time only: each of these compiles its loops for every type.


@_jit
def gather(views, start, classes, bias, result, k):
    """result[k, u] = score of class classes[u] + bias[u] in the row at `start`."""
    if views[0].size:
        _gather(views[0], start, classes, bias, result, k)
    elif views[1].size:
        _gather(views[1], start, classes, bias, result, k)
    elif views[2].size:
        _gather(views[2], start, classes, bias, result, k)
    else:
        _gather(views[3], start, classes, bias, result, k)


@_jit
def log_normalizers(views, base, stride, frames, classes, buffers, normalizers):
    """normalizers[t] = logsumexp of row t, in float64. NaN for rows with NaN or +inf, or of -inf alone."""
    if views[0].size:
        _log_normalizers(views[0], base, stride, frames, classes, buffers[0], normalizers)
    elif views[1].size:
        _log_normalizers(views[1], base, stride, frames, classes, buffers[1], normalizers)
    elif views[2].size:
        _log_normalizers(views[2], base, stride, frames, classes, buffers[0], normalizers)
    else:
        _log_normalizers(views[3], base, stride, frames, classes, buffers[0], normalizers)


@_jit
def write_gradient(
    views, gradients, base, stride, t0, count, classes, symbol_class, wildcard, occupancy, normalizers, normalize,
    factor, buffers,
):  # fmt: skip
    """Writes the gradient rows of frames [t0, t0 + count), times `factor`, given occupancy[k, u] of their symbols."""
    if views[0].size:
        _write_gradient(
            views[0],
            gradients[0],
            base,
            stride,
            t0,
            count,
            classes,
            symbol_class,
            wildcard,
            occupancy,
            normalizers,
            normalize,
            factor,
            buffers[0],
        )
    elif views[1].size:
        _write_gradient(
            views[1],
            gradients[1],
            base,
            stride,
            t0,
            count,
            classes,
            symbol_class,
            wildcard,
            occupancy,
            normalizers,
            normalize,
            factor,
            buffers[1],
        )
    elif views[2].size:
        _write_gradient(
            views[2],
            gradients[2],
            base,
            stride,
            t0,
            count,
            classes,
            symbol_class,
            wildcard,
            occupancy,
            normalizers,
            normalize,
            factor,
            buffers[0],
        )
    else:
        _write_gradient(
            views[3],
            gradients[3],
            base,
            stride,
            t0,
            count,
            classes,
            symbol_class,
            wildcard,
            occupancy,
            normalizers,
            normalize,
            factor,
            buffers[0],
        )


@_jit
def fill_rows(gradients, start, stride, count, classes, value):
    """Sets `count` whole rows to `value`."""
    if gradients[0].size:
        _fill_rows(gradients[0], start, stride, count, classes, value)
    elif gradients[1].size:
        _fill_rows(gradients[1], start, stride, count, classes, value)
    elif gradients[2].size:
        _fill_rows(gradients[2], start, stride, count, classes, value)
    elif gradients[3].size:
        _fill_rows(gradients[3], start, stride, count, classes, value)


_VIEWS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def score_views(scores: Tensor) -> tuple[NDArray[Any], ...]:
    """The elements of a dense tensor in the order of memory, without a copy, as one of four views."""
    views: list[NDArray[Any]] = [np.empty(0, dtype) for dtype in (np.float32, np.float64, np.uint16, np.int16)]
    flat = scores.as_strided((scores.numel(),), (1,))
    kind = _VIEWS[scores.dtype]
    half = scores.dtype in (torch.bfloat16, torch.float16)
    array = flat.view(torch.int16).numpy() if half else flat.numpy()
    views[kind] = array.view(views[kind].dtype)
    return tuple(views)


def tiles(scores: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A tile of float32 and one of float64, of which the scores' type needs one."""
    wide = scores.dtype == torch.float64
    return np.empty(0 if wide else _TILE, np.float32), np.empty(_TILE if wide else 0, np.float64)
