"""The decoding options that `transcribe` and `evaluate` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ctcrec.config import DecodingConfig

__all__ = ["Hotwords", "LanguageModel", "Settings", "Strategy", "StrategyName", "decoding_of"]


class StrategyName(StrEnum):
    """How a model's outputs become text; see `ctcrec.config.DecodingConfig`."""

    GREEDY = "greedy"
    BEAM = "beam"
    ATTENTION = "attention"
    JOINT = "joint"
    RESCORE = "rescore"
    SAMPLE = "sample"


Strategy = Annotated[
    StrategyName | None,
    typer.Option("--decode", help="How to find the text. Default: the run's decoding.yaml, else greedy."),
]
LanguageModel = Annotated[Path | None, typer.Option("--lm", help="N-gram model for the beam searches.")]
Hotwords = Annotated[
    Path | None, typer.Option("--hotwords", help="Phrases to prefer in the beam searches, one a line.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the decoding, e.g. beam_size=50."),
]


def decoding_of(
    run: Path, decode: StrategyName | None, lm: Path | None, hotwords: Path | None, settings: list[str] | None
) -> DecodingConfig | None:
    """The run's decoding with what the command line changes; None where it changes nothing."""
    from ctcrec.config import parse_overrides
    from ctcrec.strategies import changed_decoding

    changes = parse_overrides(settings or ())
    given = {"strategy": decode and decode.value, "lm": lm and str(lm), "hotwords": hotwords and str(hotwords)}
    changes |= {key: value for key, value in given.items() if value is not None}
    return changed_decoding(run, changes) if changes else None
