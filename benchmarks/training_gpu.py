"""How busy training keeps a CUDA GPU, and where the time of a step goes.

    python benchmarks/training_gpu.py CONFIG TRAIN.jsonl [--steps 50] [--set training.precision=bfloat16] [--trace F]

Runs `ctcrec train` itself, in a temporary directory, and looks at `--steps` optimizer steps after a warm-up with
PyTorch's profiler. "busy" is the share of the time in which at least one kernel or copy ran on the GPU; the table gives
the operators that took most of it. The profiler costs time on the CPU, so "busy" is too low rather than too high. The
time of a step is also given for as many steps without it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from torch.autograd import DeviceType
from torch.optim.optimizer import register_optimizer_step_post_hook

from ctcrec.config import load_config
from ctcrec.errors import TrainingError
from ctcrec.training import train

_WARM_UP = 20  # steps: kernels are compiled, cuDNN chooses, memory is cached


class _Watch:
    """Called after each optimizer step: times `steps` of them, then profiles as many."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.seconds = self.profiled_seconds = self._since = 0.0
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        self.profiler = torch.profiler.profile(activities=activities)

    def __call__(self, *_: object) -> None:
        self.done += 1
        if self.done not in (_WARM_UP, _WARM_UP + self.steps, _WARM_UP + 2 * self.steps):
            return
        torch.cuda.synchronize()
        now = time.perf_counter()
        if self.done == _WARM_UP + self.steps:
            self.seconds = now - self._since
            self.profiler.start()
        elif self.done == _WARM_UP + 2 * self.steps:
            self.profiled_seconds = now - self._since
            self.profiler.stop()
        self._since = time.perf_counter()


def busy_seconds(profiler: torch.profiler.profile) -> float:
    """The time in which anything ran on the GPU."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == DeviceType.CUDA
    )
    total, reached = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total * 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--trace", type=Path, help="write a trace for chrome://tracing")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU, and PyTorch finds none here; training_step.py is the CPU's")
    sources = f"[{options.manifest}]"
    config = load_config(options.config, [f"data.train={sources}", f"data.valid={sources}", *options.changes])
    watch = _Watch(options.steps)
    handle = register_optimizer_step_post_hook(watch)
    steps = _WARM_UP + 2 * options.steps + 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, Path(folder) / "run", console=Console(quiet=True), stop_after_steps=steps)
        except TrainingError as stopped:
            if watch.done < steps:
                raise stopped
    handle.remove()
    if watch.done < steps - 1:
        sys.exit(f"the training ended after {watch.done} steps; this benchmark needs {steps}: give more data or epochs")
    busy = busy_seconds(watch.profiler)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {options.config.name}, {options.steps} steps")
    print(f"{1e3 * watch.seconds / options.steps:.1f} ms a step; with the profiler", end=" ")
    print(
        f"{1e3 * watch.profiled_seconds / options.steps:.1f} ms, GPU busy {100 * busy / watch.profiled_seconds:.1f} %\n"
    )
    print(watch.profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=20, max_name_column_width=50))
    if options.trace:
        watch.profiler.export_chrome_trace(str(options.trace))


if __name__ == "__main__":
    main()
