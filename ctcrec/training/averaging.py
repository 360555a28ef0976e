"""The mean of several models' weights, as one model that costs no more to use than each.

Models that were trained from one another, or from the same one, lie in one valley of the loss, and the mean of their
weights often errs less than each of them (Wortsman et al. 2022, "Model soups"). Means of models trained apart, from
other random weights, are of no use. Batch norm's statistics are averaged like weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctcrec.checkpoint import WEIGHTS_FILE, Checkpoint, hash_weights, load_checkpoint, save_checkpoint
from ctcrec.errors import CheckpointError
from ctcrec.provenance import RUN_FILE, read_run, record_combined
from ctcrec.training.optim import mean_weights

__all__ = ["average_runs"]


def average_runs(runs: Sequence[Path], out: Path) -> None:
    """Write a run whose weights are the mean of those of `runs`, with the first one's configuration.

    Its record holds the data and the sessions of all; a model without a record, such as one that comes with ctcrec, is
    named in it. There are no validation scores and no decoding until it is evaluated and tuned.

    Args:
        runs: two directories or more. One that is given twice counts twice.
        out: the directory to write, which must not hold a model.

    Raises:
        CheckpointError: there are fewer than two, one cannot be read, their models or tokens differ, none has a
            record, or `out` holds a model or cannot be written.
    """
    if len(runs) < 2:
        raise CheckpointError(f"a mean wants two models or more, not {len(runs)}")
    if (out / WEIGHTS_FILE).exists():
        raise CheckpointError(f"{out}: holds a model already; choose another folder")
    checkpoints = [load_checkpoint(run) for run in runs]
    first = checkpoints[0]
    for run, other in zip(runs[1:], checkpoints[1:], strict=True):
        _check_same(runs[0], first, run, other)
    records = [read_run(run) for run in runs if (run / RUN_FILE).is_file()]
    if not records:
        raise CheckpointError(f"{', '.join(map(str, runs))}: none has a {RUN_FILE}; give at least one trained run")
    weights = mean_weights([checkpoint.model.state_dict() for checkpoint in checkpoints])
    save_checkpoint(out, first.config, first.tokenizer, weights, {})
    models = [{"directory": run.as_posix(), "weights_sha256": hash_weights(run)} for run in runs]
    record_combined(out, first.config, records, {"mean_of": models})


def _check_same(path: Path, first: Checkpoint, other_path: Path, other: Checkpoint) -> None:
    theirs = _fixed(other)
    differences = [name for name, value in _fixed(first).items() if value != theirs[name]]
    if differences:
        raise CheckpointError(
            f"{other_path}: differs from {path} in {', '.join(differences)}; only models of the same shape, text,"
            " features and tokens have a mean"
        )


def _fixed(checkpoint: Checkpoint) -> dict[str, Any]:
    """What must be equal for weights to mean the same; dropout may differ."""
    config = checkpoint.config
    return {
        "modality": config.modality,
        "text": config.text,
        "features": config.features,
        "model": config.model.model_dump(exclude={part: {"dropout"} for part in ("frontend", "encoder", "decoder")}),
        "CTC heads": (config.loss.ctc_weight > 0, config.loss.intermediate_layers),
        "tokens": checkpoint.tokenizer.tokens,
    }
