"""Transcribe a manifest and score the result: `hypotheses.jsonl`, a `Report`, and its page to look at and listen to."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ctcrec.clips import load_clip
from ctcrec.data.manifest import iterate_manifest
from ctcrec.data.partitions import check_partitions, text_conventions
from ctcrec.errors import CtcrecError, DataError, InputError
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example, Hypothesis
from ctcrec.scoring import Alignment, Report, TimedWord, score
from ctcrec.scoring.breakdown import GROUP_FIELDS
from ctcrec.scoring.html_report import write_html
from ctcrec.scoring.media import Clip
from ctcrec.writers import hypothesis_record

__all__ = ["Evaluation", "evaluate"]

_GROUPS = ("speaker", "writer", "language")  # known to `Example`; others are in its `extra`


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A report, the hypotheses by id, and the errors of media that could not be read, by id."""

    report: Report
    hypotheses: dict[str, Hypothesis]
    errors: dict[str, CtcrecError]


def evaluate(
    recognizer: Recognizer,
    examples: Sequence[Example],
    out: Path | None = None,
    done: Callable[[int], None] | None = None,
    *,
    by: Sequence[str] = (),
    alignment: Alignment = "minimum",
    worst: int = 20,
    processes: int = 1,
) -> Evaluation:
    """Transcribe all examples and score them under the checkpoint's text convention, by speaker or writer, document
    (see `ctcrec.scoring.breakdown.GROUP_FIELDS`) and length.

    The signature of the score also names the convention that the manifest says its texts were written after.

    An example whose medium cannot be read counts as an empty hypothesis and is named.

    Args:
        recognizer: the model.
        examples: with text.
        out: folder for `hypotheses.jsonl` (written as it goes), `report.txt`, `report.json`, `report.html`
            and `worst.txt`.
        done: called with the number of examples transcribed.
        by: further fields of the manifest to group scores by.
        alignment, worst: see `ctcrec.scoring.score`.
        processes: see `Recognizer.transcribe_all`.

    Raises:
        InputError: no example has a field that `by` names.
        DataError: no example could be read, or `out` cannot be written; or the examples are of another, overlapping
            split of the corpus than those the model was trained on.
    """
    _check_split(recognizer, examples)
    fields = _fields(examples, by)
    hypotheses: dict[str, Hypothesis] = {}
    errors: dict[str, CtcrecError] = {}
    try:
        with _open(out) as file:
            for transcript in recognizer.transcribe_all(examples, done, processes):
                example, hypothesis = transcript.example, transcript.hypothesis
                if hypothesis is None:
                    assert transcript.error is not None
                    errors[example.id] = transcript.error
                    continue
                hypotheses[example.id] = hypothesis
                file.write(_row(example, hypothesis, recognizer.checkpoint.preprocessor.unit))
        if not hypotheses:
            raise DataError(f"none of the {len(examples)} examples could be read; the first: {errors[examples[0].id]}")
        report = _score(recognizer, examples, hypotheses, fields, alignment, worst)
        if out is not None:
            (out / "report.txt").write_text(report.text(), encoding="utf-8")
            (out / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
            report.write_aligned_worst(out / "worst.txt")
            write_html(out / "report.html", report, _clips(examples, hypotheses), title=f"Recognition of {out.name}")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}; choose another --out") from None
    return Evaluation(report, hypotheses, errors)


def _fields(examples: Sequence[Example], by: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of the fields to group by, the value of each example that has one."""

    def value(example: Example, name: str) -> object:
        return getattr(example, name) if name in _GROUPS else example.extra.get(name)

    names = dict.fromkeys(by)
    for name in names:
        if all(value(example, name) is None for example in examples):
            known = dict.fromkeys(
                [name for name in _GROUPS if any(getattr(example, name) is not None for example in examples)]
                + [key for example in examples for key in example.extra]
            )
            raise InputError(f"no example has the field {name!r} to group by; there are: {', '.join(known) or 'none'}")
    found: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys([*GROUP_FIELDS, *names]):
        values = {example.id: str(value(example, name)) for example in examples if value(example, name) is not None}
        if values:
            found[name] = values
    return found


def _score(
    recognizer: Recognizer,
    examples: Sequence[Example],
    hypotheses: dict[str, Hypothesis],
    fields: dict[str, dict[str, str]],
    alignment: Alignment,
    worst: int,
) -> Report:
    group_name = "speaker" if recognizer.modality == "speech" else "writer"
    references = {example.id: example.text or "" for example in examples}
    report = score(
        references,
        {name: hypothesis.text for name, hypothesis in hypotheses.items()},
        {example.id: example.group for example in examples if example.group is not None},
        recognizer.checkpoint.normalizer,
        group_name=group_name,
        fields={name: values for name, values in fields.items() if name != group_name},
        alignment=alignment,
        worst=worst,
        words={
            name: [(span.word, span.confidence) for span in hypothesis.word_spans]
            for name, hypothesis in hypotheses.items()
        },
    )
    conventions = ",".join(text_conventions(example.extra for example in examples))
    return (
        dataclasses.replace(report, signature=f"{report.signature}|manifest:{conventions}") if conventions else report
    )


def _check_split(recognizer: Recognizer, examples: Sequence[Example]) -> None:
    """Refuse to test on one split of a corpus what was trained on another that overlaps it, as far as the training
    manifests are still where the checkpoint's configuration says."""
    if any("partition" in example.extra for example in examples):
        paths = [Path(path) for path in recognizer.checkpoint.config.data.train]
        first = [example for path in paths if path.is_file() for example in itertools.islice(iterate_manifest(path), 1)]
        check_partitions([*examples, *first])


def _clips(examples: Sequence[Example], hypotheses: dict[str, Hypothesis]) -> Callable[[str], Clip | None]:
    """Recordings with their words, or line images with their characters, by id; None where a medium cannot be read,
    which the evaluation has named already."""
    by_id = {example.id: example for example in examples}

    def clip(identifier: str) -> Clip | None:
        if identifier not in hypotheses:
            return None
        example, hypothesis = by_id[identifier], hypotheses[identifier]
        words = [TimedWord(span.word, span.start, span.end, span.confidence) for span in hypothesis.word_spans]
        tokens = [TimedWord(span.token, span.start, span.end, span.confidence) for span in hypothesis.token_spans]
        return load_clip(example.source, words, tokens, example.start, example.end)

    return clip


def _open(out: Path | None) -> TextIO:
    if out is None:
        return io.StringIO()
    out.mkdir(parents=True, exist_ok=True)
    return (out / "hypotheses.jsonl").open("w", encoding="utf-8")


def _row(example: Example, hypothesis: Hypothesis, unit: str) -> str:
    row = {"id": example.id, "reference": example.text, **hypothesis_record(hypothesis, unit)}
    return json.dumps(row, ensure_ascii=False) + "\n"
