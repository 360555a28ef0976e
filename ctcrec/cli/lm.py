"""`ctcrec lm`: estimate, convert and score n-gram language models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="N-gram language models: train, compile, score.")

Texts = Annotated[list[Path], typer.Argument(help="Text files, one sentence a line; .gz, .xz and .bz2 are unpacked.")]
Convention = Annotated[
    str,
    typer.Option("--text", help="Text convention: raw, librispeech, lower-no-punctuation, ..., or steps joined by +."),
]
Characters = Annotated[bool, typer.Option("--characters", help="Characters are the words; a space is written as |.")]


@app.command()
def train(
    texts: Texts,
    out: Annotated[Path, typer.Option("--out", help="FILE.arpa, FILE.arpa.gz, or another name for the binary form.")],
    order: Annotated[int, typer.Option(min=1, max=6, help="Longest n-gram.")] = 3,
    prune: Annotated[
        str, typer.Option(help="Counts up to which n-grams of length 1, 2, ... are left out, e.g. '0,0,1'.")
    ] = "0",
    text: Convention = "raw",
    characters: Characters = False,
) -> None:
    """Estimate a model by interpolated modified Kneser-Ney."""
    from ctcrec.errors import ConfigError, DataError
    from ctcrec.lm.arpa import write_arpa
    from ctcrec.lm.estimation import estimate

    try:
        thresholds = [int(number) for number in prune.split(",")]
    except ValueError:
        raise ConfigError(f"--prune must be numbers joined by commas, like 0,0,1, not {prune!r}") from None
    model = estimate(_sentences(texts, text, characters), order, prune=thresholds)
    try:
        if out.name.endswith((".arpa", ".arpa.gz")):
            write_arpa(model, out)
        else:
            model.save(out)
    except OSError as error:
        raise DataError(f"{out}: the model cannot be written: {error.strerror or error}") from None
    counts = ", ".join(f"{count} {length}-grams" for length, count in enumerate(model.counts, start=1))
    typer.echo(f"{out}: {counts}")


@app.command(name="compile")
def compile_(
    model: Annotated[Path, typer.Argument(help="ARPA file, gzip too.")],
    out: Annotated[Path, typer.Option("--out", help="File for the binary form, which loads in milliseconds.")],
) -> None:
    """Convert an ARPA file into the binary form."""
    from ctcrec.errors import DataError
    from ctcrec.lm import NGramLM

    read = NGramLM.load(model)
    try:
        read.save(out)
    except OSError as error:
        raise DataError(f"{out}: the model cannot be written: {error.strerror or error}") from None
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Language model: ARPA, gzip too, or the binary form.")],
    texts: Texts,
    text: Convention = "raw",
    characters: Characters = False,
    sentences: Annotated[bool, typer.Option("--sentences", help="Also print each one's log10 probability.")] = False,
) -> None:
    """Perplexity of texts, with and without the words that the model does not know; bits per character and byte."""
    import math

    from ctcrec.lm import NGramLM
    from ctcrec.scoring.likelihood import Likelihood, text_sizes

    lm = NGramLM.load(model)
    sizes = [0, 0]

    def measured(sentence: str) -> str:
        spelled = "".join(" " if word == "|" else word for word in sentence.split(" ")) if characters else sentence
        for place, size in enumerate(text_sizes([spelled])):
            sizes[place] += size
        return sentence

    lines: Iterator[str] = map(measured, _sentences(texts, text, characters))
    if sentences:
        lines = _printing(lines, lm)
    result = lm.perplexity(lines)
    typer.echo(f"perplexity {result.with_unknown:.2f}  without unknown words {result.without_unknown:.2f}")
    typer.echo(
        f"{result.words} words with </s>, {result.unknown} unknown, {result.sentences} sentences, "
        f"log10 probability {result.log10_prob:.3f}"
    )
    found = Likelihood(-result.log10_prob * math.log(10.0), result.words, *sizes)
    typer.echo(
        f"{found.bits_per_character:.4f} bits per character, {found.bits_per_byte:.4f} bits per byte, ends of lines"
        " counted" + ("; unknown words are one class, so this is too little" if result.unknown else "")
    )


def _printing(lines: Iterator[str], lm: object) -> Iterator[str]:
    from ctcrec.lm import NGramLM

    assert isinstance(lm, NGramLM)
    for line in lines:
        typer.echo(f"{lm.score(line):.5f}\t{line}")
        yield line


def _sentences(paths: list[Path], convention: str, characters: bool) -> Iterator[str]:
    """The normalized, non-empty lines of all files, read one at a time."""
    import bz2
    import gzip
    import lzma

    from ctcrec.errors import DataError
    from ctcrec.text import Normalizer

    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    normalizer = Normalizer.of(convention)
    for path in paths:
        try:
            with openers.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
                for line in file:
                    sentence = normalizer.normalize(line.strip())
                    if characters:
                        sentence = " ".join("|" if letter == " " else letter for letter in sentence)
                    if sentence:
                        yield sentence
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
