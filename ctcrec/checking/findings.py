"""Findings: what is wrong with data, where, and how bad it is; as JSONL and as text for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ctcrec.errors import DataError

__all__ = ["KINDS", "Finding", "Gathered", "findings_text", "write_findings"]

Severity = Literal["error", "warning"]

KINDS: Mapping[str, tuple[Severity, str]] = {
    "row": ("error", "malformed rows, and manifests without examples"),
    "id": ("error", "ids that occur more than once in a manifest"),
    "text": ("error", "examples without text"),
    "media": ("error", "media that cannot be read"),
    "size": ("error", "durations or sizes in a manifest that are not those of the file"),
    "partition": ("error", "overlapping splits of one corpus"),
    "characters": ("error", "characters that the tokenizer lacks"),
    "frames": ("error", "texts that do not fit the frames of their media"),
    "blank": ("warning", "silent recordings and blank images"),
    "duplicate": ("warning", "examples with the same content"),
    "shared-content": ("warning", "the same content in several manifests"),
    "shared-id": ("warning", "the same id in several manifests"),
    "shared-speaker": ("warning", "speakers in several manifests"),
    "shared-writer": ("warning", "writers in several manifests"),
    "convention": ("warning", "mixed text conventions"),
    "density": ("warning", "texts unusually long or short for their media"),
    "rates": ("warning", "mixed sample rates"),
    "heights": ("warning", "mixed image heights"),
    "polarity": ("warning", "mixed polarity"),
    "form": ("warning", "mixed Unicode forms"),
    "look-alike": ("warning", "characters that look alike"),
    "control": ("warning", "control characters, invisible and broken ones"),
    "bidi": ("warning", "invisible characters that turn the direction of writing"),
}
"""Kind → severity and meaning. An error breaks training, or leaves the example out of it."""

_IDS = 100  # named in a finding; `count` tells how many there are


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        kind: one of `KINDS`.
        message: what was found, what was expected, and what to do.
        ids: examples concerned, at most 100 of them.
        count: how many examples are concerned.
        manifests: the manifests that they are in.
    """

    kind: str
    message: str
    ids: tuple[str, ...] = ()
    count: int = 1
    manifests: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """ "error" or "warning"."""
        return KINDS[self.kind][0]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, a line of the JSONL."""
        row = {"severity": self.severity, "kind": self.kind, "message": self.message, "count": self.count}
        return {**row, "ids": list(self.ids), "manifests": list(self.manifests)}


class Gathered:
    """Examples that one finding is about, gathered one by one in bounded memory."""

    def __init__(self) -> None:
        self.count = 0
        self._ids: list[str] = []
        self._manifests: dict[str, None] = {}

    def add(self, manifest: str, example_id: str) -> None:
        """One more example."""
        self.count += 1
        self._manifests.setdefault(manifest)
        if len(self._ids) < _IDS:
            self._ids.append(example_id)

    def finding(self, kind: str, message: str) -> Finding:
        """The finding about all of them."""
        return Finding(kind, message, tuple(self._ids), self.count, tuple(self._manifests))


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """JSONL, a finding a line, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(json.dumps(finding.to_dict(), ensure_ascii=False) + "\n" for finding in findings)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None


def findings_text(findings: Sequence[Finding], shown: int = 5) -> str:
    """Findings by kind, errors first, with the first few messages of each."""
    lines = []
    for kind, (severity, meaning) in KINDS.items():
        found = [finding for finding in findings if finding.kind == kind]
        if not found:
            continue
        lines.append(f"{severity}: {meaning} ({kind}, {len(found)})")
        lines += [f"    {_one_line(finding)}" for finding in found[:shown]]
        if len(found) > shown:
            lines.append(f"    … and {len(found) - shown} more")
    return "\n".join(lines)


def _one_line(finding: Finding) -> str:
    if finding.count == 1 and finding.ids:
        text = f"{finding.ids[0]}: {finding.message}"
    else:
        named = ", ".join(finding.ids[:3]) + (", …" if finding.count > 3 else "")
        text = finding.message + (f" ({finding.count} examples: {named})" if named else "")
    # Texts and names may hold anything; a terminal obeys some of it.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
