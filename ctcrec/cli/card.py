"""`ctcrec card RUN`: write a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["card"]


def card(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: card.md in the run.")] = None,
) -> None:
    """A model card in Markdown: data and licences, scores with intervals and signatures, how the model was made.

    Scores are those of the evaluations in the run's directory: ctcrec evaluate RUN MANIFEST --out RUN/NAME.
    """
    from ctcrec.model_card import CARD_FILE, model_card
    from ctcrec.writers import write_atomically

    path = out or run / CARD_FILE
    write_atomically(path, model_card(run))
    typer.echo(f"written: {path}")
