"""`ctcrec prepare merge|filter|sample|split`: work on manifests that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ctcrec.corpora import Prepared

__all__ = ["filter_", "merge", "sample", "split", "write_all"]

Manifests = Annotated[list[Path], typer.Argument(help="Manifests, JSONL.")]
OutFile = Annotated[Path, typer.Option("--out", help="Manifest to write, FILE.jsonl.")]
Pattern = list[str] | None


def merge(manifest: Manifests, out: OutFile) -> None:
    """One manifest of several; equal ids with different content are an error."""
    from ctcrec.corpora.manifests import merge as merge_manifests

    write_all(merge_manifests(manifest, _name(out, manifest)), out.parent)


def filter_(
    manifest: Manifests,
    out: OutFile,
    min_duration: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    max_duration: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    min_width: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    max_width: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    min_characters: Annotated[int | None, typer.Option(help="Length of the text.")] = None,
    max_characters: Annotated[int | None, typer.Option(help="Length of the text.")] = None,
    text: Annotated[str | None, typer.Option(help="Regular expression that must be found in the text.")] = None,
    without_text: Annotated[str | None, typer.Option(help="Regular expression that must not be found.")] = None,
    id_: Annotated[Pattern, typer.Option("--id", help="Ids, or shell patterns; repeatable.")] = None,
    without_id: Annotated[Pattern, typer.Option(help="Ids to leave out.")] = None,
    speaker: Annotated[Pattern, typer.Option(help="Speakers, or shell patterns; repeatable.")] = None,
    without_speaker: Annotated[Pattern, typer.Option(help="Speakers to leave out.")] = None,
    writer: Annotated[Pattern, typer.Option(help="Writers, or shell patterns; repeatable.")] = None,
    without_writer: Annotated[Pattern, typer.Option(help="Writers to leave out.")] = None,
) -> None:
    """The examples that meet all conditions; says how many each condition left out."""
    from ctcrec.corpora.manifests import by_group, by_text, filter_examples, within
    from ctcrec.data.manifest import read_manifests

    bounds = {
        "duration": (min_duration, max_duration),
        "width": (min_width, max_width),
        "characters": (min_characters, max_characters),
    }
    names = {"id": (id_, without_id), "speaker": (speaker, without_speaker), "writer": (writer, without_writer)}
    conditions = [
        within(quantity, low, high) for quantity, (low, high) in bounds.items() if (low, high) != (None, None)
    ]
    conditions += [by_text(pattern, wanted) for pattern, wanted in ((text, True), (without_text, False)) if pattern]
    for key, (wanted_names, unwanted_names) in names.items():
        conditions += [by_group(wanted_names, True, key)] if wanted_names else []
        conditions += [by_group(unwanted_names, False, key)] if unwanted_names else []
    name = _name(out, manifest)
    write_all(filter_examples(read_manifests(manifest), conditions, name), out.parent)


def sample(
    manifest: Manifests,
    out: OutFile,
    count: Annotated[int | None, typer.Option(min=1, help="Number of examples.")] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Hours of audio, at most.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other examples.")] = 1,
) -> None:
    """Examples at random: a number of them, or hours; the same for the same seed, whatever the order of the rows."""
    from ctcrec.corpora.manifests import sample as draw
    from ctcrec.data.manifest import read_manifests

    name = _name(out, manifest)
    write_all(draw(read_manifests(manifest), name, count, hours, seed), out.parent)


def split(
    manifest: Manifests,
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifests; it is made if needed.")],
    split: Annotated[str, typer.Option(help="Names and shares.")] = "train=0.8,valid=0.1,test=0.1",
    by: Annotated[
        str | None,
        typer.Option(
            help="What stays together: speaker, writer, folder (the first of the id), another key of the rows such as"
            " book, or id. Default: speaker or writer."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws another split.")] = 0,
) -> None:
    """Manifests by shares, never inside a speaker, a writer or what --by names; decided by a hash of its name."""
    from ctcrec.corpora.manifests import split_by_group
    from ctcrec.corpora.splits import parse_fractions
    from ctcrec.data.manifest import read_manifests

    fractions = parse_fractions(split)
    for name in fractions:
        _name(out / f"{name}.jsonl", manifest)
    write_all(split_by_group(read_manifests(manifest), fractions, by, seed), out)


def _name(out: Path, manifests: list[Path]) -> str:
    """The name of the split that `out` holds; refuses to overwrite what is read."""
    from ctcrec.errors import InputError

    if out.suffix != ".jsonl":
        raise InputError(f"--out {out}: a manifest is called FILE.jsonl")
    if any(out.resolve() == path.resolve() for path in manifests):
        raise InputError(f"--out {out}: would overwrite a manifest that is read; choose another name")
    return out.stem


def write_all(prepared: Prepared, out: Path) -> None:
    """Write the manifests of all splits into the folder `out`, and say what is in them."""
    from ctcrec.corpora import write_prepared

    write_prepared(prepared, out, say=typer.echo)
