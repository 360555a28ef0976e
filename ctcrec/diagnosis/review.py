"""Suspected label errors: examples whose text the model finds improbable although it reads the rest of the same
speaker or writer well.

The score of an example is its loss per token over what is usual for its group, in units of what another text would
cost: (loss − median of the rest) / (loss of another text − median of the rest). It is 0 for an example like the others
of its group and about 1 for one with a text that is not its own, whether the group is easy or hard to read.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctcrec.diagnosis.outputs import Output
from ctcrec.signals import Finding
from ctcrec.writers import write_atomically

__all__ = ["Suspicion", "label_finding", "rank_suspicions", "write_review"]

_FEWEST = 4  # others in a group whose median says something; else all examples are the group
# Of the way from the group's own texts to another text. A model half learns the wrong texts that it is trained on, so
# that they come out at 0.3 to 0.5 where texts are few, and at about 1 where they are many.
_SUSPECT = 0.35
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One line of the review list; losses are nats per token."""

    output: Output
    score: float
    usual_loss: float  # median of the rest of the group

    @property
    def suspect(self) -> bool:
        """Whether the text is more than a third of the way from its group's own texts to another text."""
        return self.score > _SUSPECT

    def to_dict(self, rank: int) -> dict[str, Any]:
        """The row of `review.jsonl`."""
        output, example = self.output, self.output.example
        return {
            "rank": rank,
            "id": example.id,
            "suspect": self.suspect,
            "score": _rounded(self.score),
            "loss_per_token": _rounded(output.token_loss),
            "usual_loss_per_token": _rounded(self.usual_loss),
            "group": example.group,
            "source": str(example.source),
            "text": output.text,
            "recognized": output.hypothesis,
        }


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def rank_suspicions(outputs: Sequence[Output]) -> list[Suspicion]:
    """All examples, the most suspect first; those whose text does not fit its frames lead."""
    others = [output.other_loss for output in outputs if math.isfinite(output.other_loss)]
    another = float(np.median(others)) if others else math.inf
    groups: dict[str | None, list[int]] = defaultdict(list)
    for index, output in enumerate(outputs):
        groups[output.example.group].append(index)
    losses = np.array([output.token_loss for output in outputs])
    suspicions = []
    for index, output in enumerate(outputs):
        rest = [other for other in groups[output.example.group] if other != index]
        if len(rest) < _FEWEST:
            rest = [other for other in range(len(outputs)) if other != index]
        usual = float(np.median(losses[rest])) if rest else 0.0
        # Where even the right texts are no better than others', nothing can be said: a tenth of the scale at least.
        scale = max(another - usual, 0.1 * another) if math.isfinite(another) else 1.0
        suspicions.append(Suspicion(output, (output.token_loss - usual) / scale, usual))
    return sorted(suspicions, key=lambda suspicion: -suspicion.score)


def label_finding(suspicions: Sequence[Suspicion]) -> Finding:
    """How many examples look as if their text were not theirs."""
    suspects = [item for item in suspicions if item.suspect]
    details = []
    for item in suspects[:_SHOWN]:
        details.append(
            f"{item.output.example.id}: {item.output.token_loss:.2f} nats per token, usual {item.usual_loss:.2f}"
        )
        details += [f"  {item.output.text}", f"  {item.output.hypothesis}"]
    return Finding(
        "suspected label errors",
        len(suspects) / max(len(suspicions), 1),
        0.02,
        "above",
        f"share of {len(suspicions)} examples whose loss is more than a third of the way from that of the rest of their"
        " speaker or writer to that of another text",
        "carefully made corpora have fewer than one in a hundred",
        "go through review.jsonl from the top; correct or remove what is wrong, and train again",
        tuple(details),
    )


def write_review(path: Path, suspicions: Sequence[Suspicion]) -> None:
    """All examples as JSON lines, the most suspect first. Raises DataError when it cannot be written."""
    rows = (json.dumps(item.to_dict(rank), ensure_ascii=False) for rank, item in enumerate(suspicions, start=1))
    write_atomically(path, "".join(row + "\n" for row in rows))
