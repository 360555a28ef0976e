"""What a corpus reader gives: examples by split, and what it left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctcrec.data.manifest import write_manifest
from ctcrec.errors import CorpusError
from ctcrec.records import Example

__all__ = ["LeftOut", "Prepared", "write_prepared"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of a corpus that is in no manifest: an id or path, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Examples by split name (`train`, `test`, ...) in a fixed order, what was left out, and what else to know."""

    splits: Mapping[str, Sequence[Example]]
    left_out: Sequence[LeftOut] = ()
    notes: Sequence[str] = ()


def write_prepared(prepared: Prepared, out: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Write `out/<split>.jsonl` for each split and say what is in them, and what was left out and why.

    Raises:
        CorpusError: nothing at all was found, or `out` cannot be written.
    """
    if not any(prepared.splits.values()):
        reasons = Counter(item.reason for item in prepared.left_out)
        why = "; ".join(f"{count} left out: {reason}" for reason, count in reasons.most_common(3))
        raise CorpusError(f"{out}: no examples were found, nothing was written{': ' + why if why else ''}")
    paths = []
    for name, examples in prepared.splits.items():
        path = out / f"{name}.jsonl"
        try:
            write_manifest(path, examples)
        except OSError as error:
            raise CorpusError(
                f"{out}: manifests cannot be written: {error.strerror or error}; choose another --out"
            ) from None
        paths.append(path)
        say(f"{path}: {_summary(examples)}")
    for reason, count in Counter(item.reason for item in prepared.left_out).most_common():
        some = ", ".join(item.what for item in prepared.left_out if item.reason == reason)
        say(f"left out {count}: {reason} ({some if len(some) < 200 else some[:200] + ' …'})")
    for note in prepared.notes:
        say(note)
    return paths


def _summary(examples: Sequence[Example]) -> str:
    seconds = sum(example.duration or 0.0 for example in examples)
    speakers = {example.speaker for example in examples} - {None}
    writers = {example.writer for example in examples} - {None}
    characters = sum(len(example.text or "") for example in examples)
    distinct = len(set().union(*(example.text or "" for example in examples)))
    parts = [f"{seconds / 3600:.2f} h in {len(examples)} utterances" if seconds else f"{len(examples)} lines"]
    if speakers:
        parts.append(f"{len(speakers)} speakers")
    if writers:
        parts.append(f"{len(writers)} writers")
    return ", ".join([*parts, f"{characters} characters ({distinct} distinct)"])
