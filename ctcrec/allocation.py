"""What the commands ask of the C library and of the interpreter: settings of the whole process."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory", "take_short_turns"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGEST = 1 << 30  # bytes; what is larger still comes straight from the system
_NEVER = -1
_TURN = 2e-4  # seconds


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process, for what is asked for next; whether the C library can do that.

    Each step frees tensors of megabytes and asks for as much again. glibc gives them back to the system in between, and
    to get them anew takes a page fault every 4 KiB: a sixth of the time of training and recognition on the CPU. It is a
    setting of the whole process, so only the commands make it; other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; TypeError on Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def take_short_turns() -> None:
    """Let threads hand on the interpreter after a fifth of a millisecond in place of 5.

    Threads that load files and run a model need it for moments between long operations without it; waiting for whole
    turns of the others takes a third of the time of recognizing many short lines.
    """
    sys.setswitchinterval(_TURN)
