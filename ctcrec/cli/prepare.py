"""`ctcrec prepare CORPUS SOURCE --out DIR`: a corpus on disk becomes manifests, one a split."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ctcrec.cli import manifests
from ctcrec.cli.manifests import write_all
from ctcrec.cli.progress import progress_bar

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make manifests of a corpus: DIR/<split>.jsonl.")

Source = Annotated[Path, typer.Argument(help="Folder of the corpus.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the manifests; it is made if needed.")]


FileOrFolder = Annotated[Path, typer.Argument(help="Folder of the corpus, or one file of it.")]
Media = Annotated[
    Path | None,
    typer.Option("--media", help="A second folder that media may be in; those elsewhere are refused, links too."),
]


class IamSplit(StrEnum):
    """The published splits of IAM."""

    RWTH = "rwth"
    OFFICIAL = "official"


class IamText(StrEnum):
    """Where the transcripts of IAM are from."""

    ASCII = "ascii"
    XML = "xml"


class StruckOut(StrEnum):
    """What happens to struck-out words."""

    KEEP = "keep"
    DROP = "drop"


class LjspeechText(StrEnum):
    """Columns of LJSpeech's metadata."""

    NORMALIZED = "normalized"
    RAW = "raw"


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
    media: Media = None,
) -> None:
    """LibriSpeech: <subset>/<speaker>/<chapter>/*.flac (.opus, .wav) and *.trans.txt; one manifest a subset."""
    from ctcrec.corpora import librispeech as corpus

    for name in download or ():
        source_of_subset = corpus.download(name, source)
        typer.echo(f"{name} is in {source_of_subset}")
    wanted = list(dict.fromkeys([*(subset or ()), *(download or ())]))
    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, wanted or None, media, done)
    write_all(prepared, out)


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
    media: Media = None,
) -> None:
    """Your own folder: x.png|jpg|tif with x.gt.txt (also .nrm.png, .bin.png), or x.wav|flac|opus|mp3 with x.txt."""
    from ctcrec.corpora import pairs as corpus
    from ctcrec.corpora.splits import parse_split

    chosen = parse_split(split, corpus.ENDINGS)
    with progress_bar("pairs") as done:
        prepared = corpus.prepare(source, chosen, kind.value if kind else None, media, done)
    write_all(prepared, out)


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
    write_all(prepared, out)


@app.command()
def iam(
    source: Source,
    out: Out,
    split: Annotated[IamSplit, typer.Option(help="Which of the two published splits; they must never be mixed.")],
    text: Annotated[
        IamText, typer.Option(help="Transcripts of ascii/lines.txt, or of xml/ (no space before punctuation).")
    ] = IamText.ASCII,
    list_: Annotated[
        list[str] | None,
        typer.Option(
            "--list",
            metavar="SPLIT=FILE",
            help="List of train, valid or test: one form (a01-000u) or line (a01-000u-00) a row. Default: a file below"
            " SOURCE with its usual name, e.g. train.uttlist (rwth), trainset.txt (official).",
        ),
    ] = None,
    struck_out: Annotated[StruckOut, typer.Option(help="Struck-out words, # in the transcripts.")] = StruckOut.KEEP,
    media: Media = None,
) -> None:
    """IAM Handwriting Database: lines/, and ascii/lines.txt with forms.txt or xml/; train, valid and test."""
    from ctcrec.corpora import iam as corpus
    from ctcrec.corpora.iam_splits import refuse_other_split

    lists = {name: Path(file) for name, _, file in (item.partition("=") for item in list_ or ())}
    refuse_other_split(out, split.value)
    with progress_bar("lines") as done:
        prepared = corpus.prepare(source, split.value, text.value, lists, struck_out.value, media, done)
    write_all(prepared, out)


@app.command()
def kaldi(source: Source, out: Out, media: Media = None) -> None:
    """Kaldi data folder, or a folder of them: wav.scp, text, and if there are any segments and utt2spk."""
    from ctcrec.corpora import kaldi as corpus

    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, media, done)
    write_all(prepared, out)


@app.command()
def nemo(source: FileOrFolder, out: Out, media: Media = None) -> None:
    """NeMo manifests (JSONL: audio_filepath, duration, offset, text): one file, or all of a folder."""
    from ctcrec.corpora import nemo as corpus

    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, media, done)
    write_all(prepared, out)


@app.command()
def lhotse(source: Source, out: Out, media: Media = None) -> None:
    """Lhotse: *recordings*.jsonl(.gz) with *supervisions*.jsonl(.gz)."""
    from ctcrec.corpora import lhotse as corpus

    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, media, done)
    write_all(prepared, out)


@app.command()
def ljspeech(
    source: Source,
    out: Out,
    text: Annotated[
        LjspeechText, typer.Option(help="Column of the text; normalized has numbers as words.")
    ] = LjspeechText.NORMALIZED,
    media: Media = None,
) -> None:
    """LJSpeech's layout: metadata.csv (id|text|normalized text) and wavs/."""
    from ctcrec.corpora import ljspeech as corpus

    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, text.value, media, done)
    write_all(prepared, out)


@app.command()
def commonvoice(
    source: Source,
    out: Out,
    subset: Annotated[
        list[str] | None, typer.Option(help="Table to prepare, e.g. validated; repeatable. Default: train, dev, test.")
    ] = None,
    media: Media = None,
) -> None:
    """Mozilla Common Voice, the folder of one language: train.tsv, dev.tsv, test.tsv and clips/."""
    from ctcrec.corpora import commonvoice as corpus

    with progress_bar("utterances") as done:
        prepared = corpus.prepare(source, subset, media, done)
    write_all(prepared, out)


@app.command()
def page(source: FileOrFolder, out: Out, media: Media = None) -> None:
    """PAGE XML with its page images: each line is cut out into DIR/lines."""
    from ctcrec.corpora import page as corpus

    with progress_bar("lines") as done:
        prepared = corpus.prepare(source, out, media, done)
    write_all(prepared, out)


@app.command()
def alto(source: FileOrFolder, out: Out, media: Media = None) -> None:
    """ALTO XML with its page images: each line is cut out into DIR/lines."""
    from ctcrec.corpora import alto as corpus

    with progress_bar("lines") as done:
        prepared = corpus.prepare(source, out, media, done)
    write_all(prepared, out)


@app.command()
def huggingface(
    source: FileOrFolder,
    out: Out,
    text_column: Annotated[str | None, typer.Option(help="Default: text, sentence, transcription, ...")] = None,
    media_column: Annotated[str | None, typer.Option(help="Default: the only audio or image column.")] = None,
    media: Media = None,
) -> None:
    """A local Hugging Face dataset (save_to_disk), or Parquet files, with an audio or an image column."""
    from ctcrec.corpora import huggingface as corpus

    with progress_bar("rows") as done:
        prepared = corpus.prepare(source, out, text_column, media_column, media, done)
    write_all(prepared, out)


@app.command()
def tsv(
    source: Annotated[Path, typer.Argument(help="Table: path and text, or a header with these and more columns.")],
    out: Out,
    media: Media = None,
) -> None:
    """A tab-separated table of audio files or line images and their texts."""
    from ctcrec.corpora import tsv as corpus

    with progress_bar("rows") as done:
        prepared = corpus.prepare(source, media, done)
    write_all(prepared, out)


app.command()(manifests.merge)
app.command("filter")(manifests.filter_)
app.command()(manifests.sample)
app.command()(manifests.split)
