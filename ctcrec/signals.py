"""What the numbers of a training say, while it runs and afterwards: findings from the rows of `metrics.jsonl`.

A finding is one number with a limit, the reason for that limit, and a thing to try. The limits lie well apart from what
healthy trainings of this project's recipes (digits, printed and handwritten lines, LibriSpeech mini) have shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Finding", "Watch", "epoch_findings", "step_findings"]

Row = Mapping[str, Any]

_WINDOW = 50  # steps whose losses are averaged
_GRACE = 400  # steps; CTC puts out nothing but blanks at first, in healthy recipes for up to about 250 steps
_SLACK = 0.1  # nats per token, so that ratios of losses near zero mean something
_TOO_MANY_ERRORS = 0.5  # CER above which a model has not learned its task


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: short, unique within a diagnosis.
        value: what was measured.
        limit: it is a fault when the value is beyond this ...
        worse: ... "above" or "below".
        meaning: what the value is.
        reason: why the limit is where it is.
        advice: what to try if it is a fault.
        details: lines with particulars: ids, layers, tokens.
    """

    name: str
    value: float
    limit: float
    worse: Literal["above", "below"]
    meaning: str
    reason: str
    advice: str
    details: tuple[str, ...] = ()

    @property
    def fault(self) -> bool:
        """Whether the value is beyond the limit, or no number."""
        if math.isnan(self.value):
            return True
        return self.value > self.limit if self.worse == "above" else self.value < self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a value that is no finite number is None."""
        return {
            "name": self.name,
            "fault": self.fault,
            "value": self.value if math.isfinite(self.value) else None,
            "limit": self.limit,
            "worse": self.worse,
            "meaning": self.meaning,
            "reason": self.reason,
            "advice": self.advice,
            "details": list(self.details),
        }

    def text(self) -> str:
        """A line for what is well; for a fault also the reason and the advice."""
        mark = "FAULT" if self.fault else "   ok"
        line = f"{mark}  {self.name}: {self.value:.3g} ({self.meaning}; a fault {self.worse} {self.limit:g})"
        lines = [line, *(f"         {detail}" for detail in self.details)]
        if self.fault:
            lines[1:1] = [f"       why: {self.reason}", f"       try: {self.advice}"]
        return "\n".join(lines)


class Watch:
    """Reads a training's rows as they come and hands out each fault once.

    Args:
        rows: those of a run that goes on, in order; their faults have been told.
        gradient_clip: the largest gradient norm.
        examples: how many are trained on.
    """

    def __init__(self, rows: Sequence[Row], gradient_clip: float, examples: int) -> None:
        self.gradient_clip, self.examples = gradient_clip, examples
        self._steps: list[Row] = []
        self._epochs: list[Row] = []
        self._told: set[str] = set()
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> list[Finding]:
        """The faults that this row shows for the first time."""
        found: list[Finding] = []
        if row["kind"] == "epoch":
            self._epochs.append(row)
            found = epoch_findings(self._epochs, examples=self.examples, running=True)
        else:
            self._steps.append(row)
            if len(self._steps) % _WINDOW == 0:
                found = step_findings(self._steps, gradient_clip=self.gradient_clip)
        new = [finding for finding in found if finding.fault and finding.name not in self._told]
        self._told |= {finding.name for finding in new}
        return new


def step_findings(steps: Sequence[Row], *, gradient_clip: float) -> list[Finding]:
    """Divergence and clipped gradients, from the steps so far; nothing from fewer than 100."""
    if len(steps) < 2 * _WINDOW:
        return []
    losses = [row["loss"] for row in steps]
    # Windows end at the last step; what is left over at the beginning is the first one.
    cuts = list(range(len(losses) % _WINDOW, len(losses) + 1, _WINDOW))
    means = [math.fsum(losses[a:b]) / _WINDOW for a, b in zip(cuts, cuts[1:], strict=False)]
    lowest = min(range(len(means)), key=means.__getitem__)
    late = [row["gradient_norm"] for row in steps[-4 * _WINDOW :] if row["step"] > 2 * _WINDOW]
    findings = [
        Finding(
            "divergence",
            (means[-1] + _SLACK) / (means[lowest] + _SLACK),
            1.5,
            "above",
            f"training loss of the last {_WINDOW} steps over the lowest of {_WINDOW} steps before",
            "the loss of healthy trainings falls; its windows vary by less than a fifth",
            "a lower training.learning_rate (a third), more training.warmup_steps, a smaller training.gradient_clip",
            (
                f"now {means[-1]:.3f} nats per token; lowest {means[lowest]:.3f},"
                f" after step {steps[cuts[lowest]]['step']}",
            ),
        )
    ]
    if late:
        findings.append(
            Finding(
                "clipped gradients",
                sum(norm > gradient_clip for norm in late) / len(late),
                0.3,
                "above",
                f"share of the last {len(late)} steps whose gradient norm exceeds training.gradient_clip",
                "after its first hundred steps a healthy training clips fewer than one step in twenty",
                "a lower training.learning_rate; look for broken examples; batch normalization in the frontend",
            )
        )
    return findings


def epoch_findings(epochs: Sequence[Row], *, examples: int, running: bool = False) -> list[Finding]:
    """What the epochs so far show.

    Args:
        epochs: rows of kind "epoch", in order.
        examples: how many are trained on.
        running: whether more is to come; then what is usual in the first steps is not looked at.
    """
    if not epochs:
        return []
    last = epochs[-1]
    findings = [] if running and last["step"] < _GRACE else _collapse(last)
    findings += _overfitting(epochs)
    if len(epochs) >= 4 and last["cer"] > _TOO_MANY_ERRORS and (not running or last["step"] >= _GRACE):
        findings.append(_plateau(epochs))
    return findings + _losses_of_data(last, examples)


def _collapse(last: Row) -> list[Finding]:
    findings = [
        Finding(
            "blank collapse",
            last["blank_rate"],
            0.99,
            "above",
            "share of validation frames whose best token is the blank",
            f"every CTC model passes through this, but healthy ones have left it after {_GRACE} steps; at the end it"
            " means that nothing is recognized",
            "another training.learning_rate (`ctcrec doctor CONFIG` shows which), longer training, `--overfit 8`, a"
            " smaller subsampling factor; listen to or look at a few examples: do texts belong to media?",
        )
    ]
    if "distinct_outputs" in last and not findings[0].fault:
        findings.append(
            Finding(
                "same output",
                last["distinct_outputs"],
                0.1,
                "below",
                "different transcripts of the validation examples for each different reference",
                "a model that hears or sees what is there puts out as many different texts as there are",
                "check that texts belong to media (shuffled manifests?) and that features are not constant; then a"
                " higher training.learning_rate or longer training",
            )
        )
    return findings


def _overfitting(epochs: Sequence[Row]) -> list[Finding]:
    """Validation loss risen from its minimum, and not for one epoch only, while training loss went on falling."""
    best = min(epochs, key=lambda row: row["valid_loss"])
    last = epochs[-1]
    if last["train_loss"] > best["train_loss"]:
        return []
    late = [row["valid_loss"] for row in epochs if row["epoch"] > best["epoch"]][-3:]
    lowest = min(late) if len(late) > 1 else best["valid_loss"]
    return [
        Finding(
            "over-fitting",
            (lowest + _SLACK / 5) / (best["valid_loss"] + _SLACK / 5),
            1.2,
            "above",
            "lowest validation loss of the last three epochs over that of all, while the training loss fell",
            "from epoch to epoch the validation loss of healthy recipes varies by less than a tenth",
            "more data or augmentation, dropout, a smaller model, training.early_stopping; the checkpoint is the epoch"
            " with the best CER in any case",
            (f"lowest at epoch {best['epoch']} of {last['epoch']}: {best['valid_loss']:.3f} nats per token",),
        )
    ]


def _plateau(epochs: Sequence[Row]) -> Finding:
    last, before = epochs[-1], epochs[-4]
    fall = 1.0 - (last["train_loss"] / before["train_loss"]) ** (1 / 3) if before["train_loss"] > 0 else 0.0
    return Finding(
        "plateau",
        fall,
        0.01,
        "below",
        f"fall of the training loss an epoch over the last three, at a CER of {100 * last['cer']:.0f} %",
        "a model that still makes so many errors should learn: healthy recipes fall by 5 % an epoch or more there",
        "check that texts belong to media and that features are right; then another training.learning_rate",
    )


def _losses_of_data(last: Row, examples: int) -> list[Finding]:
    return [
        Finding(
            "infeasible targets",
            last["infeasible"] / max(examples, 1),
            0.005,
            "above",
            "targets that did not fit their frames in the last epoch, for each training example",
            "they teach nothing; a few are cut short by augmentation, more mean frames too coarse for the text",
            "a smaller subsampling factor (strides and pools along time), or leave such examples out",
        ),
        Finding(
            "skipped batches",
            last["skipped_batches"],
            0,
            "above",
            "batches of the last epoch with a loss or gradient that is not finite",
            "there is none in a healthy training",
            "a lower training.learning_rate; look at the examples named when it happened",
        ),
        Finding(
            "padding",
            last["padding"],
            0.3,
            "above",
            "share of the last epoch's frames that is padding",
            "sorted by length, recipes have 4 to 12 %; padding costs time as true frames do",
            "larger training.batch_frames with smaller training.max_batch_size; leave out extreme lengths with"
            " data.max_frames",
        ),
        Finding(
            "waiting for data",
            last["data_wait"],
            0.2,
            "above",
            "share of the last epoch's time spent waiting for batches",
            "recipes wait 1 to 4 % of the time; above a fifth, the processor that trains stands idle",
            "more training.workers, media on a local disk, or smaller media (features need no more than their own"
            " resolution)",
        ),
    ]
