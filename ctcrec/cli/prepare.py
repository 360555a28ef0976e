"""`ctcrec prepare CORPUS SOURCE --out DIR`: a corpus on disk becomes manifests, one a split."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcrec.cli import manifests
from ctcrec.cli.progress import progress_bar

if TYPE_CHECKING:
    from ctcrec.corpora import Prepared

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make manifests of a corpus: DIR/<split>.jsonl.")

Source = Annotated[Path, typer.Argument(help="Folder of the corpus.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the manifests; it is made if needed.")]


class PairKind(StrEnum):
    """What a folder of pairs holds."""

    LINES = "lines"
    UTTERANCES = "utterances"


@app.command()
def librispeech(
    source: Source,
    out: Out,
    subset: Annotated[
        list[str] | None, typer.Option(help="Subset to prepare; repeat for more. Default: all that are there.")
    ] = None,
    download: Annotated[
        list[str] | None, typer.Option(help="Subset to fetch into SOURCE first, e.g. train-clean-100; repeatable.")
    ] = None,
) -> None:
    """LibriSpeech: <subset>/<speaker>/<chapter>/*.flac (.opus, .wav) and *.trans.txt; one manifest a subset."""
    from ctcrec.corpora import librispeech as corpus

    for name in download or ():
        source_of_subset = corpus.download(name, source)
        typer.echo(f"{name} is in {source_of_subset}")
    wanted = list(dict.fromkeys([*(subset or ()), *(download or ())]))
    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, wanted or None, done)
    _write(prepared, out)


@app.command()
def pairs(
    source: Source,
    out: Out,
    split: Annotated[
        str,
        typer.Option(
            help="train=0.9,test=0.1: examples by a hash of their id; folders:train=0.9,test=0.1: whole top folders by"
            " a hash of their name; folders:test=NAME+PATTERN*,train=*: folders by name; folders: each top folder is"
            " a split; list:train=FILE,test=FILE: files with one id or file name a line."
        ),
    ] = "train=0.8,valid=0.1,test=0.1",
    kind: Annotated[PairKind | None, typer.Option(help="Which to take where a folder has both.")] = None,
) -> None:
    """Your own folder: x.png|jpg|tif with x.gt.txt (also .nrm.png, .bin.png), or x.wav|flac|opus|mp3 with x.txt."""
    from ctcrec.corpora import pairs as corpus
    from ctcrec.corpora.splits import parse_split

    chosen = parse_split(split, corpus.ENDINGS)
    with progress_bar("pairs") as done:
        prepared = corpus.prepare(source, chosen, kind.value if kind else None, done)
    _write(prepared, out)


@app.command()
def fsdd(
    source: Source,
    out: Out,
    strings: Annotated[int, typer.Option(min=0, help="Digit strings for training; 0 = isolated digits only.")] = 2000,
    test_strings: Annotated[int, typer.Option(min=1, help="Digit strings of each other split.")] = 300,
    lengths: Annotated[tuple[int, int], typer.Option(help="Fewest and most digits of a string.")] = (3, 8),
    leave_out: Annotated[str | None, typer.Option(help="Speaker to keep for a test of its own.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 1,
) -> None:
    """Free Spoken Digit Dataset: isolated digits, or strings made of them; indices 0 to 4 are the test set."""
    from ctcrec.corpora import fsdd as corpus

    total = strings + test_strings * (3 if leave_out else 2) if strings else None
    with progress_bar("strings", total) as done:
        prepared = corpus.prepare(
            source,
            out,
            strings=strings,
            test_strings=test_strings,
            lengths=lengths,
            leave_out=leave_out,
            seed=seed,
            done=done,
        )
    _write(prepared, out)


def _write(prepared: Prepared, out: Path) -> None:
    from ctcrec.corpora import write_prepared

    write_prepared(prepared, out, say=typer.echo)


app.command()(manifests.merge)
app.command("filter")(manifests.filter_)
app.command()(manifests.sample)
app.command()(manifests.split)
