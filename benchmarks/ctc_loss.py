"""The CTC loss from logits, forward and backward: ctcrec beside PyTorch's log_softmax + ctc_loss, in one process.

    python benchmarks/ctc_loss.py [--repeats 7] [--threads 2] [--plot benchmarks/ctc_loss.svg]

Prints, for each shape, milliseconds (the median, ours and the peer's taken in turn), their ratio, the ratio of the CPU
time of all threads (which other programs on the machine disturb less), the largest error of the float32 gradient
against PyTorch's in float64, and the peak of memory beyond the logits, in a process of its own, as a multiple of the
logits' size. Targets are random, every target and input has full length.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ctcrec.ctc import ctc_loss_from_logits

# T frames, N examples, C classes, L labels
SHAPES = [
    (400, 32, 30, 150),
    (1000, 16, 30, 200),
    (250, 32, 1000, 60),
    (250, 32, 5000, 60),
    (128, 64, 80, 60),
    (1500, 8, 500, 300),
    (6000, 4, 32, 1000),
]

PAUSE = 0.05  # seconds; until then, the OpenMP threads of PyTorch's last step spin

Loss = Callable[..., Tensor]


def pytorch(logits: Tensor, *arguments: Tensor, reduction: str = "mean") -> Tensor:
    return functional.ctc_loss(logits.log_softmax(dim=2), *arguments, reduction=reduction)


IMPLEMENTATIONS: dict[str, Loss] = {"ctcrec": ctc_loss_from_logits, "pytorch": pytorch}


def problem(shape: tuple[int, ...]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    frames, count, classes, labels = shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, count, classes, generator=generator)
    targets = torch.randint(1, classes, (count, labels), generator=generator)
    return logits, (targets, torch.full((count,), frames), torch.full((count,), labels))


def step(loss: Loss, logits: Tensor, arguments: tuple[Tensor, ...]) -> tuple[float, float]:
    """Seconds of one forward and backward pass, on the clock and of all threads' CPU time."""
    logits.grad = None
    time.sleep(PAUSE)
    start, start_cpu = time.perf_counter(), time.process_time()
    loss(logits, *arguments).backward()
    return time.perf_counter() - start, time.process_time() - start_cpu


def gradient(loss: Loss, logits: Tensor, arguments: tuple[Tensor, ...]) -> Tensor:
    scores = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(scores, *arguments, reduction="sum"), scores)[0]


def peak_memory(name: str, shape: tuple[int, ...]) -> float:
    """Peak of memory beyond the logits over the logits' size, measured in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", name, *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _resident(key: str) -> int:
    """Bytes of `key` (VmRSS or VmHWM) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status: memory can be measured on Linux only")


def measure_memory(name: str, shape: tuple[int, ...]) -> float:
    loss = IMPLEMENTATIONS[name]
    small, arguments = problem((20, 4, 8, 4))
    step(loss, small.requires_grad_(), arguments)  # compiles, starts threads
    logits, arguments = problem(shape)
    logits.requires_grad_()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    step(loss, logits, arguments)
    return (_resident("VmHWM") - before) / (logits.numel() * 4)


def plot(rows: list[tuple[str, float, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [row[0] for row in rows][::-1]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
    bars = left.barh(names, [row[1] for row in rows][::-1], color="#2a6f97")
    left.bar_label(bars, fmt="%.1f×", padding=3)
    left.axvline(1.0, color="black", linewidth=0.8)
    left.set_xlabel("times as fast as log_softmax + torch ctc_loss")
    left.margins(x=0.15)
    right.plot([row[3] for row in rows][::-1], names, "o", color="#c1121f", label="PyTorch")
    right.plot([row[2] for row in rows][::-1], names, "o", color="#2a6f97", label="ctcrec")
    right.set_xscale("log")
    right.set_xlabel("largest gradient error against float64")
    right.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-of", nargs=5, metavar=("NAME", "T", "N", "C", "L"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(measure_memory(options.memory_of[0], tuple(map(int, options.memory_of[1:]))))
        return
    print(f"torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats, medians\n")
    print("| shape | ctcrec ms | PyTorch ms | ratio | CPU ratio | error | error PyTorch | memory | memory PyTorch |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for shape in SHAPES:
        name = "T{} N{} C{} L{}".format(*shape)
        logits, arguments = problem(shape)
        exact = gradient(pytorch, logits.double(), arguments)
        errors = {
            key: float((gradient(loss, logits, arguments) - exact).abs().max()) for key, loss in IMPLEMENTATIONS.items()
        }
        del exact
        logits.requires_grad_()
        seconds: dict[str, list[tuple[float, float]]] = {key: [] for key in IMPLEMENTATIONS}
        for _ in range(options.repeats):
            for key, loss in IMPLEMENTATIONS.items():
                seconds[key].append(step(loss, logits, arguments))
        ours, theirs = (statistics.median(wall for wall, _ in seconds[key]) for key in IMPLEMENTATIONS)
        ours_cpu, theirs_cpu = (statistics.median(cpu for _, cpu in seconds[key]) for key in IMPLEMENTATIONS)
        memory = ["–", "–"]
        if not options.no_memory:
            memory = [f"{peak_memory(key, shape):.2f}" for key in IMPLEMENTATIONS]
        rows.append((name, theirs / ours, errors["ctcrec"], errors["pytorch"]))
        error = f"{errors['ctcrec']:.1e} | {errors['pytorch']:.1e}"
        times = f"{1e3 * ours:.1f} | {1e3 * theirs:.1f} | {theirs / ours:.1f} | {theirs_cpu / ours_cpu:.1f}"
        print(f"| {name} | {times} | {error} | {memory[0]} | {memory[1]} |", flush=True)
    mean = math.exp(statistics.fmean(math.log(row[1]) for row in rows))
    print(f"\ngeometric mean of the ratios {mean:.1f}, smallest {min(row[1] for row in rows):.1f}")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
