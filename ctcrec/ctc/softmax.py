"""Rows of logits and rows of gradient: log-normalizers, and the gradient of the CTC loss with respect to the scores.

With y = softmax(z) and gamma_t(k) the occupancy of class k at frame t, the gradient of -log p(l|x) with respect to the
logits is y_t(k) * sum_k' gamma_t(k') - gamma_t(k); the sum is 1, less the occupancy of wildcards, which emit no class.
With respect to log-probabilities it is -gamma_t(k). Both passes go through a small buffer, the *tile*, that stays in
the first-level cache: rows of few classes are joined in it, so that the loop over exp is long enough to vectorize.

Scores come as a flat array; the row of frame t starts at `base + t * stride`.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numba
import numpy as np

from ctcrec.ctc.vector_math import fast_exp, narrow, widen

__all__ = ["TILE", "fill_rows", "log_normalizers", "write_gradient"]

TILE = 4096  # elements

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
_jit_sums = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
# The maximum of a row with NaN in it is arbitrary, but the row's sum of exponentials is then NaN all the same.
_jit_max = numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"}, error_model="numpy")


@_jit_max
def _row_max(row):
    top = widen(row[0])
    for c in range(row.size):
        value = widen(row[c])
        top = value if value > top else top
    return top


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
def _scale_to(tile, factor, gradient):
    for c in range(gradient.size):
        gradient[c] = narrow(tile[c] * factor, gradient[c])


@_jit
def write_gradient(
    scores, gradient, base, stride, t0, count, classes, symbol_class, wildcard, occupancy, normalizers, normalize,
    factor, tile,
):  # fmt: skip
    """Writes the gradient rows of frames [t0, t0 + count), times `factor`, given occupancy[k, u] of their symbols."""
    if not normalize:
        for k in range(count):
            start = base + (t0 + k) * stride
            row = gradient[start : start + classes]
            fill_rows(gradient, start, stride, 1, classes, 0.0)
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
def fill_rows(gradient, start, stride, count, classes, value):
    """Sets `count` whole rows to `value`."""
    for k in range(count):
        row = gradient[start + k * stride : start + k * stride + classes]
        filler = narrow(value, row[0])
        for c in range(classes):
            row[c] = filler
