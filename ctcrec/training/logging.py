"""What a training run tells: a progress bar, a line an epoch, `metrics.jsonl`, TensorBoard, and curves at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ctcrec.checkpoint import writing

__all__ = ["MetricsLog", "NoLog", "TrainingDisplay", "draw_curves"]

_QUIET_SECONDS = 30.0  # between lines where the output is not a terminal


class MetricsLog:
    """The same numbers as JSON lines and as TensorBoard scalars, in the run's directory.

    Rows carry the step; when a run goes on from an earlier step, later rows of the file are dropped first, and that of
    an epoch whose end is to come again, so that the file reads as if training had never stopped.
    """

    def __init__(self, directory: Path, resume_step: int, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = directory / "metrics.jsonl"
        kept = [
            row for row in read_rows(self.path) if row["step"] <= resume_step and row.get("epoch", 0) <= epochs_done
        ]
        self.path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=resume_step + 1)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One row of `kind` ("step" or "epoch"). Raises CheckpointError when the disk is full."""
        with writing(self.path):
            self._file.write(json.dumps({"kind": kind, "step": step, **values}, ensure_ascii=False) + "\n")
            self._file.flush()
        for key, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{kind}/{key}", value, step)

    def close(self) -> None:
        self._writer.close()
        with writing(self.path):
            self._file.close()


class NoLog:
    """In the place of `MetricsLog` in a process that leaves writing to another."""

    def __init__(self, directory: Path, resume_step: int, epochs_done: int) -> None:
        self.path = directory / "metrics.jsonl"

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that a kill left incomplete is dropped."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class TrainingDisplay:
    """Progress of the running epoch: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()

    def say(self, text: str, style: str | None = None) -> None:
        """A line that stays."""
        self.console.print(escape(text), style=style, highlight=False, soft_wrap=True)

    def say_epoch(self, row: Mapping[str, Any], samples: Iterable[tuple[str, str]], better: bool) -> None:
        """The end of an epoch, with some references of the validation and what was written for them."""
        self.say(
            f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f} → {row['valid_loss']:.3f}"
            f"  CER {100 * row['cer']:.2f} %  WER {100 * row['wer']:.2f} %  blanks {100 * row['blank_rate']:.0f} %"
            f"  {row['frames_per_second']:.0f} frames/s  {row['seconds']:.0f} s{'  best' if better else ''}",
            "bold" if better else None,
        )
        for reference, hypothesis in samples:
            self.say(f"    {reference}\n  → {hypothesis}", "dim")
        if row["infeasible"]:
            self.say(f"  {row['infeasible']} targets did not fit their frames and counted no loss", "yellow")

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Begin a bar of `total` batches."""
        self.stop()
        self._last_line = time.monotonic()
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(name, total=total, completed=done, state="")
        self._name, self._total = name, total

    def advance(self, done: int, state: str) -> None:
        """`done` batches are done; `state` holds loss, learning rate, speed and time left."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, state=state)
        elif time.monotonic() - self._last_line >= _QUIET_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"{self._name} {done}/{self._total} {state}")

    def stop(self) -> None:
        """End the bar, if there is one."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss, and CER and WER, by epoch, as a PNG."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    epochs = [row for row in rows if row.get("kind") == "epoch"]
    if not epochs:
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, rates = figure.subplots(1, 2)
    x = [row["epoch"] for row in epochs]
    losses.plot(x, [row["train_loss"] for row in epochs], label="training")
    losses.plot(x, [row["valid_loss"] for row in epochs], label="validation")
    losses.set(xlabel="epoch", ylabel="loss (nats per token)", yscale="log", title="Loss")
    rates.plot(x, [100 * row["cer"] for row in epochs], label="CER")
    rates.plot(x, [100 * row["wer"] for row in epochs], label="WER")
    rates.set(xlabel="epoch", ylabel="%", ylim=(0, None), title="Validation errors, greedy")
    for axes in (losses, rates):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
