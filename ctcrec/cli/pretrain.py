"""`ctcrec pretrain CONFIG`: a first stage of training without texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctcrec.allocation import keep_freed_memory

__all__ = ["pretrain"]


def pretrain(
    config: Annotated[Path | None, typer.Argument(help="YAML configuration; not needed with --resume.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. training.epochs=20.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory of the run. Default: runs/<config name>-pretrained.")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the run in DIR.")] = None,
    mask_share: Annotated[float, typer.Option(help="About how much of each example is hidden.")] = 0.4,
    mask_frames: Annotated[int, typer.Option(help="Length of a hidden span, in frames of the encoder.")] = 4,
    temperature: Annotated[float, typer.Option(help="Of the cosines that are compared.")] = 0.1,
    size: Annotated[int, typer.Option(help="Of the vectors that are compared.")] = 128,
) -> None:
    """Train frontend and encoder on recordings or lines without texts; `ctcrec train --from DIR` goes on from there."""
    from ctcrec.config import load_config
    from ctcrec.errors import ConfigError
    from ctcrec.training.pretraining import ContrastiveOptions
    from ctcrec.training.pretraining import pretrain as run_pretraining

    keep_freed_memory()
    options = ContrastiveOptions(mask_share, mask_frames, temperature, size)
    if resume is not None:
        if config is not None or out is not None or set_ or options != ContrastiveOptions():
            raise ConfigError(f"--resume {resume} goes on as it was started; leave all else away")
        run_pretraining(load_config(resume / "config.yaml"), resume, resume=True)
        return
    if config is None:
        raise ConfigError("give a configuration, for example configs/ocr/printed_lines.yaml, or --resume DIR")
    directory = out or Path("runs") / f"{config.stem}-pretrained"
    run_pretraining(load_config(config, set_ or ()), directory, options)
