"""The result of scoring: records that know how to become JSON. `ctcrec.scoring.scorer` makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctcrec.scoring.alignment import Alignment, aligned_pairs, format_alignment
from ctcrec.scoring.bootstrap import Interval
from ctcrec.scoring.calibration import Calibration
from ctcrec.scoring.confusions import Confusions
from ctcrec.scoring.corpus import CorpusCounts
from ctcrec.scoring.rates import ErrorCounts, Unit

__all__ = ["ExampleScore", "GroupScore", "Report", "UnitScore"]

RATE_NAMES: Mapping[Unit, str] = {"words": "WER", "characters": "CER", "graphemes": "grapheme CER"}


def counts_to_dict(counts: ErrorCounts) -> dict[str, Any]:
    """Counts as plain data, with their sums and their rate."""
    return {
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "errors": counts.errors,
        "reference_length": counts.reference_length,
        "rate": counts.rate,
    }


@dataclass(frozen=True, slots=True)
class UnitScore:
    """Counts of one unit over the corpus, with 95 % intervals of the rate by example and by speaker or writer (None
    where there are not two to draw from)."""

    counts: ErrorCounts
    interval: Interval | None
    group_interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            **counts_to_dict(self.counts),
            "interval": list(self.interval) if self.interval else None,
            "group_interval": list(self.group_interval) if self.group_interval else None,
        }


@dataclass(frozen=True, slots=True)
class GroupScore:
    """Counts of the examples that share one value of a field."""

    value: str
    examples: int
    correct: int
    words: ErrorCounts
    characters: ErrorCounts

    def to_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "examples": self.examples,
            "correct": self.correct,
            "words": counts_to_dict(self.words),
            "characters": counts_to_dict(self.characters),
        }


@dataclass(frozen=True, slots=True)
class ExampleScore:
    """One example with its normalized texts. `hypothesis` is None where it is missing."""

    id: str
    group: str | None
    reference: str
    hypothesis: str | None
    words: ErrorCounts
    characters: ErrorCounts

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "group": self.group,
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "words": counts_to_dict(self.words),
            "characters": counts_to_dict(self.characters),
        }


@dataclass(frozen=True)
class Report:
    """What scoring found.

    Attributes:
        signature: one line that says how was counted; rates with equal signatures are comparable.
        alignment: the rule behind the counts.
        examples: examples scored, missing hypotheses among them if they count.
        units: counts and intervals for words, characters and graphemes.
        correct: examples without a word error, and the 95 % interval of their share.
        groups: by field (speaker, writer, length, ...), a score for each value.
        spaces: errors that concern a space; they are among those of the characters.
        confusions: of words and characters.
        missing: ids of references without a hypothesis.
        extra: ids of hypotheses without a reference; they are never scored.
        worst: examples with the most character errors, worst first.
        warnings: sentences about what makes the score doubtful.
        calibration: reliability of the confidences, where there are any.
        oracle: counts of words if the best of the first n candidates were picked, for several n.
        counts: the counts of every example.
        details: each example's normalized texts, for comparing systems; (reference, hypothesis) by id.
    """

    signature: str
    alignment: Alignment
    examples: int
    units: Mapping[Unit, UnitScore]
    correct: int
    correct_interval: Interval | None
    groups: Mapping[str, tuple[GroupScore, ...]]
    spaces: ErrorCounts
    confusions: Mapping[Unit, Confusions]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    worst: tuple[ExampleScore, ...]
    warnings: tuple[str, ...]
    counts: CorpusCounts = field(repr=False)
    calibration: Calibration | None = None
    oracle: tuple[tuple[int, ErrorCounts], ...] = ()
    details: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    @property
    def group_name(self) -> str:
        """What the intervals by group draw: the first field of `groups`, a speaker or a writer."""
        return next(iter(self.groups))

    @property
    def wer(self) -> float:
        """Word error rate, as a fraction."""
        return self.units["words"].counts.rate

    @property
    def cer(self) -> float:
        """Character (code point) error rate, as a fraction."""
        return self.units["characters"].counts.rate

    @property
    def sentence_accuracy(self) -> float:
        """Share of the examples without a word error."""
        return self.correct / max(self.examples, 1)

    def to_dict(self, most: int = 50) -> dict[str, Any]:
        """Everything but the counts of each example, as plain data; `most` confusions of each kind."""
        return {
            "signature": self.signature,
            "alignment": self.alignment,
            "examples": self.examples,
            **{unit: score.to_dict() for unit, score in self.units.items()},
            "sentences": {
                "correct": self.correct,
                "accuracy": self.sentence_accuracy,
                "interval": list(self.correct_interval) if self.correct_interval else None,
            },
            "spaces": counts_to_dict(self.spaces),
            "groups": {name: [score.to_dict() for score in scores] for name, scores in self.groups.items()},
            "confusions": {
                unit: {
                    "substitutions": [[a, b, n] for (a, b), n in confusions.substitutions.most_common(most)],
                    "deletions": [list(item) for item in confusions.deletions.most_common(most)],
                    "insertions": [list(item) for item in confusions.insertions.most_common(most)],
                }
                for unit, confusions in self.confusions.items()
            },
            "oracle": [{"candidates": n, **counts_to_dict(counts)} for n, counts in self.oracle],
            "calibration": None
            if self.calibration is None
            else {
                "unit": self.calibration.unit,
                "items": self.calibration.items,
                "expected_calibration_error": self.calibration.expected_error,
                "bins": [entry._asdict() for entry in self.calibration.bins],
            },
            "missing": list(self.missing),
            "extra": list(self.extra),
            "warnings": list(self.warnings),
            "worst": [example.to_dict() for example in self.worst],
        }

    def to_json(self) -> str:
        """`to_dict` as a JSON document."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def text(self, width: int = 100) -> str:
        """The tables for a terminal, plain text."""
        from ctcrec.scoring.text_report import render_text

        return render_text(self, width)

    def write_aligned_worst(self, path: str | Path, width: int = 100) -> None:
        """Write the worst examples with their words aligned, as plain text."""
        blocks = []
        for example in self.worst:
            pairs = aligned_pairs(example.reference.split(), (example.hypothesis or "").split(), self.alignment)
            note = "  no hypothesis" if example.hypothesis is None else ""
            group = f"  {example.group}" if example.group else ""
            rates = f"WER {100 * example.words.rate:.1f} %  CER {100 * example.characters.rate:.1f} %"
            blocks.append(f"{example.id}{group}  {rates}{note}\n{format_alignment(pairs, width)}\n")
        header = f"The {len(self.worst)} examples with the most character errors. {self.signature}\n\n"
        Path(path).write_text(header + "\n".join(blocks), encoding="utf-8")
