"""`ctcrec render TEXT... --fonts DIR --out DIR`: line images drawn from text, with their transcripts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ctcrec.ocr.rendering.render import Rendered
    from ctcrec.records import Example

__all__ = ["MANIFEST", "render"]

MANIFEST = "lines.jsonl"


def render(
    texts: Annotated[
        list[Path], typer.Argument(metavar="TEXT...", help="Text files, UTF-8, a paragraph or a line a row; .xz, .gz.")
    ],
    fonts: Annotated[list[Path], typer.Option("--fonts", help="Folder of fonts (.ttf, .otf, .woff); repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for <font>/<number>.png, .gt.txt and lines.jsonl.")],
    lines: Annotated[int | None, typer.Option(min=1, help="Stop after so many lines. Default: the whole text.")] = None,
    characters: Annotated[tuple[int, int], typer.Option(min=1, help="Fewest and most characters of a line.")] = (
        20,
        70,
    ),
    hyphen: Annotated[str, typer.Option(help="Ends a line within a word; '' = words stay whole.")] = "-",
    dpi: Annotated[tuple[int, int], typer.Option(min=50, max=1200, help="Dots to the inch, from and to.")] = (100, 600),
    points: Annotated[tuple[float, float], typer.Option(min=4, max=72, help="Size of the type, from and to.")] = (
        8,
        12,
    ),
    language: Annotated[str | None, typer.Option(help="Recorded in the manifest, e.g. en.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other lines.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the degradation (keys of `augmentation`), e.g. blur_sigma=2."
        ),
    ] = None,
) -> None:
    """Draw text as lines of print, as old books look after scanning, for `ctcrec prepare pairs` or training directly.

    A line is drawn only in a font that has all its characters; lines that no font can draw are left out and counted.
    """
    from ctcrec.cli.progress import progress_bar
    from ctcrec.data.manifest import write_manifest
    from ctcrec.errors import DataError
    from ctcrec.ocr.rendering.drawing import Page
    from ctcrec.ocr.rendering.fonts import find_fonts
    from ctcrec.ocr.rendering.render import render as draw

    _check_ranges(characters=characters, dpi=dpi, points=points)
    degradation = _degradation(set_ or ())
    found = [font for folder in fonts for font in find_fonts(folder)]
    broken = itertools.islice(_lines(texts, characters, hyphen, seed), lines)
    with progress_bar("lines", lines) as done:
        rows, counts = draw(
            broken,
            found,
            out,
            seed=seed,
            page=Page(dpi=dpi, points=points),
            degradation=degradation,
            processes=processes,
            done=done,
        )
        try:
            write_manifest(out / MANIFEST, _examples(rows, language))
        except OSError as error:
            raise DataError(f"{out}: cannot be written: {error.strerror or error}; choose another --out") from None
    _say(counts, out)


def _check_ranges(**ranges: tuple[float, float]) -> None:
    from ctcrec.errors import InputError

    for name, (low, high) in ranges.items():
        if low > high:
            raise InputError(f"--{name} {low:g} {high:g}: the first must not be more than the second")


def _degradation(settings: Sequence[str]) -> dict[str, Any]:
    """The options of `LineAugmenter`: `SCAN` with changes, checked as a configuration's."""
    from ctcrec.config import LineAugmentation, parse_augmentation, parse_overrides
    from ctcrec.data.masking import FeatureMasker
    from ctcrec.errors import ConfigError
    from ctcrec.ocr.rendering.render import SCAN

    changes = parse_overrides(settings)
    kept = {**SCAN, **changes}
    for probability, options in LineAugmentation.OPTIONS.items():
        if kept.get(probability) == 0:  # what SCAN says of a change that is turned off
            kept = {key: value for key, value in kept.items() if key not in options or key in changes}
    section = parse_augmentation(kept, "--set")
    masker, degradation = FeatureMasker.split(section.model_dump())
    if masker != FeatureMasker():
        raise ConfigError("--set: masks are made in training, of features; they have no effect on images")
    return degradation


def _lines(paths: list[Path], characters: tuple[int, int], hyphen: str, seed: int) -> Iterator[str]:
    import numpy as np

    from ctcrec.ocr.rendering.lines import break_lines

    return break_lines(_paragraphs(paths), characters, hyphen, np.random.default_rng([seed, 0]))


def _paragraphs(paths: list[Path]) -> Iterator[str]:
    """Rows of all files in NFC, read one at a time."""
    import gzip
    import lzma
    import unicodedata
    from collections.abc import Callable

    from ctcrec.errors import DataError

    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
    for path in paths:
        try:
            with openers.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
                for row in file:
                    yield unicodedata.normalize("NFC", row)
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _examples(rows: Iterator[dict[str, Any]], language: str | None) -> Iterator[Example]:
    from ctcrec.records import Example

    for row in rows:
        yield Example(**row, language=language)


def _say(counts: Rendered, out: Path) -> None:
    typer.echo(f"{out / MANIFEST}: {counts.lines} lines in {len(counts.fonts)} fonts")
    if counts.elsewhere:
        typer.echo(f"{counts.elsewhere} lines went to another font, because the first lacked a character")
    if counts.left_out:
        shown = " ".join(f"{character!r} ({lines})" for character, lines in counts.missing.most_common(20))
        why = f"characters that no font has: {shown}" if shown else "no single font has all their characters"
        typer.echo(f"left out {counts.left_out} lines: {why}")
