"""`ctcrec train CONFIG`: train a model, or go on with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctcrec.allocation import keep_freed_memory

__all__ = ["train"]


def train(
    config: Annotated[Path | None, typer.Argument(help="YAML configuration; not needed with --resume.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. training.epochs=20.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory of the run. Default: runs/<config name>.")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the run in DIR.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME|DIR", help="Start from the weights of a model (ctcrec models) or a run."),
    ] = None,
    overfit: Annotated[
        int | None, typer.Option("--overfit", metavar="N", min=1, help="Train on N examples until the loss is near 0.")
    ] = None,
    print_model: Annotated[
        bool, typer.Option("--print-model", help="Show layers, parameters, receptive field, subsampling; don't train.")
    ] = False,
) -> None:
    """Train a model; leaves checkpoint, metrics.jsonl, TensorBoard logs and curves.png in the run's directory."""
    from ctcrec.config import load_config
    from ctcrec.errors import ConfigError
    from ctcrec.pretrained import find_model
    from ctcrec.training.loop import train as run_training

    keep_freed_memory()
    if resume is not None:
        if out is not None and out != resume:
            raise ConfigError(f"--resume {resume} goes on in its own directory; leave --out away")
        if overfit is not None:
            raise ConfigError("--overfit starts a new run; leave --resume away")
        if from_ is not None:
            raise ConfigError("--from starts a new run; leave --resume away")
        if not (resume / "config.yaml").is_file():
            raise ConfigError(f"--resume {resume}: no config.yaml there; give the directory of a run")
    if config is None and resume is None:
        raise ConfigError("give a configuration, for example configs/ocr/printed_lines.yaml, or --resume DIR")
    loaded = load_config(config if config is not None else _config_of(resume), set_ or ())
    if print_model:
        if from_ is not None:
            raise ConfigError("--print-model trains nothing, so --from has no effect; leave one of them away")
        _print_model(loaded)
        return
    start = find_model(from_) if from_ is not None else None
    directory = resume or out or Path("runs") / (config.stem if config is not None else "run")
    summary = run_training(loaded, directory, resume=resume is not None, overfit=overfit, start=start)
    if summary.overfitted is False:
        raise typer.Exit(1)


def _config_of(run: Path | None) -> Path:
    assert run is not None
    return run / "config.yaml"


def _print_model(config: object) -> None:
    from ctcrec.checkpoint import build_from_config
    from ctcrec.config import Config
    from ctcrec.modalities import FRAME_NAMES
    from ctcrec.models.recognition_model import describe_model
    from ctcrec.text import Normalizer
    from ctcrec.training.corpus import build_tokenizer, read_texts

    assert isinstance(config, Config)
    normalizer = Normalizer.of(config.text.normalization)
    tokenizer = build_tokenizer(config, read_texts(config.data.train, normalizer, "data.train"))
    typer.echo(describe_model(build_from_config(config, len(tokenizer)), FRAME_NAMES[config.modality]))
