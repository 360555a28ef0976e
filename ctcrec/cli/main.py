"""The `ctcrec` command. Commands import what they need when they run, so that `ctcrec --help` is quick."""

from __future__ import annotations

import sys

import typer

from ctcrec.cli import lm, prepare
from ctcrec.cli.average import average
from ctcrec.cli.card import card
from ctcrec.cli.check import check
from ctcrec.cli.decode import decode
from ctcrec.cli.doctor import doctor
from ctcrec.cli.evaluate import evaluate
from ctcrec.cli.export import export
from ctcrec.cli.inspect import inspect
from ctcrec.cli.models import models
from ctcrec.cli.pretrain import pretrain
from ctcrec.cli.render import render
from ctcrec.cli.score import score
from ctcrec.cli.train import train
from ctcrec.cli.transcribe import transcribe
from ctcrec.cli.tune import tune
from ctcrec.errors import CtcrecError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recognize speech and text lines with CTC: prepare a corpus, train, transcribe, score.",
)
app.add_typer(prepare.app, name="prepare")
app.command()(render)
app.command()(check)
app.command()(pretrain)
app.command()(train)
app.command()(average)
app.command()(transcribe)
app.command()(evaluate)
app.command()(score)
app.add_typer(lm.app, name="lm")
app.command()(tune)
app.command()(decode)
app.command()(doctor)
app.command()(inspect)
app.command()(card)
app.command()(models)
app.command()(export)


def main() -> None:
    """Run a command; errors that ctcrec raises on purpose are printed as one message, without a traceback."""
    try:
        app()
    except CtcrecError as error:
        print(f"ctcrec: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
