"""`ctcrec doctor RUN|CONFIG`: what is wrong, by numbers, with reasons and things to try."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ctcrec.allocation import keep_freed_memory

__all__ = ["doctor"]


class OutputFormat(StrEnum):
    """How the diagnosis is printed."""

    TEXT = "text"
    JSON = "json"


def doctor(
    subject: Annotated[Path, typer.Argument(metavar="RUN|CONFIG", help="A trained run's directory, or a YAML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of CONFIG, as in train.")
    ] = None,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(help="Examples to run the model of RUN on. Default: its own data."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for pictures and lists. Default: RUN/doctor, doctor/<config>.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Recognize at most so many of each part of RUN's data.")] = 2000,
    media: Annotated[int, typer.Option(min=1, help="Look at so many recordings or images of each part.")] = 100,
    output: Annotated[OutputFormat, typer.Option("--format", help="How to print the findings.")] = OutputFormat.TEXT,
) -> None:
    """Before training (CONFIG): data, initial loss, gradients, learning-rate sweep, overfit test, data loading.

    After training (RUN): curves, weights, outputs on validation data, and review.jsonl, where the texts of the run's
    data that are most likely wrong come first.
    """
    import json

    from ctcrec.config import load_config
    from ctcrec.diagnosis import diagnose_config, diagnose_run
    from ctcrec.errors import ConfigError

    keep_freed_memory()

    def say(line: str) -> None:
        print(f"… {line}", file=sys.stderr)

    if subject.is_dir():
        if set_:
            raise ConfigError(f"--set changes a CONFIG; {subject} is a run, whose configuration is settled")
        diagnosis = diagnose_run(
            subject, out or subject / "doctor", manifests=manifest or (), examples=examples, media=media, say=say
        )
    else:
        if manifest:
            raise ConfigError("--manifest needs a RUN; a CONFIG names its own: --set data.valid=[path]")
        config = load_config(subject, set_ or ())
        diagnosis = diagnose_config(config, out or Path("doctor") / subject.stem, media=media, say=say)
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(diagnosis.to_dict(), ensure_ascii=False, indent=1))
    else:
        typer.echo(diagnosis.text())
