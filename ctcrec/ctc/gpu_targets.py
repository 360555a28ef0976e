"""Triton kernels that read targets and lengths on the GPU: which classes a target has, where, and whether it fits.

Nothing here can raise an error for what a tensor on the GPU holds: that would mean waiting for it. An example with an
id or a length out of range is marked instead, and its loss is NaN.

Labels are compared pair by pair in blocks, L^2 / 2 comparisons that take less time than sorting by several launches.
"""

# Triton compiles the kernels and infers their types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["FEASIBLE", "INFEASIBLE", "INVALID", "WILDCARD", "prepare_kernel"]

FEASIBLE, INFEASIBLE, INVALID = 0, 1, 2  # column 4 of `info`
WILDCARD = -1  # stands for the wildcard among the labels

_WILDCARD = tl.constexpr(WILDCARD)
_FAR = tl.constexpr(1 << 30)


@triton.jit(do_not_specialize=["frames", "classes", "blank", "wildcard", "row_stride", "stride", "limit", "longest"])
def prepare_kernel(
    targets, offsets, input_lengths, target_lengths, chains, info, frames, classes, blank, wildcard, row_stride,
    stride, limit, longest, PADDED: tl.constexpr, HAS_WILDCARD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fills `chains` (N, 3, longest) and `info` (N, 5), both int32, one example a program.

    chains: the labels, WILDCARD for the wildcard; the next position of the same label, `longest` if there is none; the
    first positions of the distinct labels. info: frames, labels, distinct labels, how often the commonest label occurs,
    FEASIBLE or INFEASIBLE or INVALID.

    Targets start at n * row_stride if PADDED, else at offsets[n], and lie `stride` apart; `limit` is the number of
    columns, or of all concatenated targets.
    """
    n = tl.program_id(0).to(tl.int64)
    available = tl.load(input_lengths + n).to(tl.int64)
    count = tl.load(target_lengths + n).to(tl.int64)
    begin = n * row_stride
    end = count
    if not PADDED:
        begin = tl.load(offsets + n)
        end = begin + count
        begin = begin * stride
    wrong = ((available < 0) | (available > frames) | (count < 0) | (begin < 0) | (end > limit)).to(tl.int32)
    # More labels than frames can't fit; they are not read, so a target may be longer than the arrays for it.
    too_long = (count > longest).to(tl.int32)
    base = targets + begin
    count = tl.where((wrong > 0) | (too_long > 0), 0, count).to(tl.int32)
    rows = chains + n * 3 * longest
    distinct, most, repeats = 0, 0, 0
    for i0 in range(0, count, BLOCK):
        i = i0 + tl.arange(0, BLOCK)
        inside = i < count
        label = tl.load(base + i.to(tl.int64) * stride, mask=inside, other=0).to(tl.int64)
        before = tl.load(base + (i - 1).to(tl.int64) * stride, mask=inside & (i > 0), other=0).to(tl.int64)
        odd = (label < 0) | (label >= classes) | (label == blank)
        stored = label
        if HAS_WILDCARD:
            odd = odd & (label != wildcard)
            stored = tl.where(label == wildcard, _WILDCARD, label)
        wrong += tl.sum((inside & odd).to(tl.int32))
        repeats += tl.sum((inside & (i > 0) & (label == before)).to(tl.int32))
        earlier = tl.zeros((BLOCK,), tl.int32)
        following = tl.full((BLOCK,), _FAR, tl.int32)
        for j0 in range(0, count, BLOCK):
            j = j0 + tl.arange(0, BLOCK)
            other = tl.load(base + j.to(tl.int64) * stride, mask=j < count, other=0).to(tl.int64)
            same = (label[:, None] == other[None, :]) & inside[:, None] & (j < count)[None, :]
            earlier += tl.sum((same & (j[None, :] < i[:, None])).to(tl.int32), axis=1)
            later = tl.where(same & (j[None, :] > i[:, None]), j[None, :], _FAR)
            following = tl.minimum(following, tl.min(later, axis=1))
        first = (inside & (earlier == 0)).to(tl.int32)
        place = distinct + tl.cumsum(first, axis=0) - 1
        tl.store(rows + i, stored.to(tl.int32), mask=inside)
        tl.store(rows + longest + i, tl.minimum(following, longest), mask=inside)
        tl.store(rows + 2 * longest + place, i, mask=first > 0)
        distinct += tl.sum(first)
        most = tl.maximum(most, tl.max(tl.where(inside, earlier + 1, 0)))
    fits = (too_long == 0) & (count + repeats <= available)
    fate = tl.where(wrong > 0, 2, tl.where(fits, 0, 1))
    tl.store(info + n * 5, tl.minimum(tl.maximum(available, 0), frames).to(tl.int32))
    tl.store(info + n * 5 + 1, count)
    tl.store(info + n * 5 + 2, distinct)
    tl.store(info + n * 5 + 3, most)
    tl.store(info + n * 5 + 4, fate)
