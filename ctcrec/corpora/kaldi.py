"""Kaldi data folders: `wav.scp`, `text`, and optionally `segments` and `utt2spk`; one folder is one split.

    wav.scp    <recording> <file>               commands (`... |`) are refused: ctcrec runs nothing that data names
    segments   <utterance> <recording> <start> <end>      seconds; an end of -1 means the end of the recording
    text       <utterance> <words>
    utt2spk    <utterance> <speaker>

Without `segments`, utterances are recordings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, Unusable, read_lines
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

__all__ = ["prepare"]

_ARCHIVE = re.compile(r"\.ark(:\d+)?(\[.*\])?$")


def prepare(source: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """One split for `source`, or for each of its sub-folders that has a `wav.scp`, named after the folder.

    `media`: a second folder that files of `wav.scp` may be in; they must lie below it or the data folder.

    Raises:
        CorpusError: a file is missing or malformed (names the line), or names a command or an archive.
    """
    folders = [source] if (source / "wav.scp").is_file() else sorted(path.parent for path in source.glob("*/wav.scp"))
    if not folders:
        raise CorpusError(f"{source}: no wav.scp in it or its sub-folders; expected a Kaldi data folder")
    collector = Collector(done)
    for folder in folders:
        _read_folder(folder, MediaFolder(folder, media, source), collector)
    return collector.prepared()


def _read_folder(folder: Path, media: MediaFolder, collector: Collector) -> None:
    split = folder.resolve().name or "all"
    collector.splits[split] = []
    recordings = _recordings(folder / "wav.scp")
    texts = _table(folder / "text")
    speakers = _table(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    segments = _segments(folder / "segments") if (folder / "segments").is_file() else None
    parts = {name: (name, 0.0, math.inf) for name in recordings} if segments is None else segments
    for utterance in sorted(texts.keys() | parts.keys()):
        if utterance not in texts:
            collector.leave_out(utterance, "has audio and no text")
        elif utterance not in parts:
            collector.leave_out(utterance, "has a text and no audio" if segments is None else "is not in segments")
        else:
            recording, start, end = parts[utterance]
            collector.add(
                split,
                utterance,
                partial(_file, recordings, recording, media),
                texts[utterance],
                "utterances",
                start=start,
                end=end,
                speaker=speakers.get(utterance) or None,
            )


def _file(recordings: dict[str, str], recording: str, media: MediaFolder) -> Path:
    if recording not in recordings:
        raise Unusable("its recording is not in wav.scp", recording)
    return media.find(recordings[recording])


def _table(path: Path) -> dict[str, str]:
    """What follows each id, by id."""
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        identifier, _, rest = line.strip().replace("\t", " ").partition(" ")
        if not identifier:
            continue
        if identifier in table:
            raise CorpusError(f"{path}:{number}: {identifier} occurs twice; remove one of the two")
        table[identifier] = rest.strip()
    return table


def _recordings(path: Path) -> dict[str, str]:
    recordings = _table(path)
    for recording, name in recordings.items():
        if name.endswith("|") or name.startswith("|"):
            raise CorpusError(
                f"{path}: {recording} is a command ({name[:60]!r}), and ctcrec runs no commands that data names; write"
                " the audio to files, for example with Kaldi's wav-copy, and list those"
            )
        if _ARCHIVE.search(name):
            raise CorpusError(
                f"{path}: {recording} is in a Kaldi archive ({name[:60]!r}), which ctcrec does not read; write the"
                " audio to files, for example with wav-copy, and list those"
            )
    return recordings


def _segments(path: Path) -> dict[str, tuple[str, float, float]]:
    """(recording, start, end) by utterance."""
    segments = {}
    for utterance, rest in _table(path).items():
        fields = rest.split()
        try:
            recording, start, end = fields[0], float(fields[1]), float(fields[2])
            if len(fields) != 3 or not (start >= 0 and (end > start or end == -1)):
                raise ValueError
        except (IndexError, ValueError):
            raise CorpusError(
                f"{path}: {utterance}: expected <recording> <start> <end> with 0 ≤ start < end in seconds, got"
                f" {rest[:80]!r}"
            ) from None
        segments[utterance] = recording, start, math.inf if end == -1 else end
    return segments
