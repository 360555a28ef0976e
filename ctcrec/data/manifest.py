"""Manifests: JSONL files, one example a row.

Keys: `id`, `source`, `text`, and optionally `start`/`end`, `duration` or `width`/`height`, `speaker`/`writer`,
`language`. Unknown keys are kept. A relative `source` starts at the manifest's own folder.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ctcrec.data.partitions import check_partitions
from ctcrec.errors import ManifestError
from ctcrec.records import Example

__all__ = ["iterate_manifest", "read_manifest", "read_manifests", "write_manifest"]

_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "source": (str,),
    "text": (str,),
    "start": (int, float),
    "end": (int, float),
    "duration": (int, float),
    "width": (int,),
    "height": (int,),
    "speaker": (str,),
    "writer": (str,),
    "language": (str,),
}

_LARGEST = 2**53  # every whole number up to here is a float; no duration or size is larger


def iterate_manifest(
    path: str | Path, require_text: bool = False, malformed: Callable[[ManifestError], None] | None = None
) -> Iterator[Example]:
    """The examples of a manifest, one at a time.

    Args:
        path: the JSONL file.
        require_text: whether a row without text is malformed.
        malformed: called with the error of each malformed row, which is then skipped; None = it is raised.

    Raises:
        ManifestError: the file cannot be read, or a row is malformed; the message starts with `file:line:`.
    """
    path = Path(path)
    folder = path.parent
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    example = _parse(line, folder, f"{path}:{number}", require_text)
                except ManifestError as error:
                    if malformed is None:
                        raise
                    malformed(error)
                    continue
                yield example
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest; make one with `ctcrec prepare`") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_manifest(path: str | Path, require_text: bool = False) -> list[Example]:
    """All examples of a manifest; ids must be unique (see `iterate_manifest` for errors)."""
    return read_manifests([path], require_text)


def read_manifests(paths: Sequence[str | Path], require_text: bool = False) -> list[Example]:
    """All examples of several manifests together; ids must be unique over all of them, and overlapping splits of one
    corpus not mixed (`ctcrec.data.partitions`)."""
    examples: list[Example] = []
    seen: dict[str, str | Path] = {}
    for path in paths:
        for example in iterate_manifest(path, require_text):
            if example.id in seen:
                raise ManifestError(
                    f"{path}: id {example.id!r} occurs twice (first in {seen[example.id]}); make ids unique"
                )
            seen[example.id] = path
            examples.append(example)
    if not examples:
        raise ManifestError(f"{', '.join(map(str, paths)) or 'no manifest'}: no examples")
    check_partitions(examples)
    return examples


def write_manifest(path: str | Path, examples: Iterable[Example]) -> int:
    """Write examples as JSONL, atomically; sources become relative to the manifest's folder where they lie below it
    or beside it. Returns the number of rows."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.path.realpath(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    rows = 0
    with temporary.open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(_line(_row(example, folder)))
            rows += 1
    os.replace(temporary, path)
    return rows


def _row(example: Example, folder: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in dataclasses.fields(example):
        value = getattr(example, field.name)
        if field.name == "source":
            row["source"] = Path(_relative(os.path.dirname(value), folder), os.path.basename(value)).as_posix()
        elif field.name != "extra" and value is not None:
            row[field.name] = value
    return {**row, **example.extra}


@functools.lru_cache(maxsize=256)  # many media lie in one folder, and the links above it are slow to follow
def _relative(directory: str, folder: str) -> str:
    """The way from `folder`, which has no links in it, to a directory. Media may be links themselves."""
    return os.path.relpath(os.path.realpath(directory), folder)


def _line(row: dict[str, Any]) -> str:
    line = json.dumps(row, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8, or half a surrogate pair in a text
        return json.dumps(row) + "\n"
    return line


def _parse(line: str, folder: Path, where: str, require_text: bool) -> Example:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of more than 4,300 digits
        raise ManifestError(f"{where}: is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ManifestError(f"{where}: expected a JSON object with id and source, got {type(row).__name__}")
    for key in ("id", "source", "text") if require_text else ("id", "source"):
        if row.get(key) is None:
            raise ManifestError(f"{where}: the key {key!r} is missing")
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in row.items():
        types = _TYPES.get(key)
        if types is None:
            extra[key] = value
        elif value is not None:
            known[key] = _checked(key, value, types, where)
    if not known["id"] or not _is_file_name(known["source"]):
        raise ManifestError(f"{where}: id and source must not be empty, and source must be a file name")
    known["source"] = folder / known["source"]
    return Example(**known, extra=extra)


def _is_file_name(source: str) -> bool:
    try:
        return bool(source) and b"\0" not in os.fsencode(source)
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte
        return False


def _checked(key: str, value: Any, types: tuple[type, ...], where: str) -> Any:
    wrong = not isinstance(value, types) or isinstance(value, bool)
    if not wrong and not isinstance(value, str):
        wrong = not 0 <= value <= _LARGEST  # false for NaN too
    if wrong:
        expected = "a string" if types == (str,) else "a whole number ≥ 0" if types == (int,) else "a number ≥ 0"
        raise ManifestError(f"{where}: {key} must be {expected}, got {repr(value)[:80]}")
    return value
