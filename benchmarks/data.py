"""Preparing and checking a large corpus by its headers: seconds and memory of the commands as users run them.

    python benchmarks/data.py [--kind lines|utterances] [--count 100000] [--folder DIR]

A tree of `--count` pairs is generated (`book/line.png` with `line.gt.txt`, or `speaker/utterance.wav` with
`utterance.txt`): 512 different media, each written many times under names of its own, because headers alone are read.
Then `ctcrec prepare pairs` makes manifests of it and `ctcrec check --headers` checks them, twice: the second time
nothing has changed. Beside them, as the least that any program must do: open each file, read its first 4 KiB, close it.

Memory is the largest sum of the proportional set sizes of all processes of a command (Linux), read five times a second.
The tree has just been written, so it is in the cache of the disk.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

GROUP = 500  # examples of a book or speaker
VARIANTS = 512
WORDS = ("the", "quick", "brown", "foxes", "jumped", "over", "lazy", "dogs", "while", "wizards", "make", "a", "brew")
BARS = "bars: 2 minutes and 1 GiB for prepare and check together"


def texts(generator: np.random.Generator) -> list[str]:
    return [" ".join(generator.choice(WORDS, int(generator.integers(4, 12)))) for _ in range(VARIANTS)]


def encode_line(text: str, generator: np.random.Generator) -> bytes:
    """A gray image as wide as its text is long."""
    image = np.full((32, 20 + 10 * len(text)), 235, np.uint8)
    image[8:24, 10:-10] -= 200 * generator.integers(0, 2, (16, image.shape[1] - 20)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def encode_utterance(text: str, generator: np.random.Generator) -> bytes:
    """A tenth of the samples that speech of this length has, so that the tree stays small."""
    file = io.BytesIO()
    soundfile.write(file, generator.standard_normal(160 * len(text)) * 0.1, 16000, format="WAV")
    return file.getvalue()


def generate(folder: Path, kind: str, count: int) -> None:
    generator = np.random.default_rng(0)
    encode, media_ending, text_ending = {
        "lines": (encode_line, ".png", ".gt.txt"),
        "utterances": (encode_utterance, ".wav", ".txt"),
    }[kind]
    variants = [(text.encode(), encode(text, generator)) for text in texts(generator)]
    size = min(GROUP, count // 50)  # enough groups for both splits
    for number in range(count):
        group = folder / f"{number // size:04}"
        if number % size == 0:
            group.mkdir(parents=True)
        text, medium = variants[number % VARIANTS]
        (group / f"{number:06}{media_ending}").write_bytes(medium)
        (group / f"{number:06}{text_ending}").write_bytes(text)


def touch_all(folder: Path) -> float:
    """Seconds to open each file and read its first 4 KiB, in one process."""
    start = time.perf_counter()
    for directory, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(directory, name), "rb", buffering=0) as file:
                file.read(4096)
    return time.perf_counter() - start


def descendants(root: int) -> list[int]:
    """The process and all below it."""
    found = [root]
    for process in found:
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                found += map(int, Path(f"/proc/{process}/task/{thread}/children").read_text().split())
        except OSError:
            continue
    return found


def proportional_size(root: int) -> float:
    """MiB of a process and all below it, memory that they share counted once."""
    total = 0
    for process in descendants(root):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def measure(name: str, command: Sequence[str | Path]) -> tuple[float, float]:
    """Run `ctcrec ...`; print and return seconds and MiB."""
    before = os.times()
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctcrec", *map(str, command)], stdout=said, stderr=subprocess.STDOUT
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, proportional_size(process.pid))
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        said.seek(0)
        output = said.read()
    if process.returncode:
        raise SystemExit(f"ctcrec {command[0]} failed:\n{output}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)
    print(output, file=sys.stderr)
    return seconds, peak


def run(folder: Path, kind: str, count: int) -> None:
    tree, out = folder / "tree", folder / "manifests"
    start = time.perf_counter()
    generate(tree, kind, count)
    print(f"{count} {kind}, generated in {time.perf_counter() - start:.0f} s; {os.cpu_count()} cores\n")
    print("| step | s | s of CPU | MiB |")
    print("|---|---|---|---|")
    print(f"| open and read 4 KiB of {2 * count} files, one process | {touch_all(tree):.1f} | | |", flush=True)
    prepare = ["prepare", "pairs", tree, "--out", out, "--split", "folders:train=0.9,test=0.1"]
    check = ["check", out / "train.jsonl", out / "test.jsonl", "--headers", "--out", folder / "findings.jsonl"]
    steps = [measure("ctcrec prepare pairs", prepare), measure("ctcrec check --headers", check)]
    measure("the same again, nothing changed", check)
    print(f"\ntogether {sum(s for s, _ in steps):.1f} s, at most {max(m for _, m in steps):.0f} MiB; {BARS}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["lines", "utterances"], default="lines")
    parser.add_argument("--count", type=int, default=100_000, help="at least 50")
    parser.add_argument("--folder", type=Path, help="where to write the tree; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run(Path(folder), options.kind, options.count)


if __name__ == "__main__":
    main()
