"""Examples are shared out among threads: each is done once, and small calls stay on the calling thread."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctcrec.ctc.threads import run_balanced


def shares_of(costs: list[float], threads: int) -> list[tuple[int, list[int]]]:
    """(thread, examples) of each call of the task."""
    calls = []

    def task(indices: NDArray[np.int64]) -> None:
        calls.append((threading.get_ident(), indices.tolist()))

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run_balanced(task, np.array(costs))
    finally:
        torch.set_num_threads(before)
    return calls


def test_long_calls_are_shared_evenly() -> None:
    costs = [9e6, 1e6, 4e6, 4e6]
    calls = shares_of(costs, 2)
    assert len({thread for thread, _ in calls}) == 2
    assert sorted(sum((indices for _, indices in calls), [])) == [0, 1, 2, 3]
    assert sorted(sum(costs[index] for index in indices) for _, indices in calls) == [9e6, 9e6]


@pytest.mark.parametrize(("costs", "threads"), [([1e4] * 8, 2), ([1e9], 2), ([1e9] * 3, 1)])
def test_little_work_and_one_example_stay_on_the_calling_thread(costs: list[float], threads: int) -> None:
    assert shares_of(costs, threads) == [(threading.get_ident(), list(range(len(costs))))]
