"""Machine code on disk is used again, and not after a change in another file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ctcrec
from ctcrec.kernel_cache import source_stamp

PACKAGE = Path(ctcrec.__file__).parent
INNER = "from ctcrec.lm.compiled import inner\n\n@inner\ndef told(n):\n    return n + {}\n"
KERNEL = """
from ctcrec.lm.compiled import kernel
from ctcrec.lm.probe_inner import told

@kernel
def ask(n):
    return told(n)
"""
ASK = """
from ctcrec.lm.probe import ask
answer = ask(1)
print(answer, sum(ask.stats.cache_hits.values()))
"""


def ask(folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_kernel_follows_what_it_calls(tmp_path: Path) -> None:
    """A copy of the package with one kernel more, which calls a function of another file."""
    package = tmp_path / "ctcrec"
    (package / "lm").mkdir(parents=True)
    for name in ("__init__.py", "lm/__init__.py"):
        (package / name).touch()
    for name in ("kernel_cache.py", "lm/compiled.py"):
        (package / name).write_bytes((PACKAGE / name).read_bytes())
    (package / "lm/probe.py").write_text(KERNEL)
    (package / "lm/probe_inner.py").write_text(INNER.format(1))
    assert ask(tmp_path) == "2 0"
    assert ask(tmp_path) == "2 1"
    (package / "lm/probe_inner.py").write_text(INNER.format(5))
    assert ask(tmp_path) == "6 0"
    (package / "lm/notes.py").write_text("import json\n")
    assert ask(tmp_path) == "6 1"  # no compiled function is there


def test_the_stamp_knows_every_compiling_file(tmp_path: Path) -> None:
    stamps = set()
    tuples = "from typing import NamedTuple\n\n\nclass Tables(NamedTuple):\n    first: int\n"
    for text in ("import numba\n", "from numba import njit\n", "from ctcrec.kernel_cache import cached_njit\n", tuples):
        (tmp_path / "a.py").write_text(f'"""Words."""\n{text}')
        stamps.add(source_stamp.__wrapped__(tmp_path))
    (tmp_path / "a.py").write_text("import json\n")
    nothing = source_stamp.__wrapped__(tmp_path)
    assert len({*stamps, nothing}) == 5
