"""Check manifests: every row, text and medium by itself, then all of them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ctcrec.checking.comparison import Entry, compare
from ctcrec.checking.findings import Finding, Gathered, findings_text, write_findings
from ctcrec.checking.media import Medium, MediumRequest, guess_modality
from ctcrec.checking.origins import Origins
from ctcrec.checking.reading import MediaReader
from ctcrec.checking.target import Target
from ctcrec.checking.texts import TextSurvey
from ctcrec.ctc import min_frames
from ctcrec.data.manifest import iterate_manifest
from ctcrec.errors import InputError, ManifestError
from ctcrec.records import Example
from ctcrec.text.tokenizers import describe_character
from ctcrec.training.corpus import find_misfits

__all__ = ["Report", "check"]

Progress = Callable[[int], Callable[[int], None]]
"""Total → a function to call with the number done."""

_DURATION_TOLERANCE = 0.05  # seconds, and this share: containers and decoders differ in their padding


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        findings: in the order of `ctcrec.checking.findings.KINDS` as far as `text` shows them.
        n_manifests, n_examples: what was checked.
        n_read, n_remembered: media read now, and taken from an earlier check because they have not changed.
        not_checked: what could not be checked, and what to give for it.
    """

    findings: tuple[Finding, ...]
    n_manifests: int
    n_examples: int
    n_read: int
    n_remembered: int
    not_checked: tuple[str, ...]

    @property
    def breaks_training(self) -> bool:
        """Whether there is an error among the findings."""
        return any(finding.severity == "error" for finding in self.findings)

    def text(self) -> str:
        """A summary for people."""
        remembered = f", {self.n_remembered} unchanged since the last check" if self.n_remembered else ""
        lines = [f"{self.n_examples} examples in {self.n_manifests} manifests; {self.n_read} media read{remembered}"]
        lines += [f"not checked: {what}" for what in self.not_checked]
        errors = sum(finding.severity == "error" for finding in self.findings)
        lines += [findings_text(self.findings)] if self.findings else []
        return "\n".join([*lines, f"{errors} errors, {len(self.findings) - errors} warnings"])


def check(
    manifests: Sequence[Path],
    target: Target | None = None,
    *,
    whole: bool = True,
    out: Path | None = None,
    processes: int = 2,
    progress: Progress | None = None,
) -> Report:
    """Find what would break or spoil a training on these manifests.

    About 1 kB an example is kept in memory until the end; media are in memory only while they are read.

    Args:
        manifests: to check, alone and against each other.
        target: text convention, tokenizer and subsampling to check against.
        whole: decode all content; False = read headers only.
        out: JSONL of the findings; what was read is remembered beside it (`*.media.jsonl`), so that the next check
            with the same `out` reads only what has changed.
        processes: that read media; 0 = this one.
        progress: called with the number of rows when reading begins.

    Raises:
        ManifestError: a manifest cannot be read.
        DataError: `out` cannot be written.
        InputError: a manifest is given twice, or is `out`.
    """
    _refuse_confusion(manifests, out)
    record = None if out is None else out.with_name(out.stem + ".media.jsonl")
    with MediaReader(processes, whole, record) as reader:
        done = (progress or (lambda total: lambda count: None))(_count_rows(manifests))
        inspection = _Inspection(target)
        for number, (item, medium) in enumerate(reader.read(inspection.requests(manifests)), start=1):
            inspection.take(*item, medium)
            done(number)
    findings = tuple(inspection.finish())
    if out is not None:
        write_findings(out, findings)
    not_checked = []
    if target is None:
        not_checked.append("characters that a tokenizer lacks, and texts that do not fit; give --run or --config")
    if not whole:
        not_checked.append("damage behind the headers, silence, polarity, equal content of different files")
    return Report(
        findings, len(manifests), len(inspection.entries), reader.n_read, reader.n_remembered, tuple(not_checked)
    )


class _Inspection:
    """Takes examples with their media one by one; `findings` grows, and `entries` keeps what comparing needs."""

    def __init__(self, target: Target | None) -> None:
        self.entries: list[Entry] = []
        self._target = target
        self._findings: list[Finding] = []
        self._texts = TextSurvey()
        self._unknown: dict[str, Gathered] = {}
        self._twice: dict[tuple[str, str], Gathered] = {}
        self._seen: dict[str, set[str]] = {}  # ids of each manifest
        self._origins = Origins()
        self._to_fit: list[int] = []  # numbers of entries, and of each:
        self._needed: list[int] = []  # frames that its target needs
        self._frames: list[int] = []  # feature frames that it has

    def requests(self, manifests: Sequence[Path]) -> Iterator[tuple[tuple[str, Example], MediumRequest]]:
        """The examples of all manifests, and what is to be read of each; malformed rows become findings."""
        for path in manifests:
            name = str(path)

            def note(error: ManifestError, name: str = name) -> None:
                self._findings.append(Finding("row", str(error), manifests=(name,)))

            self._seen[name] = set()
            for example in iterate_manifest(path, malformed=note):
                modality = self._target.modality if self._target else guess_modality(example)
                source = os.path.abspath(example.source)
                yield (name, example), MediumRequest(source, modality, example.start, example.end)

    def take(self, manifest: str, example: Example, medium: Medium) -> None:
        """One example by itself."""
        if example.id in self._seen[manifest]:
            self._twice.setdefault((manifest, example.id), Gathered()).add(manifest, example.id)
        self._seen[manifest].add(example.id)
        self._origins.add(manifest, example)
        text = self._check_text(manifest, example)
        self._check_medium(manifest, example, medium)
        seconds = None
        if medium.duration is not None:
            end = example.end if example.end is not None else medium.duration
            seconds = end - (example.start or 0.0)
        place = (os.path.abspath(example.source), example.start, example.end)
        self.entries.append(
            Entry(manifest, example.id, example.speaker, example.writer, place, hash(text), len(text), seconds, medium)
        )
        if self._target is not None and text and medium.error is None:
            self._measure(example, medium, text)

    def finish(self) -> Iterator[Finding]:
        """All findings, after the last example."""
        yield from self._findings
        for manifest, ids in self._seen.items():
            if not ids:
                message = f"{manifest}: has no examples; leave it out, or prepare its corpus again"
                yield Finding("row", message, count=0, manifests=(manifest,))
        for (_, example_id), gathered in self._twice.items():
            yield gathered.finding("id", f"id {example_id!r} occurs {gathered.count + 1} times; make ids unique")
        for character, gathered in sorted(self._unknown.items()):
            yield gathered.finding(
                "characters",
                f"{describe_character(character)} in {gathered.count} texts has no token; normalize it away"
                " (text.normalization), or train on texts that have it",
            )
        yield from self._misfits()
        yield from self._origins.findings()
        yield from compare(self.entries)
        yield from self._texts.findings()

    def _note(self, kind: str, manifest: str, example: Example, message: str) -> None:
        self._findings.append(Finding(kind, message, (example.id,), 1, (manifest,)))

    def _check_text(self, manifest: str, example: Example) -> str:
        """The text as training will see it."""
        given = example.text
        text = self._target.normalizer.normalize(given or "") if self._target else given or ""
        if given is None:
            self._note("text", manifest, example, "its row has no text; add the key `text`, or remove the row")
        elif not text.strip():
            why = "its text is empty" + (f" after normalization, it was {given!r}" if given.strip() else "")
            self._note("text", manifest, example, f"{why}; add its text, or remove its row")
        self._texts.add(manifest, example.id, text)
        for character in self._target.tokenizer.missing(text) if self._target else ():
            self._unknown.setdefault(character, Gathered()).add(manifest, example.id)
        return text

    def _check_medium(self, manifest: str, example: Example, medium: Medium) -> None:
        if medium.error is not None:
            self._note("media", manifest, example, medium.error)
            return
        wrong = []
        if example.duration is not None and medium.duration is not None:
            allowed = _DURATION_TOLERANCE * (1 + medium.duration)
            if abs(example.duration - medium.duration) > allowed:
                wrong.append(f"a duration of {example.duration:g} s, and the file has {medium.duration:.3f} s")
        for side in ("width", "height"):
            said, there = getattr(example, side), getattr(medium, side)
            if said is not None and there is not None and said != there:
                wrong.append(f"a {side} of {said} pixels, and the file has {there}")
        if wrong:
            self._note("size", manifest, example, f"its row says {'; '.join(wrong)}: prepare the corpus again")
        if medium.flat:
            what = "is silent throughout" if medium.duration is not None else "is one plain color"
            self._note("blank", manifest, example, f"{example.source}: {what}; remove it, or fetch it again")

    def _measure(self, example: Example, medium: Medium, text: str) -> None:
        """Remember how many frames the target needs and has."""
        assert self._target is not None
        target = self._target.tokenizer.encode(text, unknown="skip")
        known = replace(example, duration=medium.duration, width=medium.width, height=medium.height)
        self._to_fit.append(len(self.entries) - 1)
        self._needed.append(min_frames(target))
        self._frames.append(self._target.preprocessor.count_frames(known))

    def _misfits(self) -> Iterator[Finding]:
        if self._target is None or not self._to_fit:
            return
        factor = self._target.model.subsampling_factor
        for misfit in find_misfits(self._needed, self._frames, self._target.model):
            entry = self.entries[self._to_fit[misfit.index]]
            fits = f"a subsampling of {misfit.subsampling} would fit" if misfit.subsampling else "no subsampling fits"
            yield Finding(
                "frames",
                f"its text needs {misfit.needed} frames (labels + repeats), and {misfit.frames} are left of"
                f" {self._frames[misfit.index]} after a subsampling of {factor}; {fits}; or is this another's text?",
                (entry.id,),
                1,
                (entry.manifest,),
            )


def _refuse_confusion(manifests: Sequence[Path], out: Path | None) -> None:
    paths = [path.resolve() for path in manifests]
    for path, resolved in zip(manifests, paths, strict=True):
        if paths.count(resolved) > 1:
            raise InputError(f"{path}: is given twice; give each manifest once")
    if out is not None and out.resolve() in paths:
        raise InputError(f"--out {out}: would overwrite a manifest; choose another name")
    if out is not None and out.suffix != ".jsonl":
        raise InputError(f"--out {out}: the findings are JSONL; choose a name that ends in .jsonl")


def _count_rows(manifests: Sequence[Path]) -> int:
    """Rows of all manifests, for progress. What cannot be read is told when it is read."""
    rows = 0
    for path in manifests:
        try:
            with path.open("rb") as file:
                rows += sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        except OSError:
            continue
    return rows
