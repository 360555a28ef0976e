"""Where a training step's time goes, and how much of it the CTC loss takes: ctcrec's, PyTorch's, and the reference.

    python benchmarks/training_step.py CONFIG TRAIN.jsonl [--steps 20] [--threads 2]

Runs each batch with each loss in turn. The loss works on a copy of the logits cut from the graph, so that its
forward and backward pass can be timed apart from the model's; the optimizer and loading (no worker) are timed too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from ctcrec.config import load_config
from ctcrec.ctc import ctc_loss_from_logits
from ctcrec.data.dataset import BatchDataset
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.setup import plan_epoch, prepare


def pytorch(logits: Tensor, *arguments: Tensor) -> Tensor:
    return functional.ctc_loss(logits.log_softmax(dim=2), *arguments, reduction="sum", zero_infinity=True)


def ctcrec(logits: Tensor, *arguments: Tensor) -> Tensor:
    return ctc_loss_from_logits(logits, *arguments, reduction="sum", zero_infinity=True)


def reference(logits: Tensor, *arguments: Tensor) -> Tensor:
    return ctc_loss_from_logits(logits, *arguments, reduction="sum", zero_infinity=True, implementation="reference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    sources = f"[{options.manifest}]"
    overrides = [f"data.train={sources}", f"data.valid={sources}", f"training.threads={options.threads}"]
    config = load_config(options.config, overrides)
    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.config.name}, means of {options.steps} steps\n"
    )
    print("| loss | loss ms | model ms | optimizer ms | loading ms | share of the loss |\n|---|---|---|---|---|---|")
    setup = prepare(config, Path("unused"), False, None, TrainingDisplay(Console(quiet=True)))
    batches = plan_epoch(setup, 0).batches[: options.steps + 2]
    dataset = BatchDataset(
        setup.corpus.examples, setup.corpus.targets, setup.augmented, batches, augmentation=(config.seed, 0), views=1
    )
    optimizer = torch.optim.AdamW(setup.model.parameters(), config.training.learning_rate)
    setup.model.train()
    losses = (ctcrec, pytorch, reference)
    spent = {loss: dict.fromkeys(("loss", "model", "optimizer", "loading"), 0.0) for loss in losses}
    for index in range(len(batches)):
        for loss in losses:
            marks = [time.perf_counter()]
            batch = dataset[index]
            marks.append(time.perf_counter())
            optimizer.zero_grad(set_to_none=True)
            output = setup.model(batch.features, batch.feature_lengths)
            marks.append(time.perf_counter())
            logits = output.logits.detach().requires_grad_()
            value = loss(logits.transpose(0, 1), batch.targets, output.lengths, batch.target_lengths)
            (value / batch.target_lengths.sum()).backward()
            marks.append(time.perf_counter())
            output.logits.backward(logits.grad)
            marks.append(time.perf_counter())
            optimizer.step()
            marks.append(time.perf_counter())
            if index >= 2:  # the first two compile and warm up
                parts = [later - earlier for earlier, later in zip(marks, marks[1:], strict=False)]
                for name, part in zip(("loading", "model", "loss", "model", "optimizer"), parts, strict=True):
                    spent[loss][name] += 1e3 * part / options.steps
    for loss, times in spent.items():
        columns = " | ".join(f"{times[name]:.1f}" for name in ("loss", "model", "optimizer", "loading"))
        print(f"| {loss.__name__} | {columns} | {100 * times['loss'] / sum(times.values()):.1f} % |")


if __name__ == "__main__":
    main()
