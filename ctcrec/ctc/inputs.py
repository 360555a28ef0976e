"""Checks and normal form of the arguments that all CTC functions share.

Targets and lengths are read on the CPU once, checked, and brought to one form: padded (N, L) int64 targets and (N,)
int64 lengths. An error names the example and what is wrong with it.

The arithmetic is NumPy's: PyTorch's could wake its OpenMP threads, which then spin for milliseconds on the cores that
the kernels need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcrec.errors import InputError

__all__ = [
    "CTCInputs",
    "Lengths",
    "check_inputs",
    "check_scores",
    "check_unread",
    "is_feasible",
    "lengths_tensor",
    "min_frames",
]

Lengths = Tensor | Sequence[int] | int
Integers = NDArray[np.int64]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class CTCInputs:
    """Checked arguments. Integer tensors are int64 on the CPU.

    Attributes:
        targets: (N, L), `blank` beyond each target's length.
        input_lengths: (N,) frames.
        target_lengths: (N,) labels.
        blank: class of the blank.
        class_bias: (C,) float64 added to every frame's log-probabilities (label priors), or None.
        wildcard: id in `targets` that any frame matches with log-probability `wildcard_score`, or None.
    """

    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    blank: int
    class_bias: Tensor | None = None
    wildcard: int | None = None
    wildcard_score: float = 0.0

    @property
    def required_frames(self) -> Tensor:
        """(N,) the fewest frames that each target fits: labels + repeats."""
        return torch.from_numpy(_labels_and_repeats(self.targets.numpy(), self.target_lengths.numpy()))

    @property
    def feasible(self) -> Tensor:
        """(N,) bool."""
        return self.required_frames <= self.input_lengths


def min_frames(targets: Sequence[int] | Tensor) -> int:
    """The fewest frames that one target fits: its labels, and one blank between each two equal neighbours."""
    labels = targets.tolist() if isinstance(targets, Tensor) else list(targets)
    return len(labels) + sum(1 for left, right in zip(labels, labels[1:], strict=False) if left == right)


def is_feasible(targets: Sequence[int] | Tensor, frames: int) -> bool:
    """Whether one target fits `frames` frames (labels + repeats <= frames)."""
    return min_frames(targets) <= frames


def lengths_tensor(lengths: Lengths, name: str) -> Tensor:
    """Lengths given as tensor, sequence or int, as a tensor."""
    if isinstance(lengths, Tensor):
        return lengths
    try:
        return torch.as_tensor(lengths, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must hold integers, got {lengths!r}") from error


def check_inputs(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    class_bias: Tensor | None = None,
    wildcard: int | None = None,
    wildcard_score: float = 0.0,
) -> CTCInputs:
    """Checks everything that the kernels rely on, for `scores` (T, N, C).

    Raises:
        InputError: naming the argument, or the example and the position, that is wrong.
    """
    check_scores(scores, blank, wildcard, class_bias)
    frames, count, classes = scores.shape
    frames_of = _check_lengths(input_lengths, "input_lengths", count, frames, "frames in the scores")
    padded, labels_of = _pad_targets(targets, target_lengths, count, blank)
    _check_labels(padded, labels_of, blank, classes, wildcard)
    if class_bias is not None:
        class_bias = class_bias.detach().to("cpu", torch.float64)
    return CTCInputs(
        torch.from_numpy(padded),
        torch.from_numpy(frames_of),
        torch.from_numpy(labels_of),
        blank,
        class_bias,
        wildcard,
        float(wildcard_score),
    )


def check_scores(scores: Tensor, blank: int, wildcard: int | None, class_bias: Tensor | None) -> None:
    """The part of `check_inputs` that looks at no target and no length. Raises InputError likewise."""
    if scores.dim() != 3:
        raise InputError(f"expected scores of shape (T, N, C) or (T, C), got {tuple(scores.shape)}")
    if scores.dtype not in _FLOATS:
        raise InputError(f"scores must be float32, float64, bfloat16 or float16, got {scores.dtype}")
    classes = scores.shape[2]
    if not 0 <= blank < classes:
        raise InputError(f"blank must be in 0..{classes - 1} (there are {classes} classes), got {blank}")
    if wildcard is not None and 0 <= wildcard < classes:
        raise InputError(f"wildcard must be an id outside the classes 0..{classes - 1}, got {wildcard}")
    if class_bias is not None and class_bias.shape != (classes,):
        raise InputError(f"label priors must have shape ({classes},), got {tuple(class_bias.shape)}")


def check_unread(scores: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> None:
    """The types and shapes of targets and lengths, without reading those that are on a GPU, which would mean waiting
    for it; lengths on the CPU are checked whole. Raises InputError."""
    frames, count, _ = scores.shape
    for values, name in ((targets, "targets"), (input_lengths, "input_lengths"), (target_lengths, "target_lengths")):
        if values.dtype not in _INTEGERS:
            raise InputError(f"{name} must have an integer dtype, got {values.dtype}")
    for lengths, name in ((input_lengths, "input_lengths"), (target_lengths, "target_lengths")):
        if lengths.numel() != count:
            raise InputError(f"{name} has {lengths.numel()} entries for a batch of {count}")
    if targets.dim() != 1 and (targets.dim() != 2 or len(targets) != count):
        raise InputError(f"targets must be ({count}, L) or concatenated (sum of lengths,), got {tuple(targets.shape)}")
    if input_lengths.device.type == "cpu":
        _check_lengths(input_lengths, "input_lengths", count, frames, "frames in the scores")
    if target_lengths.device.type == "cpu":
        _check_lengths(target_lengths, "target_lengths", count, targets.shape[-1], "columns of targets")


def _integers(values: Tensor, name: str) -> Integers:
    if values.dtype not in _INTEGERS:
        raise InputError(f"{name} must have an integer dtype, got {values.dtype}")
    return values.detach().cpu().numpy().astype(np.int64, copy=False)


def _check_lengths(lengths: Tensor, name: str, count: int, limit: int, what: str) -> Integers:
    numbers = _integers(lengths, name).reshape(-1)
    if len(numbers) != count:
        raise InputError(f"{name} has {len(numbers)} entries for a batch of {count}")
    wrong = (numbers < 0) | (numbers > limit)
    if wrong.any():
        n = int(wrong.argmax())
        raise InputError(f"{name}[{n}] is {numbers[n]}; expected 0..{limit}, the number of {what}")
    return np.ascontiguousarray(numbers)


def _pad_targets(targets: Tensor, target_lengths: Tensor, count: int, blank: int) -> tuple[Integers, Integers]:
    """Padded targets (N, L) from padded or concatenated ones, `blank` beyond each length."""
    labels = _integers(targets, "targets")
    if labels.ndim == 1:
        lengths = _check_lengths(target_lengths, "target_lengths", count, len(labels), "targets")
        if lengths.sum() != len(labels):
            raise InputError(
                f"concatenated targets have {len(labels)} entries, but target_lengths add up to {lengths.sum()}"
            )
    elif labels.ndim == 2 and len(labels) == count:
        lengths = _check_lengths(target_lengths, "target_lengths", count, labels.shape[1], "columns of targets")
    else:
        raise InputError(f"targets must be ({count}, L) or concatenated (sum of lengths,), got {tuple(targets.shape)}")
    longest = int(lengths.max(initial=0))
    inside = np.arange(longest) < lengths[:, None]
    padded = np.full((count, longest), blank, dtype=np.int64)
    padded[inside] = labels if labels.ndim == 1 else labels[:, :longest][inside]
    return padded, lengths


def _check_labels(padded: Integers, lengths: Integers, blank: int, classes: int, wildcard: int | None) -> None:
    inside = np.arange(padded.shape[1]) < lengths[:, None]
    wrong = inside & ((padded < 0) | (padded >= classes) | (padded == blank))
    if wildcard is not None:
        wrong &= padded != wildcard
    if wrong.any():
        n, i = np.argwhere(wrong)[0]
        label = padded[n, i]
        reason = "is the blank" if label == blank else f"is outside the classes 0..{classes - 1}"
        raise InputError(f"target {label} of example {n} at position {i} {reason}")


def _labels_and_repeats(padded: Integers, lengths: Integers) -> Integers:
    inside = np.arange(1, padded.shape[1]) < lengths[:, None]
    repeats = (padded[:, 1:] == padded[:, :-1]) & inside
    return lengths + repeats.sum(axis=1)
