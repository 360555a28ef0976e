"""A tab-separated table of media and texts, audio or images by their endings.

Either two columns, path and text, or a header with `path`, `text` and any of `id`, `speaker`, `writer`, `language`,
`start`, `end` (seconds); other columns are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ctcrec.corpora.collecting import Collector, kind_of
from ctcrec.corpora.files import MediaFolder, Unusable, read_lines
from ctcrec.corpora.prepared import Prepared
from ctcrec.corpora.tables import read_table
from ctcrec.errors import CorpusError

__all__ = ["prepare"]

_KNOWN = ("path", "text", "id", "speaker", "writer", "language", "start", "end")


def prepare(source: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """One split, named after the file; paths are relative to its folder, or to `media`.

    Without an `id` column, an id is the path without its ending.

    Raises:
        CorpusError: the file is missing or malformed (names the line).
    """
    folder = MediaFolder(source.parent, media)
    split = source.name.partition(".")[0] or "all"
    collector = Collector(done)
    collector.splits[split] = []
    for where, row in _rows(source):
        name = row["path"]
        identifier = row.get("id") or name.removesuffix(PurePosixPath(name).suffix).lstrip("./")
        try:
            kind = kind_of(name)
        except Unusable as reason:
            collector.leave_out(identifier or where, reason)
            continue
        collector.add(
            split,
            identifier,
            partial(folder.find, name),
            row["text"],
            kind,
            extra={key: value for key, value in row.items() if key not in _KNOWN and value},
            speaker=row.get("speaker") or None,
            writer=row.get("writer") or None,
            language=row.get("language") or None,
            **(_part(row, where) if kind == "utterances" else {}),
        )
    return collector.prepared()


def _rows(source: Path) -> Iterator[tuple[str, dict[str, str]]]:
    first = next((line for _, line in read_lines(source) if line.strip()), "")
    if "path" in (cells := [cell.strip() for cell in first.split("\t")]) or "text" in cells:
        yield from read_table(source, ("path", "text"))
        return
    for number, line in read_lines(source):
        if line.strip():
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) != 2:
                raise CorpusError(
                    f"{source}:{number}: expected a path, a tab and a text, got {line[:100]!r}; more columns need a"
                    " header with path and text"
                )
            yield f"{source}:{number}", {"path": cells[0], "text": cells[1]}


def _part(row: dict[str, str], where: str) -> dict[str, Any]:
    return {key: _seconds(row.get(key), where, key) for key in ("start", "end")}


def _seconds(cell: str | None, where: str, column: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise CorpusError(f"{where}: {column} must be a number of seconds ≥ 0, got {cell[:40]!r}")
    return value
