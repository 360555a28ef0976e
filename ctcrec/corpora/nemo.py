"""NeMo manifests: JSONL with `audio_filepath`, `duration`, `offset` (both in seconds) and `text`; a file is a split."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, number_of, read_json_rows, string_of
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

__all__ = ["prepare"]

_KNOWN = ("audio_filepath", "duration", "offset", "text", "speaker", "lang", "language")


def prepare(source: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """One split for each manifest: `source` itself, or the .json and .jsonl files (also .gz) in it.

    An id is the audio's path below its folder, with the part in milliseconds where a row has an `offset`. Other
    plain values of a row are kept. `media`: a second folder that audio files may be in.

    Raises:
        CorpusError: there is no manifest, or a row is malformed (names the line).
    """
    endings = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
    paths = [source]
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.name.lower().endswith(endings) and path.is_file())
    if not paths:
        raise CorpusError(f"{source}: no .json or .jsonl files in it; expected NeMo manifests")
    collector = Collector(done)
    folder = MediaFolder(paths[0].parent, media)
    for path in paths:
        split = path.name.partition(".")[0] or "all"
        collector.splits.setdefault(split, [])
        for where, row in read_json_rows(path):
            _add(collector, split, row, where, folder)
    return collector.prepared()


def _add(collector: Collector, split: str, row: dict[str, Any], where: str, folder: MediaFolder) -> None:
    name, text = row.get("audio_filepath"), row.get("text")
    if not isinstance(name, str) or not isinstance(text, str | None):
        raise CorpusError(f"{where}: expected audio_filepath and text, both strings; got {str(row)[:100]}")
    offset, duration = number_of(row, "offset", where), number_of(row, "duration", where)
    start = offset or 0.0
    end = start + duration if duration is not None else math.inf
    identifier = name.removesuffix(PurePosixPath(name).suffix).lstrip("./")
    if offset is not None and duration is not None:
        identifier += f"-{round(1000 * start):08d}-{round(1000 * end):08d}"
    collector.add(
        split,
        identifier,
        lambda: folder.find(name),
        text,
        "utterances",
        start=start,
        end=end,
        speaker=string_of(row, "speaker"),
        language=string_of(row, "lang") or string_of(row, "language"),
        extra={key: value for key, value in row.items() if key not in _KNOWN},
    )
