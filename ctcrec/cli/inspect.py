"""`ctcrec inspect RUN FILE --out picture.png`: what a model makes of one file, in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model.")],
    file: Annotated[Path, typer.Argument(help="A recording or a line image.")],
    out: Annotated[Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.")],
    text: Annotated[
        str | None, typer.Option(help="What the file says, to be aligned. Default: what is recognized.")
    ] = None,
) -> None:
    """Features, frame posteriors, best path and alignment of one file in one picture."""
    from ctcrec.config import DecodingConfig
    from ctcrec.diagnosis.picture import draw_example
    from ctcrec.recognizer import Recognizer

    recognizer = Recognizer.load(run, decoding=DecodingConfig())
    typer.echo(draw_example(recognizer, file, out, text))
    typer.echo(f"written: {out}")
