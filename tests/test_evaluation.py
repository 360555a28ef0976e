"""Transcribe a manifest and score: the files it leaves, and the numbers against editdistance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import editdistance
import pytest

from ctcrec.data.manifest import read_manifest
from ctcrec.errors import DataError, MediaError
from ctcrec.evaluation import evaluate
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example

if TYPE_CHECKING:
    from conftest import Trained


@pytest.fixture
def recognizer(trained: Trained) -> Recognizer:
    return Recognizer.load(trained.run, "cpu")


def spoiled_examples(trained: Trained) -> list[Example]:
    """The training examples, some with another text than they show."""
    examples = read_manifest(trained.train)
    examples[1] = replace(examples[1], text="dd aa")
    examples[4] = replace(examples[4], text=(examples[4].text or "") + "b")
    return examples


def test_files_and_numbers(recognizer: Recognizer, trained: Trained, tmp_path: Path) -> None:
    examples = spoiled_examples(trained)
    counts: list[int] = []
    result = evaluate(recognizer, examples, tmp_path / "out", counts.append)
    rows = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [example.id for example in examples]
    assert [row["reference"] for row in rows] == [example.text for example in examples]
    assert rows[0]["unit"] == ("pixels" if trained.config.modality == "ocr" else "seconds")
    assert counts[-1] == len(examples) and not result.errors

    errors = sum(editdistance.eval(row["reference"], row["text"]) for row in rows)
    words = sum(editdistance.eval(row["reference"].split(), row["text"].split()) for row in rows)
    cer = errors / sum(len(row["reference"]) for row in rows)
    wer = words / sum(len(row["reference"].split()) for row in rows)
    assert errors > 0
    report = (tmp_path / "out" / "report.txt").read_text()
    assert f"{100 * cer:.2f}" in report and f"{100 * wer:.2f}" in report
    assert report.strip() == result.report.text().strip()
    json.loads((tmp_path / "out" / "report.json").read_text())
    assert "group0" in report and "group1" in report
    assert examples[1].id in (tmp_path / "out" / "worst.txt").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert examples[1].id in page and 'src="data:image/' in page and 'class="span"' in page
    assert ('src="data:audio/mpeg;base64,' in page) == (trained.config.modality == "speech")
    assert "http" not in page


def test_an_unreadable_medium_counts_as_nothing_said(recognizer: Recognizer, trained: Trained, tmp_path: Path) -> None:
    examples = read_manifest(trained.train)[:4]
    examples[2] = replace(examples[2], source=tmp_path / f"missing{examples[2].source.suffix}")
    result = evaluate(recognizer, examples)
    assert list(result.errors) == [examples[2].id]
    assert isinstance(result.errors[examples[2].id], MediaError)
    assert examples[2].id not in result.hypotheses
    lost = len(examples[2].text or "")
    total = sum(len(example.text or "") for example in examples)
    assert f"{100 * lost / total:.2f}" in result.report.text()


def test_nothing_readable(recognizer: Recognizer, tmp_path: Path) -> None:
    examples = [Example(name, tmp_path / name, "text") for name in ("a", "b")]
    with pytest.raises(DataError, match="none of the 2 examples could be read; the first: "):
        evaluate(recognizer, examples)


def test_a_folder_that_cannot_be_written(recognizer: Recognizer, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: cannot be written: .*; choose another --out"):
        evaluate(recognizer, read_manifest(trained.test), tmp_path / "file")
