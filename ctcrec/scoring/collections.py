"""Collections of transcripts: files and folders of references or hypotheses, read by id and written again.

Besides the line formats of `ctcrec.scoring.formats`, a folder of `x.gt.txt` (references) and `x.pred.txt` (hypotheses),
nested or not; the id is the path below the folder without its ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from ctcrec.errors import DataError
from ctcrec.scoring.formats import LINE_FORMATS, Entry, TimedWord, parse_lines, render_lines

__all__ = ["FORMATS", "Collection", "place_words", "read_collection", "write_collection"]

Role = Literal["reference", "hypothesis"]
Collection = dict[str, Entry]
FORMATS = (*LINE_FORMATS, "folder")

_BY_SUFFIX = {
    ".trn": "trn",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tsv": "tsv",
    ".stm": "stm",
    ".ctm": "ctm",
    ".kaldi": "kaldi",
    ".txt": "lines",
}
# Tried in this order; the first ending that the folder has any file of is read.
_FOLDER_SUFFIXES: dict[Role, tuple[str, ...]] = {"reference": (".gt.txt", ".txt"), "hypothesis": (".pred.txt", ".txt")}


def detect_format(path: Path) -> str:
    """The format by a path's name. Raises DataError when the name does not tell."""
    if path.is_dir():
        return "folder"
    if path.name == "text":  # what Kaldi calls its file of transcripts
        return "kaldi"
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise DataError(
            f"{path}: the ending {path.suffix!r} does not tell the format; name it, one of: {', '.join(FORMATS)}"
        )
    return form


def read_collection(path: str | Path, role: Role = "reference", form: str | None = None) -> Collection:
    """Read transcripts by id, in the order of the file.

    Args:
        path: a file of one of the line formats, or a folder.
        role: whether a folder's references or its hypotheses are read.
        form: one of `FORMATS`; by default the path's name tells.

    Raises:
        DataError: the path cannot be read, a line is malformed, an id occurs twice, or there is nothing in it; the
            message names file and line.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of {role} texts")
    form = form or detect_format(path)
    if form not in FORMATS:
        raise DataError(f"unknown format {form!r}; there are: {', '.join(FORMATS)}")
    if (form == "folder") != path.is_dir():
        raise DataError(f"{path}: is {'a folder' if path.is_dir() else 'a file'}, which {form!r} is not")
    entries = _read_folder(path, role) if form == "folder" else _read_file(path, form)
    collection: Collection = {}
    lines: dict[str, int] = {}
    for number, entry in entries:
        if entry.id in collection:
            raise DataError(
                f"{path}:{number}: id {entry.id!r} occurs twice, first in line {lines[entry.id]}; make ids unique"
            )
        collection[entry.id] = entry
        lines[entry.id] = number
    if not collection:
        raise DataError(f"{path}: has no {role} texts")
    return collection


def _read_file(path: Path, form: str) -> Iterator[tuple[int, Entry]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from parse_lines(form, file, str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read_folder(folder: Path, role: Role) -> Iterator[tuple[int, Entry]]:
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.txt") if file.is_file())
    for suffix in _FOLDER_SUFFIXES[role]:
        chosen = [name for name in names if name.endswith(suffix)]
        if suffix == ".txt":  # the other side's files may lie in the same folder
            chosen = [name for name in chosen if not name.endswith((".gt.txt", ".pred.txt"))]
        if chosen:
            break
    else:
        raise DataError(f"{folder}: has no {role} files; expected names ending in {_FOLDER_SUFFIXES[role][0]}")
    for name in chosen:
        try:
            text = (folder / name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{folder / name}: cannot be read as UTF-8 text: {error}") from None
        identifier = Path(name.removesuffix(suffix)).as_posix()
        parent = Path(name).parent.as_posix()
        yield 1, Entry(identifier, " ".join(text.splitlines()), {"folder": parent} if parent != "." else {})


def place_words(references: Collection, hypotheses: Collection) -> Collection:
    """Match the words of a ctm to the segments of references, by time.

    With references of a stm, each word goes to the segment of its file and channel that its middle lies in. Otherwise
    a file of the ctm is the utterance of that id. Words that lie in no segment become an entry of their own,
    `file-channel-outside`, so that they are reported.
    """
    placed: dict[str, list[TimedWord]] = {}
    segments: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for entry in references.values():
        if {"file", "channel", "start", "end"} <= entry.fields.keys():
            key = entry.fields["file"], entry.fields["channel"]
            segments.setdefault(key, []).append((float(entry.fields["start"]), float(entry.fields["end"]), entry.id))
            placed[entry.id] = []
    for entry in hypotheses.values():
        file, channel = entry.fields["file"], entry.fields["channel"]
        if (file, channel) not in segments:
            placed[file if file in references else entry.id] = list(entry.words)
            continue
        for word in entry.words:
            middle = ((word.start or 0.0) + (word.end or 0.0)) / 2
            found = (name for start, end, name in segments[file, channel] if start <= middle < end)
            placed.setdefault(next(found, f"{file}-{channel}-outside"), []).append(word)
    return {
        name: Entry(name, " ".join(word.word for word in words), {}, tuple(words)) for name, words in placed.items()
    }


def write_collection(
    path: str | Path, entries: Iterable[Entry], form: str | None = None, role: Role = "reference"
) -> None:
    """Write transcripts as one of `FORMATS`; by default the path's name tells which. A file is replaced at once, when
    all of it is written.

    Raises:
        DataError: an entry does not fit the format; the message names its id and says why.
    """
    path = Path(path)
    form = form or detect_format(path)
    if form not in FORMATS:
        raise DataError(f"unknown format {form!r}; there are: {', '.join(FORMATS)}")
    if form == "folder":
        for entry in entries:
            file = path / f"{entry.id}{_FOLDER_SUFFIXES[role][0]}"
            if not file.resolve().is_relative_to(path.resolve()):
                raise DataError(f"id {entry.id!r} cannot be written as a file below {path}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(entry.text + "\n", encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file_handle:
            file_handle.writelines(f"{line}\n" for line in render_lines(form, entries))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
