"""Work shared out to forked processes: in order, with every error told, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import ctcrec.recognizer
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CtcrecError, MediaError
from ctcrec.processes import can_fork, in_processes
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes are forked on Linux only")


def test_results_come_in_order_from_other_processes() -> None:
    offset = 100  # what a process knows without having been sent it

    def work(number: int) -> tuple[int, int, int]:
        time.sleep(0.05 if number == 0 else 0.0)  # the first is the last to be ready
        return number + offset, os.getpid(), torch.get_num_threads()

    results = list(in_processes(work, range(9), 2))
    assert [number for number, _, _ in results] == list(range(100, 109))
    processes = {process for _, process, _ in results}
    assert 1 <= len(processes) <= 2 and os.getpid() not in processes
    assert {threads for _, _, threads in results} == {1}


def test_only_some_items_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = in_processes(abs, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 6
    results.close()
    assert len(taken) <= 6


def test_an_error_in_a_process_is_raised_here() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise MediaError("b.png: is empty")
        return number

    results = in_processes(work, range(4), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(MediaError, match="b.png: is empty"):
        next(results)


def test_a_killed_process_is_told() -> None:
    def work(number: int) -> int:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(CtcrecError, match="was killed, most likely because memory ran out"):
        list(in_processes(work, range(4), 2))


_PARENT = """
import os, sys, time
from ctcrec.processes import in_processes
def work(number):
    if number:
        time.sleep(60)
    return os.getpid()
for process in in_processes(work, range(3), 2):
    print(process, flush=True)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_when_their_parent_is_killed(signal_number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.send_signal(signal_number)
        parent.wait(20)
    for _ in range(100):
        if not _runs(process):
            break
        time.sleep(0.1)
    assert not _runs(process)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_transcripts_are_the_same_from_processes(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer.load(trained.run, "cpu")
    broken = tmp_path / f"broken{read_manifest(trained.train)[0].source.suffix}"
    broken.write_bytes(b"no medium")
    examples = [*read_manifest(trained.train), Example("broken", broken), *read_manifest(trained.test)]
    monkeypatch.setattr(ctcrec.recognizer, "_WINDOW", 7)
    monkeypatch.setattr(ctcrec.recognizer, "_FEWEST", 4)
    expected = list(recognizer.transcribe_all(examples))
    used = []
    monkeypatch.setattr(ctcrec.recognizer, "in_processes", lambda *given: used.append(given[2]) or in_processes(*given))
    counts: list[int] = []
    found = list(recognizer.transcribe_all(examples, counts.append, processes=2))
    assert used == [2] and counts[-1] == len(examples)
    assert [transcript.example for transcript in found] == examples
    for one, other in zip(expected, found, strict=True):
        if one.hypothesis is None:
            assert (
                other.hypothesis is None and str(one.error) == str(other.error) and type(one.error) is type(other.error)
            )
            continue
        assert other.hypothesis is not None
        assert (one.hypothesis.text, one.hypothesis.score) == (other.hypothesis.text, other.hypothesis.score)
        assert list(one.hypothesis.word_spans) == list(other.hypothesis.word_spans)
    few = list(recognizer.transcribe_all(examples[:7], processes=2))  # not worth forking
    assert used == [2] and len(few) == 7
