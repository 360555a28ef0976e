"""Targets as the compiled recursions read them: their distinct symbols, and when each label can be reached."""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctcrec.ctc.inputs import CTCInputs
from ctcrec.kernel_cache import cached_njit

__all__ = ["Symbols", "read_symbols"]


class Symbols(NamedTuple):
    """The targets of a batch. The blank is the first symbol of each."""

    classes: NDArray[Any]  # (N, U) the class of each distinct symbol; the blank's for the wildcard
    counts: NDArray[Any]  # (N,) how many symbols
    wildcards: NDArray[Any]  # (N,) number of the wildcard among the symbols, or -1
    labels: NDArray[Any]  # (N, L) uint64, number of each label among the symbols
    first: NDArray[Any]  # (N, L) the earliest frame of each label
    skip: NDArray[Any]  # (N, L) 1.0 where the blank before the label may be left out, else 0.0
    slack: NDArray[Any]  # (N,) frames more than the target needs; negative if it doesn't fit


def read_symbols(inputs: CTCInputs, classes: int) -> Symbols:
    """The targets of checked inputs, for scores of so many classes."""
    count, longest = inputs.targets.shape
    symbols = Symbols(
        np.full((count, min(longest, classes) + 2), inputs.blank),
        np.zeros(count, np.int64),
        np.full(count, -1),
        np.zeros((count, longest), np.uint64),
        np.zeros((count, longest), np.int64),
        np.zeros((count, longest)),
        np.zeros(count, np.int64),
    )
    wildcard = -(1 << 62) if inputs.wildcard is None else inputs.wildcard
    targets, lengths = inputs.targets.numpy(), inputs.target_lengths.numpy()
    _read(targets, lengths, inputs.input_lengths.numpy(), wildcard, np.full(classes, -1), symbols)
    return symbols


@cached_njit()
def _read(targets, target_lengths, input_lengths, wildcard, slot, symbols):
    """`slot` (C,) is -1 throughout, before and after each example."""
    for n in range(target_lengths.size):
        used = 1
        repeats = 0
        for i in range(target_lengths[n]):
            label = targets[n, i]
            repeated = i > 0 and targets[n, i - 1] == label
            repeats += repeated
            symbols.first[n, i] = i + repeats
            symbols.skip[n, i] = 0.0 if repeated or i == 0 else 1.0
            number = symbols.wildcards[n] if label == wildcard else slot[label]
            if number < 0:
                number = used
                used += 1
                if label == wildcard:
                    symbols.wildcards[n] = number
                else:
                    slot[label] = number
                    symbols.classes[n, number] = label
            symbols.labels[n, i] = number
        for u in range(used):
            slot[symbols.classes[n, u]] = -1
        symbols.counts[n] = used
        symbols.slack[n] = input_lengths[n] - target_lengths[n] - repeats
