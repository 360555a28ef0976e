"""`ctcrec models`: the models that come with ctcrec, and those in the folders of CTCREC_MODELS."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ctcrec.pretrained import About

__all__ = ["models"]

_MEDIA = {"speech": "audio", "ocr": "images"}


class ListFormat(StrEnum):
    """How the list is written."""

    TEXT = "text"
    JSON = "json"


def models(
    form: Annotated[
        ListFormat, typer.Option("--format", help="text: for people; json: a line a model.")
    ] = ListFormat.TEXT,
) -> None:
    """Models that are there without training: task, language, alphabet, data, licence, size and scores.

    Use one with `ctcrec transcribe FILE --model NAME`, or start from it with `ctcrec train CONFIG --from NAME`. Further
    ones are found in the folders that the environment variable CTCREC_MODELS names.
    """
    import dataclasses
    import json

    from ctcrec.pretrained import list_models, model_folders
    from ctcrec.pretrained.about import alphabet

    folders, known = model_folders(), list_models()
    if not known:
        typer.echo("no models come with this ctcrec; train one with `ctcrec train`, or name folders in CTCREC_MODELS")
    for name, about in known.items():
        letters = alphabet(folders[name])
        size = sum(path.stat().st_size for path in folders[name].iterdir() if path.is_file())
        if form is ListFormat.JSON:
            row = {"name": name, **dataclasses.asdict(about), "alphabet": letters, "bytes": size}
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            typer.echo(_paragraph(name, about, letters, size))


def _paragraph(name: str, about: About, letters: list[str], size: int) -> str:
    lines = [
        f"{name}{' (default)' if about.default else ''}",
        f"  task      {about.task} ({_MEDIA[about.modality]})",
        f"  language  {', '.join(about.languages) or 'not stated'}",
        f"  alphabet  {len(letters)} tokens: {''.join(letter if letter != ' ' else '␣' for letter in letters)}",
        *(f"  {'data' if not index else '':<9} {item}" for index, item in enumerate(about.data)),
        f"  licence   {about.license}",
        f"  size      {size / 1e6:.1f} MB, {about.parameters:,} parameters",
    ]
    for index, score in enumerate(about.scores):
        rates = f"WER {100 * score.wer:.2f} %, CER {100 * score.cer:.2f} %"
        title = "scores" if not index else ""
        lines.append(f"  {title:<9} {score.data}, {score.examples} examples, {score.decoding}: {rates}")
    return "\n".join(lines) + "\n"
