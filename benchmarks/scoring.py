"""`ctcrec score` on a large corpus: time and memory of the whole command, beside jiwer and sclite on the same texts.

    python benchmarks/scoring.py [--utterances 100000] [--words 20] [--sclite] [--out FOLDER]

Utterances are drawn from 20,000 made-up words by Zipf's law; one word in ten of a hypothesis is replaced, dropped or
followed by another. The command reads two files, normalizes, aligns words, characters and graphemes, counts confusions,
draws 1,000 bootstrap resamples by example and by speaker, and prints. jiwer is asked for word and character counts
alone, in a process of its own. With --sclite the program of Debian's `sctk` counts the words of the first 5,000
utterances too, which `--alignment sclite` must equal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_JIWER = """
import sys, jiwer
texts = [[line.rsplit(" (", 1)[0] for line in open(path, encoding="utf-8")] for path in sys.argv[1:]]
for measure in (jiwer.process_words, jiwer.process_characters):
    found = measure(*texts)
    print(found.hits, found.substitutions, found.deletions, found.insertions)
"""
_SCLITE_UTTERANCES = 5000
_SUM = re.compile(r"^\s*\|\s*Sum\s*\|\s*(\d+)\s+(\d+)\s*\|\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", re.MULTILINE)


class Run(NamedTuple):
    """What a command took and printed."""

    seconds: float
    cpu: float
    gib: float
    output: str


def main() -> None:
    """Write the texts, run the commands by turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sclite", action="store_true", help="also run sclite, and compare counts")
    parser.add_argument("--out", type=Path, help="keep the texts here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_texts(folder, arguments.utterances, arguments.words)
        files = [str(folder / name) for name in ("ref.trn", "hyp.trn")]
        score = [sys.executable, "-m", "ctcrec", "score", *files, "--format", "json"]
        commands = {
            "ctcrec score": score,
            "ctcrec score --alignment sclite": [*score, "--alignment", "sclite"],
            "jiwer, word and character counts": [sys.executable, "-c", _JIWER, *files],
        }
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                runs[name].append(run(command))
        print(f"{arguments.utterances} utterances of {arguments.words} words; best of {arguments.repeats}\n")
        print("| command | seconds | CPU seconds | GiB |\n|---|---|---|---|")
        for name, several in runs.items():
            best = min(several)
            print(f"| {name} | {best.seconds:.1f} | {best.cpu:.1f} | {best.gib:.2f} |")
        ours, theirs = counts(runs["ctcrec score"][0].output), jiwer_counts(runs[list(commands)[2]][0].output)
        print(f"\nhits, substitutions, deletions, insertions of words and characters: {ours}; jiwer the same: ", end="")
        print("yes" if ours == theirs else f"NO, {theirs}")
        if arguments.sclite:
            compare_with_sclite(folder)


def write_texts(folder: Path, utterances: int, words: int) -> None:
    """`ref.trn` and `hyp.trn`, of 200 speakers."""
    generator = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(["".join(generator.choice(letters, size)) for size in generator.integers(1, 11, 20_000)])
    ranks = np.minimum(generator.zipf(1.3, (utterances, words)) - 1, len(vocabulary) - 1)
    errors = generator.random((utterances, words))
    others = vocabulary[generator.integers(len(vocabulary), size=(utterances, words))]
    with (folder / "ref.trn").open("w") as references, (folder / "hyp.trn").open("w") as hypotheses:
        for index, (row, error, other) in enumerate(zip(vocabulary[ranks], errors, others, strict=True)):
            name = f"s{index % 200:03}-{index:06}"
            heard = []
            for word, kind, instead in zip(row, error, other, strict=True):
                if kind >= 0.1:
                    heard.append(word)
                elif kind < 0.06:
                    heard.append(instead)
                elif kind < 0.08:
                    heard += [word, instead]
            references.write(f"{' '.join(row)} ({name})\n")
            hypotheses.write(f"{' '.join(heard)} ({name})\n")


def run(command: Sequence[str]) -> Run:
    """Run a command to its end, by itself."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:5]} failed")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(time.perf_counter() - started, cpu, usage.ru_maxrss / 2**20, output)


def counts(output: str) -> list[list[int]]:
    """Of `ctcrec score --format json`."""
    report = json.loads(output)
    names = ("hits", "substitutions", "deletions", "insertions")
    return [[report[unit][name] for name in names] for unit in ("words", "characters")]


def jiwer_counts(output: str) -> list[list[int]]:
    """Of `_JIWER`."""
    return [[int(number) for number in line.split()] for line in output.splitlines()]


def compare_with_sclite(folder: Path) -> None:
    """Words of the first utterances by the program and by `--alignment sclite`."""
    program = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
    if program is None:
        raise SystemExit("sclite is not here; install Debian's sctk")
    files = []
    for side in ("ref", "hyp"):
        lines = (folder / f"{side}.trn").read_text().splitlines()[:_SCLITE_UTTERANCES]
        files.append(folder / f"{side}.first.trn")
        files[-1].write_text("".join(f"{line}\n" for line in lines))
    left, right = map(str, files)
    theirs = run([program, "-s", "-r", left, "trn", "-h", right, "trn", "-i", "spu_id", "-o", "rsum", "stdout"])
    found = _SUM.search(theirs.output)
    if found is None:
        raise SystemExit("sclite's summary cannot be read")
    options = ["--format", "json", "--alignment", "sclite"]
    ours = run([sys.executable, "-m", "ctcrec", "score", left, right, *options])
    words = counts(ours.output)[0]
    print(f"first {_SCLITE_UTTERANCES}: sclite {theirs.seconds:.1f} s, ctcrec {ours.seconds:.1f} s; ", end="")
    print(f"words {words}, sclite's the same: {words == [int(value) for value in found.groups()[2:]]}")


if __name__ == "__main__":
    main()
