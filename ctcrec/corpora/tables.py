"""Tab-separated tables with a header, as people export them: no quoting, one row a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ctcrec.corpora.files import read_lines
from ctcrec.errors import CorpusError

__all__ = ["read_table"]


def read_table(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(`file:line`, cells by column) of each row below the header; empty lines are passed over.

    Raises:
        CorpusError: the file cannot be read, lacks a column of `needed`, or a row has more or fewer cells than it.
    """
    columns: list[str] | None = None
    for number, line in read_lines(path):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if columns is None:
            columns = cells
            missing = [name for name in needed if name not in columns]
            if missing or len(set(columns)) != len(columns):
                raise CorpusError(
                    f"{path}:{number}: expected a header with the columns {', '.join(needed)}, each once and separated"
                    f" by tabs; got {line[:100]!r}"
                )
        elif len(cells) != len(columns):
            raise CorpusError(
                f"{path}:{number}: expected {len(columns)} cells separated by tabs, got {len(cells)}: {line[:100]!r}"
            )
        else:
            yield f"{path}:{number}", dict(zip(columns, cells, strict=True))
