"""From what a corpus says of an example to a row that can be trained on: every check that all readers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ctcrec.corpora.files import Unusable
from ctcrec.corpora.prepared import LeftOut, Prepared
from ctcrec.errors import MediaError
from ctcrec.ocr.media import EXTENSIONS as IMAGE_ENDINGS
from ctcrec.ocr.media import probe_image
from ctcrec.records import Example
from ctcrec.speech.media import EXTENSIONS as AUDIO_ENDINGS
from ctcrec.speech.media import AudioInfo, probe_audio

__all__ = ["Collector", "Kind", "kind_of"]

Kind = Literal["lines", "utterances"]

_OVERHANG = 0.1  # seconds that an end may lie beyond its recording, because people round (as in ctcrec.speech.media)
_WHOLE = 0.02  # seconds by which a part may be shorter than its recording and still be all of it
_RESERVED = frozenset(Example.__dataclass_fields__)


def kind_of(name: str) -> Kind:
    """Which kind of medium a file is, by its ending. Raises Unusable where it is neither."""
    ending = Path(name).suffix.lower()
    if ending in AUDIO_ENDINGS:
        return "utterances"
    if ending in IMAGE_ENDINGS:
        return "lines"
    raise Unusable("is neither audio nor an image by its ending", name)


class Collector:
    """Gathers examples by split, and what was left out and why.

    Args:
        done: called with the number of examples looked at, for progress.
    """

    def __init__(self, done: Callable[[int], None] | None = None) -> None:
        self.splits: dict[str, list[Example]] = {}
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self._seen: set[tuple[str, str]] = set()
        self._looked_at = 0
        self._done = done
        self._probe = lru_cache(maxsize=4096)(_probe_sound)  # parts of one recording follow each other

    def prepared(self) -> Prepared:
        """Everything so far."""
        return Prepared(self.splits, self.left_out, self.notes)

    def leave_out(self, what: str, reason: str | Unusable) -> None:
        """Record that something is in no manifest."""
        detail = reason.detail if isinstance(reason, Unusable) else ""
        self.left_out.append(LeftOut(_printable(f"{what} ({detail})" if detail else what), str(reason)))

    def add(
        self,
        split: str,
        identifier: str,
        find: Callable[[], Path],
        text: str | None,
        kind: Kind,
        *,
        channel: int | None = None,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Example | None:
        """Add an example to a split, or leave it out with the reason; returns the example if it was added.

        Args:
            split, identifier: where it goes, and its id; a second example with an id is left out.
            find: gives the medium's file or raises Unusable (see `MediaFolder.find`).
            text: None or empty leaves the example out; lines are joined with a space.
            kind: of the medium, whose header is read.
            channel: the only channel meant; None = all.
            extra: further keys of the row; those that are no plain value or no good name are dropped.
            fields: of `Example`. `end` may be infinite: to the end of the recording.
        """
        self._looked_at += 1
        if self._done is not None:
            self._done(self._looked_at)
        self.splits.setdefault(split, [])
        try:
            if not identifier.strip():
                raise Unusable("has no id")
            if (split, identifier) in self._seen:
                raise Unusable("its id occurs twice; the first is taken")
            fields["text"] = _joined(text)
            fields |= self._described(find(), kind, channel, fields)
            example = Example(identifier, extra=_plain(extra or {}), **fields)
            _check_storable(example)
        except Unusable as reason:
            self.leave_out(identifier, reason)
            return None
        self._seen.add((split, identifier))
        self.splits[split].append(example)
        return example

    def _described(self, path: Path, kind: Kind, channel: int | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What the medium's header adds to the fields."""
        try:
            if kind == "lines":
                return {"source": path, **probe_image(path)._asdict()}
            info = self._probe(path)
        except MediaError as error:
            raise Unusable(str(error).removeprefix(f"{path}: ")) from None
        if channel is not None and info.channels > 1:
            raise Unusable(f"is one channel of a recording with {info.channels}; write each to a file of its own")
        return {"source": path, "duration": info.duration, **_part(fields, info.duration)}


def _probe_sound(path: Path) -> AudioInfo:
    return probe_audio(path)


def _part(fields: Mapping[str, Any], duration: float) -> dict[str, float | None]:
    """`start` and `end` of a part of a recording; both None where it is all of it."""
    start, end = fields.get("start") or 0.0, fields.get("end")
    if end is None or end > duration:
        if end is not None and end > duration + _OVERHANG and end != float("inf"):
            raise Unusable("ends after its recording")
        end = duration
    if start >= end:
        raise Unusable("its part of the recording is empty")
    if start == 0.0 and end >= duration - _WHOLE:
        return {"start": None, "end": None}
    return {"start": start, "end": end}


def _joined(text: str | None) -> str:
    parts = [part.strip() for part in (text or "").splitlines()]
    joined = " ".join(part for part in parts if part)
    if not joined:
        raise Unusable("its text is empty")
    return joined


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values that a manifest gives back as they are."""
    return {
        key: value
        for key, value in extra.items()
        if key not in _RESERVED
        and (isinstance(value, str | bool | int) or (isinstance(value, float) and abs(value) < float("inf")))
    }


def _check_storable(example: Example) -> None:
    """Half a surrogate pair is no character, and no manifest can hold one."""
    row = [getattr(example, name) for name in ("id", "text", "speaker", "writer", "language")]
    try:
        json.dumps([str(example.source), *row, dict(example.extra)], ensure_ascii=False).encode()
    except ValueError:
        raise Unusable("has a character that is no Unicode (half a surrogate pair)") from None


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
