"""Forced alignment on the CPU: ctcrec beside torchaudio.functional.forced_align, in one process.

    python benchmarks/forced_align.py [--repeats 5] [--threads 2] [--hour]

One long recording, and a batch of utterances, which torchaudio aligns one at a time. `--hour` aligns 360,000 frames (an
hour at 10 ms) with 50,000 labels with ctcrec and prints the peak of memory; torchaudio's back-pointers alone would take
36 GB there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from ctcrec.ctc import forced_align


def problem(count: int, frames: int, labels: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(count, frames, classes, generator=generator).log_softmax(dim=2)
    # No repeated labels, so that any target fits.
    steps = torch.randint(1, classes - 1, (count, labels), generator=generator)
    return log_probs, (steps.cumsum(dim=1) % (classes - 1)) + 1


def torchaudio_loop(log_probs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    import torchaudio

    results = [
        torchaudio.functional.forced_align(log_probs[n : n + 1], targets[n : n + 1]) for n in range(len(log_probs))
    ]
    return torch.cat([path for path, _ in results]), torch.cat([scores for _, scores in results])


def seconds(function: object, *arguments: Tensor) -> tuple[float, tuple[Tensor, Tensor]]:
    start = time.perf_counter()
    result = function(*arguments)  # type: ignore[operator]
    return time.perf_counter() - start, result


def compare(name: str, shape: tuple[int, int, int, int], repeats: int) -> None:
    log_probs, targets = problem(*shape)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        time_ours, (paths, scores) = seconds(forced_align, log_probs, targets)
        time_theirs, (peer_paths, peer_scores) = seconds(torchaudio_loop, log_probs, targets)
        ours.append(time_ours)
        theirs.append(time_theirs)
    same = float((paths == peer_paths).double().mean())
    gain = float((scores.double() - peer_scores.double()).sum(dim=1).min())
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"| {name} | {1e3 * a:.1f} | {1e3 * b:.1f} | {b / a:.1f} | {100 * same:.2f} % | {gain:.1e} |", flush=True)


def hour() -> None:
    log_probs, targets = problem(1, 360_000, 50_000, 32)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    taken, (paths, _) = seconds(forced_align, log_probs, targets)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20
    labels = int((torch.unique_consecutive(paths[0]) != 0).sum())
    print(f"\nT360000 L50000 C32: {taken:.0f} s, peak of the whole process {peak:.2f} GiB, {labels} labels placed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hour", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    forced_align(*problem(2, 40, 5, 8))  # compiles
    print(f"torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats, medians\n")
    print("| problem | ctcrec ms | torchaudio ms | ratio | frames alike | least score gained |")
    print("|---|---|---|---|---|---|")
    compare("T15000 L2000 C32, one", (1, 15_000, 2000, 32), options.repeats)
    compare("T1500 L200 C32, batch of 32", (32, 1500, 200, 32), options.repeats)
    if options.hour:
        hour()


if __name__ == "__main__":
    main()
