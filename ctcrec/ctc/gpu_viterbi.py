"""Viterbi's algorithm on the CTC states in Triton: `alignment.forced_align` on the GPU, for whole batches.

The recursion is that of `viterbi`, in float64 and in the same order, so the paths are the same as on the CPU, ties and
all. Where each state came from takes three bits a pair and frame: 1 for a blank that came from the label before it, 0,
2 or 4 for a label that stayed, or came from the blank, or from the label before. Ten frames are packed in an int32, so
memory grows with 0.4 L T bytes an example; a program's registers hold one tile of LANES pairs, and the last label of a
tile is passed on to the next one through `columns` (N, 2, T).
"""

# Triton compiles the kernels and infers their types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctcrec.ctc.inputs import CTCInputs

__all__ = ["best_paths"]

_TILE = 1024  # labels at most in the registers of one program
_NEVER = tl.constexpr(float("-inf"))
_PACKED = 10  # frames in an int32


@triton.jit(
    do_not_specialize=[
        "stride",
        "example_stride",
        "longest",
        "blank",
        "wildcard",
        "wildcard_score",
        "groups",
        "column_stride",
        "tiles",
    ]
)
def _viterbi_kernel(
    scores, stride, example_stride, targets, input_lengths, target_lengths, wildcard, wildcard_score, longest, blank,
    origins, groups, columns, column_stride, ends, totals, tiles,
    HAS_WILDCARD: tl.constexpr, TILED: tl.constexpr, LANES: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """`origins` (N, groups, longest + 1) of all frames; the last state and the total of the best path."""
    n = tl.program_id(0).to(tl.int64)
    frames, count = tl.load(input_lengths + n).to(tl.int32), tl.load(target_lengths + n).to(tl.int32)
    scores += n * example_stride
    targets += n * longest
    width = (longest + 1).to(tl.int64)
    origins += n * groups * width
    columns += n * 2 * column_stride
    total = tl.where(count == 0, _NEVER, 0.0).to(tl.float64)
    end = 2 * count
    for tile in range(0, tiles):
        lane = tl.arange(0, LANES)
        i = tile * LANES + lane
        inside = i < count
        labels = tl.load(targets + i, mask=inside, other=blank)
        former = tl.load(targets + i - 1, mask=inside & (i > 0), other=blank)
        closed = tl.where((i > 0) & (labels != former), 0.0, _NEVER).to(tl.float64)
        wild = labels == wildcard
        read = inside
        if HAS_WILDCARD:
            read = inside & (wild == 0)
        blanks = tl.where(i == 0, 0.0, _NEVER).to(tl.float64)
        of_labels = tl.full((LANES,), _NEVER, tl.float64)
        own, other = tile % 2 * column_stride, (tile + 1) % 2 * column_stride
        packed = tl.zeros((LANES,), tl.int32)
        next_blank = tl.load(scores + blank, mask=frames > 0, other=0.0)
        next_label = tl.load(scores + labels, mask=read & (frames > 0), other=0.0)
        for t in range(0, frames):
            e_blank, e_label = next_blank.to(tl.float64), next_label.to(tl.float64)
            row = scores + (t + 1) * stride
            next_blank = tl.load(row + blank, mask=t + 1 < frames, other=0.0)
            next_label = tl.load(row + labels, mask=read & (t + 1 < frames), other=0.0)
            if HAS_WILDCARD:
                e_label = tl.where(wild, wildcard_score, e_label)
            moved = tl.gather(of_labels, tl.maximum(lane - 1, 0), 0)
            moved = tl.where(lane == 0, _NEVER, moved)
            if TILED:
                edge = tl.load(columns + other + t, mask=tile > 0, other=_NEVER)
                moved = tl.where(lane == 0, edge, moved)
                tl.store(columns + own + t + 0 * lane, of_labels, mask=lane == LANES - 1)
            entered, skipped = blanks, moved + closed
            origin = (moved > blanks).to(tl.int32)
            blanks = tl.where(moved > blanks, moved, blanks) + e_blank
            best = tl.where(entered > of_labels, entered, of_labels)
            origin += 2 * (entered > of_labels).to(tl.int32)
            origin = tl.where(skipped > best, (origin & 1) + 4, origin)
            of_labels = tl.where(skipped > best, skipped, best) + tl.where(inside, e_label, _NEVER)
            packed = packed | (origin << (3 * (t % PACKED)))
            if (t % PACKED == PACKED - 1) | (t == frames - 1):
                tl.store(origins + (t // PACKED) * width + i, packed, mask=i <= count)
                packed = tl.zeros((LANES,), tl.int32)
        # The last label rather than the last blank, where they are equal.
        last_label = tl.sum(tl.where(i == count - 1, of_labels, 0.0))
        last_blank = tl.sum(tl.where(i == count, blanks, 0.0))
        here = (tile * LANES <= count - 1) & (count - 1 < (tile + 1) * LANES)
        total = tl.where(here, last_label, total)
        end = tl.where(here, 2 * count - 1, end)
        ends_here = (tile * LANES <= count) & (count < (tile + 1) * LANES)
        better = ends_here & (last_blank > total)
        total, end = tl.where(better, last_blank, total), tl.where(better, 2 * count, end)
        if TILED:
            tl.debug_barrier()
    tl.store(ends + n, end)
    tl.store(totals + n, total)


@triton.jit(do_not_specialize=["longest", "blank", "groups", "path_stride"])
def _trace_kernel(
    targets, input_lengths, longest, blank, origins, groups, ends, paths, path_stride, PACKED: tl.constexpr
):
    """Paths (N, T) from `origins`, from the last frame to the first; frames beyond an example's length are left."""
    n = tl.program_id(0).to(tl.int64)
    width = (longest + 1).to(tl.int64)
    targets += n * longest
    origins += n * groups * width
    paths += n * path_stride
    state = tl.load(ends + n)
    frames = tl.load(input_lengths + n).to(tl.int32)
    for step in range(0, frames):
        t = frames - 1 - step
        i = state // 2
        origin = tl.load(origins + (t // PACKED) * width + i) >> (3 * (t % PACKED))
        is_label = state % 2
        label = tl.load(targets + i, mask=is_label == 1, other=blank)
        tl.store(paths + t, tl.where(is_label == 1, label, blank))
        state -= tl.where(is_label == 1, (origin >> 1) & 3, origin & 1)


def best_paths(scores: Tensor, inputs: CTCInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Paths (N, T) int64, their scores (N, T) and totals (N,) float64, not finite where there is no path.

    `scores` is (T, N, C) and every target is feasible. All are on its device.
    """
    scores = scores if scores.stride(2) == 1 else scores.contiguous()
    frames, count, _ = scores.shape
    device, longest = scores.device, inputs.targets.shape[1]
    targets, input_lengths, target_lengths = (
        tensor.to(device, non_blocking=True) for tensor in (inputs.targets, inputs.input_lengths, inputs.target_lengths)
    )
    lanes = min(_TILE, max(32, triton.next_power_of_2(longest + 1)))
    tiles, groups = triton.cdiv(longest + 1, lanes), triton.cdiv(frames, _PACKED)
    paths = torch.full((count, frames), inputs.blank, dtype=torch.int64, device=device)
    totals = torch.empty((count,), dtype=torch.float64, device=device)
    if count == 0 or frames == 0:
        return paths, paths.to(torch.float64), totals.zero_()
    ends = torch.empty((count,), dtype=torch.int32, device=device)
    origins = torch.empty((count, groups, longest + 1), dtype=torch.int32, device=device)
    column = frames if tiles > 1 else 0
    columns = torch.empty((count, 2, column), dtype=torch.float64, device=device)
    _viterbi_kernel[(count,)](
        scores, scores.stride(0), scores.stride(1), targets, input_lengths, target_lengths,
        -1 if inputs.wildcard is None else inputs.wildcard, float(inputs.wildcard_score), longest, inputs.blank,
        origins, groups, columns, column, ends, totals, tiles,
        HAS_WILDCARD=inputs.wildcard is not None, TILED=tiles > 1, LANES=lanes, PACKED=_PACKED,
        num_warps=max(1, min(16, lanes // 32)),
    )  # fmt: skip
    _trace_kernel[(count,)](
        targets,
        input_lengths,
        longest,
        inputs.blank,
        origins,
        groups,
        ends,
        paths,
        frames,
        PACKED=_PACKED,
        num_warps=1,
    )
    wild = paths == inputs.wildcard if inputs.wildcard is not None else torch.zeros_like(paths, dtype=torch.bool)
    along = scores.transpose(0, 1).gather(2, paths.masked_fill(wild, 0).unsqueeze(2)).squeeze(2).to(torch.float64)
    beyond = torch.arange(frames, device=device) >= input_lengths.unsqueeze(1)
    along = along.masked_fill(wild, inputs.wildcard_score).masked_fill(beyond, 0.0)
    # The maximum passes NaN over; a path's own NaN must not stay hidden.
    return paths, along, totals + 0.0 * along.sum(dim=1)
