"""Decorators for compiled functions, typed so that the functions keep their signatures.

A *kernel* is called from Python: it runs without the interpreter lock, and its machine code is kept on disk. The other
functions are called by kernels only: leaving out their Python entry halves the time that compiling takes.

Tables travel as tuples of arrays. Numba counts references to every array of such a tuple wherever it is passed or
read, which made the search ten times slower, so functions that allocate nothing are compiled without counting
(`lean_kernel`, `inner`, `inlined`): the arrays are the caller's, who keeps them. Numba's switch for it, `_nrt`, refuses
at compile time what would allocate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np

from ctcrec.kernel_cache import cached_njit

__all__ = ["allocating", "inlined", "inner", "kernel", "lean_kernel", "wide"]

F = TypeVar("F", bound=Callable[..., Any])

_njit = cast(Any, nb.njit)
_NO_ENTRY = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile, on the first call, a function that Python calls."""
    return cast(F, cached_njit()(function))


def lean_kernel(function: F) -> F:
    """A kernel that allocates nothing and returns no array."""
    return cast(F, cached_njit(_nrt=False)(function))


def allocating(function: F) -> F:
    """Compile a function that only kernels call, and that may allocate."""
    return cast(F, _njit(**_NO_ENTRY)(function))


def inner(function: F) -> F:
    """Compile a function that only kernels call, and that allocates nothing."""
    return cast(F, _njit(**_NO_ENTRY, _nrt=False)(function))


def inlined(function: F) -> F:
    """The same, compiled into its callers: for small functions in the innermost loops."""
    return cast(F, _njit(**_NO_ENTRY, _nrt=False, forceinline=True)(function))


@inlined
def wide(value: Any) -> Any:
    """`value` as a 64-bit integer, so that a variable has one type and functions are compiled once."""
    return np.int64(value)
