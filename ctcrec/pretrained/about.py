"""`about.yaml`: what there is to know of a model before it is loaded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ctcrec.errors import CheckpointError
from ctcrec.writers import write_atomically

__all__ = ["ABOUT_FILE", "About", "Score", "alphabet", "read_about", "write_about"]

ABOUT_FILE = "about.yaml"


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluation of the shipped weights; rates are fractions."""

    data: str
    examples: int
    decoding: str
    wer: float
    cer: float


@dataclass(frozen=True, slots=True)
class About:
    """A model in short.

    Attributes:
        modality: "speech" or "ocr".
        task: what it recognizes, for people: "printed lines".
        languages: codes such as en.
        data: corpora it was trained on, for people.
        license: of the weights.
        parameters: how many.
        default: whether it is taken for its modality where none is named.
        low_confidence: a text with less was probably not made for the model: 1 of 100 texts of its own dev sets has
            less.
        scores: evaluations.
    """

    modality: str
    task: str
    languages: tuple[str, ...]
    data: tuple[str, ...]
    license: str
    parameters: int
    default: bool = False
    low_confidence: float | None = None
    scores: tuple[Score, ...] = ()


def write_about(folder: Path, about: About) -> None:
    """Write `about.yaml`. Raises DataError where that cannot be done."""
    values = asdict(about) | {"languages": list(about.languages), "data": list(about.data)}
    values["scores"] = [asdict(score) for score in about.scores]
    write_atomically(folder / ABOUT_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def read_about(folder: Path) -> About | None:
    """What `write_about` wrote; None where the folder has none.

    Raises:
        CheckpointError: the file cannot be read or is no such record.
    """
    path = folder / ABOUT_FILE
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        values["scores"] = tuple(Score(**score) for score in values["scores"])
        return About(**values | {key: tuple(map(str, values[key])) for key in ("languages", "data")})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path}: is no record of a model ({error}); restore the file") from None


def alphabet(folder: Path) -> list[str]:
    """The tokens that a model writes, without the blank. Raises CheckpointError where their file is damaged."""
    path = folder / "tokens.json"
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
        return [str(token) for token in tokens[1:]]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from None
