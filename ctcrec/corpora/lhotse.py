"""Lhotse manifests: recordings and supervisions as JSONL, gzipped or not.

`x_recordings_train.jsonl.gz` belongs to `x_supervisions_train.jsonl.gz`, and is the split `x_train`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, Unusable, number_of, read_json_rows, string_of
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

__all__ = ["prepare"]

_ENDINGS = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class _Recording:
    """The file of a recording, or why it has none that can be used."""

    name: str
    problem: str | None = None


def prepare(source: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """One split for each pair of manifests in `source`; ids are those of the supervisions.

    `gender` of a supervision is kept. Recordings that are commands or addresses, have several files or are changed
    when read leave their supervisions out. `media`: a second folder that audio files may be in.

    Raises:
        CorpusError: there is no pair, or a row is malformed (names the line).
    """
    pairs = _find_pairs(source)
    collector = Collector(done)
    folder = MediaFolder(source, media)
    for split, (recordings_path, supervisions_path) in pairs.items():
        collector.splits.setdefault(split, [])
        recordings = _read_recordings(recordings_path)
        for where, row in read_json_rows(supervisions_path):
            _add(collector, split, row, where, recordings, folder)
    return collector.prepared()


def _find_pairs(source: Path) -> dict[str, tuple[Path, Path]]:
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; name the folder with the recordings and supervisions")
    pairs = {}
    for path in sorted(source.iterdir()):
        if "recordings" in path.name and path.name.endswith(_ENDINGS):
            partner = path.with_name(path.name.replace("recordings", "supervisions"))
            other = [
                partner.with_name(partner.name.removesuffix(".gz")),
                partner.with_name(partner.name.removesuffix(".gz") + ".gz"),
            ]
            found = next((item for item in (partner, *other) if item.is_file()), None)
            if found is None:
                raise CorpusError(f"{path}: has no {partner.name} beside it; both are needed")
            rest = path.name.partition(".jsonl")[0].replace("recordings", "")
            pairs[re.sub(r"[_.-]{2,}", "_", rest).strip("_.-") or "all"] = path, found
    if not pairs:
        raise CorpusError(f"{source}: no *recordings*.jsonl or .jsonl.gz in it; expected Lhotse manifests")
    return pairs


def _read_recordings(path: Path) -> dict[str, _Recording]:
    recordings = {}
    for where, row in read_json_rows(path):
        identifier, sources = row.get("id"), row.get("sources")
        if not isinstance(identifier, str) or not isinstance(sources, list):
            raise CorpusError(f"{where}: expected a recording with id and sources; got {str(row)[:100]}")
        recordings[identifier] = _recording(row, sources)
    return recordings


def _recording(row: dict[str, Any], sources: list[Any]) -> _Recording:
    if len(sources) != 1 or not isinstance(sources[0], dict) or not isinstance(sources[0].get("source"), str):
        return _Recording("", "its recording has not one file")
    name, kind = sources[0]["source"], sources[0].get("type", "file")
    if kind == "command":
        return _Recording(name, "its recording is a command, and ctcrec runs no commands that data names")
    if kind != "file":
        return _Recording(name, f"its recording is of the type {str(kind)[:20]!r}, not a file")
    if row.get("transforms"):
        return _Recording(name, "its recording is changed when it is read (transforms); write the result to a file")
    return _Recording(name)


def _add(
    collector: Collector,
    split: str,
    row: dict[str, Any],
    where: str,
    recordings: dict[str, _Recording],
    folder: MediaFolder,
) -> None:
    identifier, recording, text = row.get("id"), row.get("recording_id"), row.get("text")
    if not isinstance(identifier, str) or not isinstance(recording, str) or not isinstance(text, str | None):
        raise CorpusError(f"{where}: expected a supervision with id, recording_id and text; got {str(row)[:100]}")
    start, duration = number_of(row, "start", where) or 0.0, number_of(row, "duration", where)
    if not isinstance(channel := row.get("channel"), int):  # a list names several, which are averaged
        channel = None
    collector.add(
        split,
        identifier,
        lambda: _file(recordings, recording, folder),
        text,
        "utterances",
        channel=channel,
        start=start,
        end=start + duration if duration is not None else math.inf,
        speaker=string_of(row, "speaker"),
        language=string_of(row, "language"),
        extra={"gender": row.get("gender")},
    )


def _file(recordings: dict[str, _Recording], name: str, folder: MediaFolder) -> Path:
    recording = recordings.get(name)
    if recording is None:
        raise Unusable("its recording is not in the recordings", name)
    if recording.problem is not None:
        raise Unusable(recording.problem, name)
    return folder.find(recording.name)
