"""Work shared out to processes that are forked from this one: they have its models without loading them again.

Python lets one thread of a process run at a time. Reading and scaling many short lines is mostly Python, so threads
gain next to nothing there; processes share nothing that they would have to wait for.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

import torch

from ctcrec.errors import CtcrecError

__all__ = ["can_fork", "in_order", "in_processes", "usable_cores"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_PR_SET_PDEATHSIG = 1  # prctl.h
_work: Callable[[Any], Any]  # of a forked process


def can_fork() -> bool:
    """Whether processes can be forked from this one: on Linux. macOS has `fork`, but its libraries do not bear it."""
    return sys.platform == "linux"


def usable_cores() -> int:
    """How many threads PyTorch takes: the cores that this process may run on, or OMP_NUM_THREADS."""
    return torch.get_num_threads()


def in_order(pool: Executor, work: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int) -> Iterator[_Result]:
    """What `work` gives for each item, in order, with so many items given to the pool ahead of the one waited for."""
    works = (pool.submit(work, item) for item in items)
    waiting = deque(islice(works, ahead))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(islice(works, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def in_processes(work: Callable[[_Item], _Result], items: Iterable[_Item], processes: int) -> Iterator[_Result]:
    """What `work` gives for each item, in order, from forked processes of one thread each.

    `work` may be anything, for it is not sent to them; items and results are pickled. The processes end with the
    iterator, with the thread that began it, and with Ctrl-C. To be called where no other thread holds a lock that
    `work` needs: by programs that have no threads of their own.

    Raises:
        CtcrecError: a process was killed, as the system does when memory runs out.
    """
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes, context, _begin, (work,))
    try:
        yield from in_order(pool, _do, items, 2 * processes)
    except BrokenProcessPool:
        raise CtcrecError(
            "one of the processes that share the work was killed, most likely because memory ran out; what was written"
            " before stays. OMP_NUM_THREADS=1 in the environment makes one process do all"
        ) from None


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from each process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # never left behind, however the parent ends
    torch.set_num_threads(1)


def _do(item: Any) -> Any:
    return _work(item)
