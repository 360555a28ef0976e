"""Selecting and sorting in scratch memory, for compiled code that must not allocate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ctcrec.lm.compiled import inner

__all__ = ["kth_largest", "sort_descending"]

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]


@inner
def kth_largest(values: Floats, count: int, k: int, scratch: Floats) -> float:
    """The k-th largest of the first `count` values (Hoare's selection)."""
    for i in range(count):
        scratch[i] = values[i]
    low = 0
    high = count - 1
    goal = k - 1
    while low < high:
        pivot = scratch[(low + high) >> 1]
        i = low
        j = high
        while i <= j:
            while scratch[i] > pivot:
                i += 1
            while scratch[j] < pivot:
                j -= 1
            if i <= j:
                scratch[i], scratch[j] = scratch[j], scratch[i]
                i += 1
                j -= 1
        if goal <= j:
            high = j
        elif goal >= i:
            low = i
        else:
            break
    return scratch[goal]


@inner
def sort_descending(keys: Floats, values: Int32s, count: int) -> None:
    """Sort by key, largest first, equal keys in their order (Shell's sort is not stable, so ties go by value)."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            key = keys[i]
            value = values[i]
            j = i
            while j >= gap and (keys[j - gap] < key or (keys[j - gap] == key and values[j - gap] > value)):
                keys[j] = keys[j - gap]
                values[j] = values[j - gap]
                j -= gap
            keys[j] = key
            values[j] = value
        gap //= 3
