"""`ctcrec average RUN RUN --out DIR`: the mean of several models' weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["average"]


def average(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="NAME|DIR...", help="Models (ctcrec models) or runs; one given twice counts twice."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the new run.")],
) -> None:
    """Take the mean of the weights of models that were trained from one another or from the same one.

    It often errs less than each of them, and costs no more to use. `ctcrec evaluate` tells; `ctcrec tune` gives it a
    decoding.
    """
    from ctcrec.pretrained import find_model
    from ctcrec.training.averaging import average_runs

    average_runs([find_model(run) for run in runs], out)
    typer.echo(f"mean of {len(runs)} models: {out}")
