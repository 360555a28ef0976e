"""Freed memory stays with the process, so that using it again takes no page faults; threads take short turns."""

import os
import platform
import subprocess
import sys

import pytest

from ctcrec.allocation import take_short_turns

_FAULTS = """
import resource, sys
import torch
from ctcrec.allocation import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def fill():
    parts = [torch.ones(1 << 18) for _ in range(4)]
    large = torch.ones(1 << 24)
for _ in range(5):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    command = [sys.executable, "-c", _FAULTS, how]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    assert page_faults("give back") > 10_000
    assert page_faults("keep") < 100


def test_a_thread_does_not_wait_a_whole_turn_of_the_others() -> None:
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)  # Python's own; commands that other tests run set it too
        take_short_turns()
        assert sys.getswitchinterval() <= 0.0005
    finally:
        sys.setswitchinterval(before)
