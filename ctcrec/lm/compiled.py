"""Decorators for compiled functions, typed so that the functions keep their signatures.

A `kernel` is called from Python: it runs without the interpreter lock, and its machine code is kept on disk. An `inner`
function is called by kernels only: leaving out its Python entry halves the time that compiling takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np

__all__ = ["inner", "kernel", "wide"]

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile, on the first call, a function that Python calls."""
    return cast(F, nb.njit(nogil=True, cache=True)(function))


def inner(function: F) -> F:
    """Compile a function that only kernels call."""
    compile_inner = cast(Any, nb.njit)(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return cast(F, compile_inner(function))


@inner
def wide(value: Any) -> Any:
    """`value` as a 64-bit integer, so that a variable has one type and functions are compiled once."""
    return np.int64(value)
