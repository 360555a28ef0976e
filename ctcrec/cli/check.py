"""`ctcrec check MANIFEST...`: find what would break or spoil a training before it starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["check"]


def check(
    manifest: Annotated[list[Path], typer.Argument(help="Manifests, checked alone and against each other.")],
    run: Annotated[
        Path | None, typer.Option("--run", help="Trained model: are its characters and its subsampling right for them?")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The same for a configuration to be trained on the first manifest.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change of --config, KEY=VALUE; repeatable.")] = None,
    headers: Annotated[bool, typer.Option("--headers", help="Read headers only, not the whole content.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="FILE.jsonl for the findings. Checked again, only what has changed is read."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that read media.")] = 2,
) -> None:
    """Media, texts, duplicates, shared speakers, outliers, Unicode. Exit code 1 if something would break training.

    Errors are what breaks training or leaves examples out of it; warnings are what makes its result worse, or better
    than it should be. What was read is remembered in FILE.media.jsonl beside --out, so that a check that was stopped
    goes on.
    """
    from ctcrec.checking import Target
    from ctcrec.checking import check as run_check
    from ctcrec.cli.progress import progress_bar
    from ctcrec.errors import ConfigError

    if run is not None and config is not None:
        raise ConfigError("give --run or --config, not both")
    if set_ and config is None:
        raise ConfigError("--set changes --config; give a configuration")
    target = None
    if run is not None:
        target = Target.of_run(run)
    elif config is not None:
        target = Target.of_config(config, manifest[0], set_ or ())
    with contextlib.ExitStack() as stack:

        def progress(total: int) -> Callable[[int], None]:
            return stack.enter_context(progress_bar("media", total))

        report = run_check(manifest, target, whole=not headers, out=out, processes=processes, progress=progress)
    typer.echo(report.text())
    if out is not None:
        typer.echo(f"all findings are in {out}")
    if report.breaks_training:
        raise typer.Exit(1)
