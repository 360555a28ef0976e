"""Triton kernels that go over whole rows of scores: their log-normalizers, and what every class's gradient starts from.

Each reads the scores once; the second also writes the gradient once. Rows of few classes are taken several at a time.
"""

# Triton compiles the kernels and infers their types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["log_normalizers_kernel", "start_gradient_kernel"]

_INFINITY = tl.constexpr(float("inf"))


@triton.jit(do_not_specialize=["frames", "count"])
def log_normalizers_kernel(
    scores, stride, example_stride, info, normalizers, frames, count, classes,
    F: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """normalizers[n, t] = logsumexp of row t of example n, in float64. NaN for rows with NaN or +inf, or of -inf alone.

    Exponentials and their sums are computed in F, the logarithm in float64.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    t, n = row // count, row % count
    inside = (t < frames) & (t < tl.load(info + n * 5, mask=t < frames, other=0))
    start = scores + t * stride + n * example_stride
    top = tl.full((ROWS,), -_INFINITY, F)
    total = tl.zeros((ROWS,), F)
    for c0 in range(0, classes, BLOCK):
        c = c0 + tl.arange(0, BLOCK)
        here = inside[:, None] & (c < classes)[None, :]
        values = tl.load(start[:, None] + c[None, :], mask=here, other=-_INFINITY).to(F)
        # A maximum may pass NaN over, but the sum keeps it.
        higher = tl.maximum(top, tl.max(values, axis=1))
        shift = tl.where(higher == -_INFINITY, 0.0, higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(values - shift[:, None]), axis=1)
        top = higher
    result = top.to(tl.float64) + tl.log(tl.where(inside, total, 1.0).to(tl.float64))
    hopeless = (top == _INFINITY) | (top == -_INFINITY)
    result = tl.where(hopeless, float("nan"), result)
    tl.store(normalizers + n * frames + t, result, mask=inside)


@triton.jit(do_not_specialize=["frames", "count"])
def start_gradient_kernel(
    scores, stride, example_stride, gradient, gradient_stride, gradient_example_stride, info, losses, factors,
    normalizers, frames, count, classes,
    F: tl.constexpr, NORMALIZE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient as it is for classes that the target doesn't have: factor * softmax if NORMALIZE, else zero.

    Zero beyond an example's frames, and where its loss is +inf or its factor zero; NaN where one is not finite
    otherwise. The columns of `programs(1)` share a row.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    t, n = row // count, row % count
    exists = t < frames
    loss = tl.load(losses + n, mask=exists, other=0.0).to(tl.float64)
    factor = tl.load(factors + n, mask=exists, other=0.0).to(tl.float64)
    zero = (loss == _INFINITY) | (factor == 0.0)
    inside = exists & (t < tl.load(info + n * 5, mask=exists, other=0)) & (zero == 0)
    finite = (loss - loss == 0.0) & (factor - factor == 0.0)
    scale = tl.where(finite, 0.0, float("nan")).to(F)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = exists[:, None] & (c < classes)[None, :]
    if NORMALIZE:
        normalizer = tl.load(normalizers + n * frames + t, mask=inside & finite, other=0.0)
        shift = normalizer.to(F)
        # What rounding the normalizer left over; with NaN it would stay NaN.
        scale += (tl.where(finite, factor, 0.0) * tl.exp(shift.to(tl.float64) - normalizer)).to(F)
        values = tl.load(
            scores + (t * stride + n * example_stride)[:, None] + c[None, :], mask=here & inside[:, None], other=0.0
        )
        result = tl.exp(values.to(F) - shift[:, None]) * scale[:, None]
    else:
        result = tl.zeros((ROWS, BLOCK), F) + scale[:, None]
    result = tl.where(inside[:, None], result, 0.0)
    place = (t * gradient_stride + n * gradient_example_stride)[:, None] + c[None, :]
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=here)
