"""CTC on the GPU: negative log-likelihoods and their gradient, from logits or log-probabilities, in Triton kernels.

The forward pass is four launches: `prepare_kernel` reads targets and lengths, `log_normalizers_kernel` the logits,
`start_kernel` runs both recursions to the middle of the frames, `meet_kernel` takes the likelihoods. The backward pass
is two: `start_gradient_kernel` writes the softmax of every row, `finish_kernel` runs the recursions through the other
half and overwrites the classes of the targets. `gpu_recursions` derives them.

Nothing waits for the GPU: sizes follow from the tensors' shapes alone, so all of it can be part of a CUDA graph. No
number is added up by atomics, so results are the same bit for bit every time.

Memory beyond the gradient: 8 bytes for each log-normalizer, and 16 (L + 1) bytes for each pair of states kept. All are
kept where that takes less than a quarter of the logits (few labels, many classes), else about every sqrt(T / 2)-th.
"""

# Triton has no type hints.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctcrec.ctc.gpu_recursions import finish_kernel, meet_kernel, start_kernel
from ctcrec.ctc.gpu_rows import log_normalizers_kernel, start_gradient_kernel
from ctcrec.ctc.gpu_targets import INFEASIBLE, prepare_kernel

__all__ = ["Forward", "Problem", "allocate", "forward", "gradient", "state_posteriors"]

_TILE = 1024  # labels at most in the registers of one program
_SHARE = 0.25  # of the logits' bytes that may be spent on keeping all states


@dataclass(frozen=True, slots=True)
class Problem:
    """What the kernels are called with.

    Attributes:
        scores: (T, N, C), logits if `normalize`, else log-probabilities.
        targets: (N, L), or (sum of lengths,); integers on the device of `scores`.
        input_lengths, target_lengths: (N,) on that device.
        longest: no target that fits has more labels.
        class_bias: (C,) float64 added to log-probabilities, or None.
        wildcard: id in `targets` that any frame matches with log-probability `wildcard_score`, or None.
    """

    scores: Tensor
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    longest: int
    blank: int
    class_bias: Tensor | None
    wildcard: int | None
    wildcard_score: float
    normalize: bool

    @property
    def float_type(self) -> torch.dtype:
        """That of mantissas and of exponentials."""
        return torch.float64 if self.scores.dtype == torch.float64 else torch.float32


@dataclass(frozen=True, slots=True)
class Forward:
    """What the forward pass leaves for the backward pass; see `gpu_recursions`. `losses` (N,) float64."""

    losses: Tensor
    info: Tensor
    chains: Tensor
    normalizers: Tensor
    kept_m: Tensor
    kept_e: Tensor
    last_m: Tensor
    last_e: Tensor
    totals_e: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """All of them, in the order of the constructor."""
        return (
            self.losses, self.info, self.chains, self.normalizers, self.kept_m, self.kept_e, self.last_m, self.last_e,
            self.totals_e,
        )  # fmt: skip

    @property
    def feasible(self) -> Tensor:
        """(N,) bool: whether a target fits its frames, as far as it can be told."""
        return self.info[:, 4] != INFEASIBLE


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How a problem is cut up; follows from shapes and types alone."""

    reach: int  # frames of the longer half
    every_frame: bool  # whether all states are kept
    segment: int  # frames that are gone through at a time in the backward pass
    slots: int  # states kept for each direction
    lanes: int
    tiles: int
    warps: int


def _sizes(problem: Problem, keep: bool) -> _Sizes:
    frames, count, classes = problem.scores.shape
    reach = (frames + 1) // 2
    lanes = min(_TILE, max(32, triton.next_power_of_2(problem.longest + 1)))
    warps = max(1, min(16, lanes // 32))
    pair = 2 * (problem.longest + 1) * (problem.float_type.itemsize + 4)
    every_frame = pair <= _SHARE * classes * problem.scores.element_size()
    segment = max(16, triton.next_power_of_2(round((reach / 2) ** 0.5)))
    slots = 0
    if keep:
        slots = reach if every_frame else max(reach - 1, 0) // segment
    return _Sizes(reach, every_frame, segment, slots, lanes, triton.cdiv(problem.longest + 1, lanes), warps)


def _row_blocks(classes: int) -> tuple[int, int]:
    """Rows and columns that one program takes."""
    columns = min(2048, triton.next_power_of_2(max(classes, 16)))
    return max(1, 1024 // columns), columns


def _float(dtype: torch.dtype) -> tl.dtype:
    return tl.float64 if dtype == torch.float64 else tl.float32


def rows_in_memory(scores: Tensor) -> Tensor:
    """`scores`, or a copy if its classes don't lie next to each other."""
    scores = scores.detach()
    return scores if scores.stride(2) == 1 or scores.shape[2] == 1 else scores.contiguous()


def allocate(problem: Problem, keep: bool) -> Forward:
    """Memory for `forward`; its shapes follow from those of the problem."""
    frames, count, _ = problem.scores.shape
    device, width = problem.scores.device, problem.longest + 1
    sizes, float_type = _sizes(problem, keep), problem.float_type

    def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    return Forward(
        losses=empty(count, dtype=torch.float64),
        info=empty(count, 5),
        chains=empty(count, 3, problem.longest),
        normalizers=empty(count, frames if problem.normalize else 0, dtype=torch.float64),
        kept_m=empty(count, 2, sizes.slots, 2, width, dtype=float_type),
        kept_e=empty(count, 2, sizes.slots, 2, width),
        last_m=empty(count, 2, 2, width, dtype=float_type),
        last_e=empty(count, 2, 2, width),
        totals_e=empty(count),
    )


def forward(problem: Problem, keep: bool) -> Forward:
    """Losses, +inf where a target doesn't fit, NaN where an id or a length is out of range or a score NaN or +inf.

    `keep`: also keep the states that `gradient` needs.
    """
    state = allocate(problem, keep)
    scores = rows_in_memory(problem.scores)
    frames, count, classes = scores.shape
    if count == 0:
        return state
    sizes, float_type, longest = _sizes(problem, keep), problem.float_type, problem.longest
    columns_m, columns_e = _columns(problem, sizes, sizes.reach)
    spoiled = torch.empty((count, 2), dtype=torch.int32, device=scores.device)
    F = _float(float_type)
    targets, lengths = problem.targets, problem.target_lengths
    padded = targets.dim() == 2
    prepare_kernel[(count,)](
        targets, lengths if padded else lengths.cumsum(0) - lengths, problem.input_lengths, lengths, state.chains,
        state.info, frames, classes, problem.blank, 0 if problem.wildcard is None else problem.wildcard,
        targets.stride(0) if padded else 0, targets.stride(-1), targets.shape[-1], longest,
        PADDED=padded, HAS_WILDCARD=problem.wildcard is not None, BLOCK=64,
    )  # fmt: skip
    if problem.normalize and frames:
        rows, columns = _row_blocks(classes)
        log_normalizers_kernel[(triton.cdiv(frames * count, rows),)](
            scores, scores.stride(0), scores.stride(1), state.info, state.normalizers, frames, count, classes,
            F=F, ROWS=rows, BLOCK=columns,
        )  # fmt: skip
    bias = problem.class_bias
    start_kernel[(count, 2)](
        scores, scores.stride(0), scores.stride(1), state.normalizers, state.normalizers if bias is None else bias,
        state.chains, state.info, state.kept_m, state.kept_e, state.last_m, state.last_e, columns_m, columns_e,
        spoiled, frames, problem.blank, float(problem.wildcard_score), longest,
        1 if sizes.every_frame else sizes.segment, sizes.slots, sizes.tiles,
        F=F, NORMALIZE=problem.normalize, HAS_BIAS=bias is not None, HAS_WILDCARD=problem.wildcard is not None,
        TILED=sizes.tiles > 1, LANES=sizes.lanes, num_warps=sizes.warps,
    )  # fmt: skip
    meet_kernel[(count,)](
        state.chains, state.info, state.last_m, state.last_e, spoiled, state.losses, state.totals_e, longest,
        F=F, LANES=256,
    )  # fmt: skip
    return state


def _columns(problem: Problem, sizes: _Sizes, frames: int) -> tuple[Tensor, Tensor]:
    """What tiles pass on to each other in so many frames."""
    shape = (problem.scores.shape[1], 2, 2, frames if sizes.tiles > 1 else 0)
    device = problem.scores.device
    return (
        torch.empty(shape, dtype=problem.float_type, device=device),
        torch.empty(shape, dtype=torch.int32, device=device),
    )


def gradient(problem: Problem, state: Forward, factors: Tensor) -> Tensor:
    """sum_n factors[n] * d loss_n / d scores, (T, N, C) in the dtype of `scores`.

    Zero where a loss is +inf or a factor zero; NaN where a loss or factor is not finite otherwise.
    """
    scores = rows_in_memory(problem.scores)
    result = torch.empty_like(scores)
    if result.stride(2) != 1:
        result = torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)
    frames, count, classes = scores.shape
    if scores.numel() == 0:
        return result
    factors = factors.detach().to(torch.float64).contiguous()
    rows, columns = _row_blocks(classes)
    start_gradient_kernel[(triton.cdiv(frames * count, rows), triton.cdiv(classes, columns))](
        scores, scores.stride(0), scores.stride(1), result, result.stride(0), result.stride(1), state.info,
        state.losses, factors, state.normalizers, frames, count, classes,
        F=_float(problem.float_type), NORMALIZE=problem.normalize, ROWS=rows, BLOCK=columns,
    )  # fmt: skip
    _finish(problem, scores, state, factors, result, states=False)
    return result


def state_posteriors(problem: Problem) -> Tensor:
    """Occupancy of each state at each frame, (T, N, 2 L + 1); zero beyond an example's lengths and without any path."""
    scores = rows_in_memory(problem.scores)
    frames, count, _ = scores.shape
    result = torch.zeros((frames, count, 2 * problem.longest + 1), dtype=problem.float_type, device=scores.device)
    if result.numel():
        state = forward(problem, keep=True)
        _finish(problem, scores, state, torch.ones_like(state.losses), result, states=True)
    return result


def _finish(problem: Problem, scores: Tensor, state: Forward, factors: Tensor, result: Tensor, states: bool) -> None:
    frames, count, classes = scores.shape
    device, width = scores.device, problem.longest + 1
    sizes, float_type = _sizes(problem, keep=True), problem.float_type
    room = (count, 2, sizes.segment, 2, width)
    occupancy = torch.empty(room, dtype=float_type, device=device)
    rows_e = torch.empty((0,) if sizes.every_frame else room, dtype=torch.int32, device=device)
    columns_m, columns_e = _columns(problem, sizes, sizes.segment)
    bias = problem.class_bias
    finish_kernel[(count, 2)](
        scores, scores.stride(0), scores.stride(1), result, result.stride(0), result.stride(1), state.normalizers,
        state.normalizers if bias is None else bias, state.chains, state.info, state.kept_m, state.kept_e,
        state.last_m.clone(), state.last_e.clone(), occupancy, rows_e, occupancy, columns_m, columns_e, state.losses,
        factors, state.totals_e, frames, classes, problem.blank, float(problem.wildcard_score), problem.longest,
        sizes.segment, sizes.slots, sizes.tiles,
        F=_float(float_type), NORMALIZE=problem.normalize, HAS_BIAS=bias is not None,
        HAS_WILDCARD=problem.wildcard is not None, TILED=sizes.tiles > 1, EVERY_FRAME=sizes.every_frame,
        STATES=states, LANES=sizes.lanes, FRAMES=min(16, 4 * sizes.warps), BLOCK=32, num_warps=sizes.warps,
    )  # fmt: skip
