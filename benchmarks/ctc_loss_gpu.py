"""The CTC loss from logits on a CUDA GPU, forward and backward: ctcrec beside PyTorch's two, in one process.

    python benchmarks/ctc_loss_gpu.py [--repeats 50] [--dtype float32]

Shapes are those of `ctc_loss.py`. Peers get the form of targets and
lengths that suits each best: PyTorch's own kernels targets on the GPU and lengths on the CPU, cuDNN's int32 targets on
the CPU, where it takes the shape at all (fewer than 256 labels, blank 0, full lengths, float32). Times are of CUDA
events around one step, medians, the implementations by turns; "graph" is ctcrec's step replayed from a CUDA graph, so
without Python's share. "copies" is ctcrec's time over that of copying a tensor as large as the logits, which is the
least that reading the logits and writing a gradient can take. "memory" is the peak beyond the logits, gradient
included, in multiples of the logits' size. "error" is the largest error of the gradient against float64.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable

import torch
from ctc_loss import SHAPES
from torch import Tensor
from torch.nn import functional

from ctcrec.ctc import ctc_loss_from_logits

Step = Callable[[Tensor], Tensor]


def problem(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits and targets on the GPU, lengths on the CPU."""
    frames, count, classes, labels = shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, count, classes, generator=generator).to("cuda", dtype)
    targets = torch.randint(1, classes, (count, labels), generator=generator)
    return logits, targets.cuda(), torch.full((count,), frames), torch.full((count,), labels)


def implementations(
    targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, dtype: torch.dtype
) -> dict[str, Step]:
    """Losses of logits, each with the arguments that suit it."""
    on_gpu = input_lengths.cuda(), target_lengths.cuda()
    joined = targets.flatten().int().cpu()
    on_cpu = input_lengths.int(), target_lengths.int()

    def ctcrec(logits: Tensor) -> Tensor:
        return ctc_loss_from_logits(logits, targets, *on_gpu, reduction="sum")

    def native(logits: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            log_probs = logits.log_softmax(dim=2, dtype=torch.float32)
            return functional.ctc_loss(log_probs, targets, input_lengths, target_lengths, reduction="sum")

    def cudnn(logits: Tensor) -> Tensor:
        return functional.ctc_loss(logits.log_softmax(dim=2), joined, *on_cpu, reduction="sum")

    found = {"ctcrec": ctcrec, "native": native}
    if int(target_lengths.max()) < 256 and dtype == torch.float32:
        found["cudnn"] = cudnn
    return found


def step(loss: Step, logits: Tensor) -> Tensor:
    """The gradient."""
    return torch.autograd.grad(loss(logits), logits)[0]


def milliseconds(function: Callable[[], object]) -> float:
    """Of one call, by events on the GPU."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def in_a_graph(loss: Step, logits: Tensor) -> Callable[[], object]:
    """Replays one step."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(loss, logits)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(loss, logits)
    return graph.replay


def memory(loss: Step, logits: Tensor) -> float:
    """Peak beyond the logits over the logits' size."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradient = step(loss, logits)
    torch.cuda.synchronize()
    del gradient
    return (torch.cuda.max_memory_allocated() - before) / (logits.numel() * logits.element_size())


def measure(shape: tuple[int, ...], dtype: torch.dtype, repeats: int) -> float:
    """Prints a row; the fastest peer's time over ctcrec's."""
    logits, *arguments = problem(shape, dtype)
    losses = implementations(*arguments, dtype)
    double = logits.double().requires_grad_()
    with torch.backends.cudnn.flags(enabled=False):
        value = functional.ctc_loss(double.log_softmax(dim=2), *arguments, reduction="sum")
    (exact,) = torch.autograd.grad(value, double)
    logits.requires_grad_()
    errors = {name: float((step(loss, logits).double() - exact).abs().max()) for name, loss in losses.items()}
    del exact, double, value
    peaks = {name: memory(loss, logits) for name, loss in losses.items()}
    times: dict[str, list[float]] = {name: [] for name in losses}
    source, target = torch.empty_like(logits), torch.empty_like(logits)
    copies = []
    for _ in range(repeats):
        for name, loss in losses.items():
            times[name].append(milliseconds(lambda loss=loss: step(loss, logits)))  # type: ignore[misc]
        copies.append(milliseconds(lambda: target.copy_(source)))
    replay = in_a_graph(losses["ctcrec"], logits)
    graph = statistics.median(milliseconds(replay) for _ in range(repeats))
    medians = {name: statistics.median(values) for name, values in times.items()}
    copy = statistics.median(copies)
    ours = medians.pop("ctcrec")
    ratio = min(medians.values()) / ours

    def column(values: dict[str, float], name: str, form: str) -> str:
        return format(values[name], form) if name in values else "–"

    name = "T{} N{} C{} L{}".format(*shape) + ("" if dtype == torch.float32 else f" {str(dtype).split('.')[1]}")
    print(
        f"| {name} | {ours:.3f} | {graph:.3f} | {column(medians, 'native', '.3f')} | {column(medians, 'cudnn', '.3f')}"
        f" | {ratio:.2f} | {ours / copy:.1f} | {graph / copy:.1f} | {errors['ctcrec']:.1e}"
        f" | {column(errors, 'native', '.1e')} | {column(errors, 'cudnn', '.1e')} | {peaks['ctcrec']:.2f}"
        f" | {column(peaks, 'native', '.2f')} |",
        flush=True,
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU, and PyTorch finds none here; benchmarks/ctc_loss.py is the CPU's")
    dtype = getattr(torch, options.dtype)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {options.repeats} repeats, medians, ms\n")
    print(
        "| shape | ctcrec | graph | native | cuDNN | ratio to the faster | copies | copies, graph | error | native's"
        " | cuDNN's | memory | native's |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    ratios = [measure(shape, dtype, options.repeats) for shape in SHAPES]
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"\ngeometric mean of the ratios {mean:.2f}, smallest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
