"""Runs compiled tasks over examples on several threads.

The threads are plain Python threads: the kernels release the GIL, and, unlike an OpenMP pool of their own, they get
along with PyTorch's threads, with forked data-loader workers and with callers that are threads themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["run_balanced"]

_LEAST = 1 << 20  # units of cost that a thread must be worth: a millisecond or so; waking one takes part of that

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def run_balanced(task: Callable[[NDArray[np.int64]], object], costs: NDArray[np.float64]) -> None:
    """Calls `task(indices)` so that all indices of `costs` are done once, on as many threads as PyTorch uses.

    `costs` are in units of a nanosecond or so. Where there is little to do, the calling thread does all of it.
    """
    threads = min(torch.get_num_threads(), len(costs), int(costs.sum()) // _LEAST)
    if threads <= 1:
        task(np.arange(len(costs)))
        return
    shares: list[list[int]] = [[] for _ in range(threads)]
    loads = [0.0] * threads
    for index in np.argsort(-costs, kind="stable").tolist():
        lightest = loads.index(min(loads))
        shares[lightest].append(index)
        loads[lightest] += costs[index]
    futures = [_executor(threads).submit(task, np.array(share)) for share in shares[1:]]
    task(np.array(shares[0]))
    for future in futures:
        future.result()


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < threads - 1:
        _pool, _pool_size = ThreadPoolExecutor(threads - 1, thread_name_prefix="ctcrec-ctc"), threads - 1
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_forget_pool)
