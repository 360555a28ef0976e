"""LJSpeech's layout: `metadata.csv` with rows `id|text|normalized text`, and `wavs/<id>.wav`; one speaker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, Unusable, read_lines
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

__all__ = ["TextColumn", "prepare"]

TextColumn = Literal["normalized", "raw"]

_ENDINGS = (".wav", ".flac", ".opus", ".ogg", ".mp3")  # the corpus has the first; copies are often packed


def prepare(
    source: Path,
    text: TextColumn = "normalized",
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """One split, `all`, in the order of `metadata.csv`.

    Args:
        source: the folder with `metadata.csv` and `wavs/`.
        text: `normalized` has numbers and abbreviations as words; rows of two columns have only one text.
        media: a second folder that `wavs/` may be in.
        done: called with the number of rows looked at.

    Raises:
        CorpusError: `metadata.csv` is missing, or a row has not two or three columns.
    """
    path = source / "metadata.csv"
    folder = MediaFolder(source, media)
    collector = Collector(done)
    collector.splits["all"] = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = line.split("|")  # the corpus quotes nothing, and has quotation marks in its texts
        if len(fields) not in (2, 3):
            raise CorpusError(f"{path}:{number}: expected id|text|normalized text, got {line[:100]!r}")
        collector.add(
            "all",
            fields[0],
            partial(_file, folder, fields[0]),
            fields[1] if text == "raw" else fields[-1],
            "utterances",
        )
    return collector.prepared()


def _file(folder: MediaFolder, name: str) -> Path:
    for ending in _ENDINGS[1:]:
        with contextlib.suppress(Unusable):
            return folder.find(f"wavs/{name}{ending}")
    return folder.find(f"wavs/{name}{_ENDINGS[0]}")
