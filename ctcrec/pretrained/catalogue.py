"""Which models there are, and which is meant by a name, or by none."""

from __future__ import annotations

import os
from pathlib import Path

from ctcrec.errors import CheckpointError
from ctcrec.pretrained.about import About, read_about

__all__ = ["FOLDERS_VARIABLE", "default_model", "find_model", "list_models", "model_folders"]

FOLDERS_VARIABLE = "CTCREC_MODELS"
_WEIGHTS = "model.safetensors"
_MEDIA = {"speech": "audio", "ocr": "images"}


def model_folders() -> dict[str, Path]:
    """Folder of every model by its name; those of CTCREC_MODELS go before those of the package."""
    given = [Path(item) for item in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if item]
    found: dict[str, Path] = {}
    for parent in [*given, Path(__file__).parent]:
        for path in sorted(parent.glob(f"*/{_WEIGHTS}")):
            found.setdefault(path.parent.name, path.parent)
    return found


def list_models() -> dict[str, About]:
    """What is known of every model that has an `about.yaml`, by name.

    Raises:
        CheckpointError: such a file is damaged.
    """
    known = {name: read_about(folder) for name, folder in model_folders().items()}
    return {name: about for name, about in known.items() if about is not None}


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


def default_model(modality: str, language: str | None = None) -> str:
    """The name of the model to take for a modality where none is named: of its models, those made for `language` if
    one is given, the one marked as default, or the only one.

    Raises:
        CheckpointError: there is none, or it is not clear which.
    """
    fitting = {name: about for name, about in list_models().items() if about.modality == modality}
    suiting = {name: a for name, a in fitting.items() if language is None or language in a.languages}
    if not suiting:
        said = "; ".join(f"{name} for {', '.join(about.languages)}" for name, about in fitting.items()) or "none"
        wanted = f" in {language}" if language is not None else ""
        raise CheckpointError(
            f"no model for {_MEDIA[modality]}{wanted} comes with ctcrec (there are: {said}); name a trained one with"
            " --run DIR, or train one with `ctcrec train`"
        )
    marked = [name for name, about in suiting.items() if about.default] or list(suiting)
    if len(marked) > 1:
        raise CheckpointError(
            f"several models take {_MEDIA[modality]}: {', '.join(marked)}; choose one with --model NAME"
        )
    return marked[0]
