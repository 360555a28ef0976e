"""Machine code of compiled functions is kept on disk, and not used any more once the source has changed.

Numba looks only at the file that a kernel is written in. A kernel also holds the code of the functions that it calls,
which are mostly elsewhere, and reads the fields of named tuples by their place; so here it depends on all files of the
package with compiled functions or named tuples.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

__all__ = ["UserFolder", "UserProvidedFolder", "WithSource", "cached_njit", "source_stamp"]

_COMPILES = re.compile(
    rb"^(?:import|from) (?:numba|ctcrec\.kernel_cache|ctcrec\.lm\.compiled)\b|^class \w+\(NamedTuple\)", re.MULTILINE
)


@cache
def source_stamp(package: Path = Path(__file__).parent) -> str:
    """A hash of the sources below `package` that compile functions or define what these may take."""
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if _COMPILES.search(source):
            content.update(f"{path.relative_to(package).as_posix()} {len(source)}\n".encode() + source)
    return content.hexdigest()


class _OfThePackage:
    def get_source_stamp(self) -> str:
        return source_stamp()


class UserProvidedFolder(_OfThePackage, UserProvidedCacheLocator):
    """NUMBA_CACHE_DIR, if it is set."""


class WithSource(_OfThePackage, InTreeCacheLocator):
    """`__pycache__` beside the source, if it can be written."""


class UserFolder(_OfThePackage, UserWideCacheLocator):
    """The user's folder of caches."""


_LOCATORS = ",".join(f"{__name__}.{locator.__name__}" for locator in (UserProvidedFolder, WithSource, UserFolder))


def cached_njit(**options: Any) -> Any:
    """`numba.njit` of functions that Python calls: without the interpreter lock, machine code kept on disk."""

    def decorate(function: Callable[..., Any]) -> Any:
        chosen = numba.config.CACHE_LOCATOR_CLASSES
        numba.config.CACHE_LOCATOR_CLASSES = _LOCATORS  # read while a function is decorated; other packages keep theirs
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        finally:
            numba.config.CACHE_LOCATOR_CLASSES = chosen

    return decorate
