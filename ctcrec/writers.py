"""Hypotheses as text or JSON, for files and standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from ctcrec.errors import DataError
from ctcrec.records import Hypothesis

__all__ = ["hypothesis_record", "to_json", "write_atomically"]


def hypothesis_record(hypothesis: Hypothesis, unit: str) -> dict[str, Any]:
    """A hypothesis as plain data; spans are in `unit`, rounded to milliseconds or tenths of pixels."""
    digits = 3 if unit == "seconds" else 1

    def span(value: Any) -> dict[str, Any]:
        record = dataclasses.asdict(value)
        return {
            **record,
            "start": round(record["start"], digits),
            "end": round(record["end"], digits),
            "confidence": round(record["confidence"], 4),
        }

    record: dict[str, Any] = {"text": hypothesis.text, "score": round(hypothesis.score, 4)}
    if hypothesis.confidence is not None:
        record["confidence"] = round(hypothesis.confidence, 4)
    if hypothesis.spans_from is not None:
        record["spans_from"] = hypothesis.spans_from
    if hypothesis.replaces is not None:
        record["replaces"] = hypothesis.replaces
    return {
        **record,
        "unit": unit,
        "words": [span(item) for item in hypothesis.word_spans],
        "tokens": [span(item) for item in hypothesis.token_spans],
    }


def to_json(source: str, hypothesis: Hypothesis, unit: str) -> str:
    """One line of JSON: the source and `hypothesis_record`."""
    return json.dumps({"source": source, **hypothesis_record(hypothesis, unit)}, ensure_ascii=False)


def write_atomically(path: Path, content: str) -> None:
    """Write a text file so that it is there whole or not at all.

    Raises:
        DataError: the disk is full or the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
