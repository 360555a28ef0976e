"""`ctcrec score REF HYP...`: error rates of transcripts against references, and comparison of several systems."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ctcrec.scoring import Collection, Comparison, Report

__all__ = ["score"]


class OutputFormat(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


class AlignmentRule(StrEnum):
    """How references and hypotheses are aligned."""

    MINIMUM = "minimum"
    SCLITE = "sclite"


class Missing(StrEnum):
    """What a reference without hypothesis counts as."""

    ERRORS = "errors"
    SKIP = "skip"


FileFormat = StrEnum("FileFormat", ["lines", "trn", "kaldi", "tsv", "jsonl", "stm", "ctm", "folder"])


def score(
    reference: Annotated[Path, typer.Argument(help="References: a file, or a folder of x.gt.txt.")],
    hypothesis: Annotated[
        list[Path], typer.Argument(help="Hypotheses: a file, or a folder of x.pred.txt; several are compared.")
    ],
    output: Annotated[OutputFormat, typer.Option("--format", help="How to print the result.")] = OutputFormat.TEXT,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.json, report.txt, report.html and worst.txt.")
    ] = None,
    text: Annotated[
        str,
        typer.Option(
            help="Text convention: raw, nfc, librispeech, iam-ascii, iam-xml, lower-no-punctuation, or steps "
            "joined by +, e.g. nfc+lowercase."
        ),
    ] = "nfc",
    alignment: Annotated[AlignmentRule, typer.Option(help="minimum: fewest errors; sclite: as NIST's sclite.")] = (
        AlignmentRule.MINIMUM
    ),
    missing: Annotated[Missing, typer.Option(help="References without hypothesis count as errors, or not at all.")] = (
        Missing.ERRORS
    ),
    by: Annotated[list[str] | None, typer.Option(help="Field of the references to group by; repeat for more.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples; 0: no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst examples to list.")] = 20,
    reference_format: Annotated[
        FileFormat | None, typer.Option(help="Format of REFERENCE; else its name tells.")
    ] = None,
    hypothesis_format: Annotated[
        FileFormat | None, typer.Option(help="Format of each HYPOTHESIS; else its name tells.")
    ] = None,
    rover: Annotated[
        Path | None, typer.Option(help="Vote over all hypotheses, write the result here and score it as well.")
    ] = None,
    export: Annotated[
        FileFormat | None,
        typer.Option(
            help="Also write what was scored, normalized, in this format below --out (of ctm, references as stm)."
        ),
    ] = None,
) -> None:
    """Score hypotheses against references, matched by id: WER, CER, by speaker, with intervals; compare systems."""
    from ctcrec.clips import CollectionClips
    from ctcrec.data.partitions import text_conventions
    from ctcrec.errors import ConfigError, DataError
    from ctcrec.scoring import place_words, read_collection, score_collections
    from ctcrec.scoring.html_report import write_html
    from ctcrec.text import Normalizer

    if export is not None and out is None:
        raise ConfigError("--export needs --out, the folder to write to")
    if rover is not None and len(hypothesis) < 2:
        raise ConfigError("--rover votes over systems, so it needs at least two HYPOTHESIS files")
    if len(hypothesis) > 1 and not samples:
        raise ConfigError("comparing systems needs --samples of at least 1")
    normalizer = Normalizer.of(text)
    references = read_collection(reference, "reference", reference_format and reference_format.value)
    systems: dict[str, Collection] = {}
    for name, path in zip(_names(hypothesis), hypothesis, strict=True):
        collection = read_collection(path, "hypothesis", hypothesis_format and hypothesis_format.value)
        ctm = (hypothesis_format or path.suffix.lstrip(".")) == "ctm"
        systems[name] = place_words(references, collection) if ctm else collection
    if rover is not None:
        systems["rover"] = _vote(systems, rover)
    reports = {
        name: score_collections(
            references,
            collection,
            normalizer,
            by or (),
            alignment=alignment.value,
            missing=missing.value,
            samples=samples,
            seed=seed,
            worst=worst,
        )
        for name, collection in systems.items()
    }
    if conventions := ",".join(text_conventions(entry.fields for entry in references.values())):
        reports = {
            name: dataclasses.replace(report, signature=f"{report.signature}|manifest:{conventions}")
            for name, report in reports.items()
        }
    comparisons = _compare(reports, references, samples, seed)
    if out is not None:
        try:
            _write(out, reports, comparisons)
            if export is not None:
                _export(out, reports, references, systems, export.value)
            for name, collection in systems.items():
                page = _folder(out, name, reports) / "report.html"
                clips = CollectionClips(reference, references, collection)
                write_html(page, reports[name], clips, comparisons, title=f"{name} against {reference.name}")
                if clips.errors:
                    typer.echo(
                        f"{page}: media of {len(clips.errors)} examples are left out: {clips.errors[0]}", err=True
                    )
        except OSError as error:
            raise DataError(f"{out}: the reports cannot be written: {error.strerror or error}") from None
    _print(reports, comparisons, output)


def _names(paths: list[Path]) -> list[str]:
    """A name for each system: the file's stem, or its whole path where stems are not unique."""
    stems = [path.stem or path.name for path in paths]
    unique = len({*stems, "rover"}) == len(stems) + 1
    return stems if unique else [str(path).replace("/", "_") for path in paths]


def _vote(systems: dict[str, Collection], path: Path) -> Collection:
    """Vote over the systems on every id that any of them has, and write the result."""
    from ctcrec.scoring import Entry, TimedWord, rover, write_collection

    voted: Collection = {}
    for identifier in dict.fromkeys(name for collection in systems.values() for name in collection):
        entries = [collection[identifier] for collection in systems.values() if identifier in collection]
        words = rover([[TimedWord(word) for word in entry.text.split()] for entry in entries])
        voted[identifier] = Entry(identifier, " ".join(word.word for word in words))
    write_collection(path, voted.values())
    return voted


def _compare(reports: dict[str, Report], references: Collection, samples: int, seed: int) -> list[Comparison]:
    from ctcrec.scoring import compare_all

    if len(reports) < 2:
        return []
    groups = {name: entry.fields.get("speaker", entry.fields.get("writer", "")) for name, entry in references.items()}
    return compare_all(reports, {name: group for name, group in groups.items() if group}, samples, seed)


def _folder(out: Path, name: str, reports: dict[str, Report]) -> Path:
    return out / name if len(reports) > 1 else out


def _write(out: Path, reports: dict[str, Report], comparisons: list[Comparison]) -> None:
    """One folder a system, or `out` itself if there is one alone."""
    for name, report in reports.items():
        folder = _folder(out, name, reports)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
        (folder / "report.txt").write_text(report.text(), encoding="utf-8")
        report.write_aligned_worst(folder / "worst.txt")
    if comparisons:
        (out / "comparison.txt").write_text("\n".join(item.text() for item in comparisons), encoding="utf-8")


def _export(
    out: Path, reports: dict[str, Report], references: Collection, systems: dict[str, Collection], form: str
) -> None:
    """What was scored, normalized: `reference` and `hypothesis` in one format, with the references' fields and the
    words' times and confidences where the texts still spell them. The references of a ctm go to a stm."""
    from dataclasses import replace

    from ctcrec.scoring import Entry, write_collection

    for name, report in reports.items():
        folder = _folder(out, name, reports)
        for side, (role, collection) in enumerate((("reference", references), ("hypothesis", systems[name]))):
            entries = []
            for identifier, pair in report.details.items():
                entry = collection.get(identifier, Entry(identifier, ""))
                spelled = [word.word for word in entry.words] == pair[side].split()
                fields = references[identifier].fields
                entries.append(
                    replace(entry, text=pair[side], fields=fields, words=entry.words if spelled else (), tokens=())
                )
            side_form = "stm" if form == "ctm" and role == "reference" else form
            target = folder / (role if form == "folder" else f"{role}.{side_form}")
            write_collection(target, entries, side_form, "hypothesis" if role == "hypothesis" else "reference")


def _print(reports: dict[str, Report], comparisons: list[Comparison], output: OutputFormat) -> None:
    import json

    if output is OutputFormat.JSON:
        documents = {name: report.to_dict() for name, report in reports.items()}
        result = (
            next(iter(documents.values()))
            if len(documents) == 1
            else {"systems": documents, "comparisons": [item.to_dict() for item in comparisons]}
        )
        typer.echo(json.dumps(result, ensure_ascii=False, indent=1))
        return
    for name, report in reports.items():
        if len(reports) > 1:
            typer.echo(f"=== {name}")
        typer.echo(report.text())
    for comparison in comparisons:
        typer.echo(comparison.text())
