"""`ctcrec inspect RUN FILE`: what a model makes of one file, in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model.")],
    file: Annotated[Path, typer.Argument(help="A recording or a line image.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Picture to write: .png, .pdf or .svg. Default: FILE's name.inspect.png."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="What the file says, to be aligned. Default: what is recognized.")
    ] = None,
) -> None:
    """Features, frame posteriors, best path, alignment and attention of one file in one picture."""
    from ctcrec.checkpoint import load_checkpoint
    from ctcrec.diagnosis.picture import draw_example
    from ctcrec.recognizer import Recognizer

    path = out or Path(f"{file.stem}.inspect.png")
    typer.echo(draw_example(Recognizer(load_checkpoint(run)), file, path, text))
    typer.echo(f"written: {path}")
