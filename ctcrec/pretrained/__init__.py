"""Models that come with ctcrec, one folder a model, and further ones in the folders that CTCREC_MODELS names.

A model's folder is a checkpoint (`ctcrec.checkpoint`) with a decoding.yaml if it has one, `about.yaml` with what
`ctcrec models` shows, `card.md` and the licence of its weights. Nothing is ever downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from ctcrec.errors import CheckpointError

__all__ = ["FOLDERS_VARIABLE", "find_model", "model_folders"]

FOLDERS_VARIABLE = "CTCREC_MODELS"
_WEIGHTS = "model.safetensors"


def model_folders() -> dict[str, Path]:
    """Folder of every model by its name; those of CTCREC_MODELS go before those of the package."""
    given = [Path(item) for item in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if item]
    found: dict[str, Path] = {}
    for parent in [*given, Path(__file__).parent]:
        for path in sorted(parent.glob(f"*/{_WEIGHTS}")):
            found.setdefault(path.parent.name, path.parent)
    return found


def find_model(name: str | Path) -> Path:
    """The directory of a model by its name, or that of a run by its path.

    Raises:
        CheckpointError: it is neither; the message lists the names there are.
    """
    folders = model_folders()
    if str(name) in folders:
        return folders[str(name)]
    if (Path(name) / _WEIGHTS).is_file():
        return Path(name)
    names = ", ".join(folders) or "none"
    raise CheckpointError(
        f"{name}: neither the name of a model (there are: {names}) nor the directory of a run with a {_WEIGHTS};"
        " see `ctcrec models`"
    )
