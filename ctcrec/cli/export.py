"""`ctcrec export RUN NAME --out DIR`: a run becomes a model that can be shipped and used by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model.")],
    name: Annotated[str, typer.Argument(help="Name of the model, e.g. print-en.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of models; the model is written into OUT/NAME.")],
    task: Annotated[str, typer.Option(help="What it recognizes, e.g. 'printed lines'.")],
    license_: Annotated[str, typer.Option("--license", help="Licence of the weights, e.g. 'CC BY 4.0'.")],
    license_text: Annotated[
        Path | None, typer.Option("--license-text", help="File with the whole licence. Default: its name and the data.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Corpus it was trained on; repeatable. Default: what the manifests say.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Language code; repeatable. Default: what the manifests say.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            "--score", metavar="NAME=MANIFEST", help="Dev set to evaluate the shipped weights on; repeatable."
        ),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Take it for its modality where none is named.")] = False,
) -> None:
    """Pack a run: float16 weights, configuration, tokenizer, decoding with its files, about.yaml, card and licence.

    Nothing of the machine that trained it is kept: absolute folders are left out. `ctcrec models` lists it where OUT is
    ctcrec/pretrained or one of the folders in the environment variable CTCREC_MODELS.
    """
    import re

    from ctcrec.cli.progress import progress_bar
    from ctcrec.data.manifest import read_manifest
    from ctcrec.errors import InputError
    from ctcrec.packing import pack

    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) is None:
        raise InputError(f"{name}: a model's name has small letters, digits, - and . only, such as print-en")
    manifests = dict(_named(item) for item in score or ())
    total = sum(len(read_manifest(path, require_text=True)) for path in manifests.values())
    with progress_bar("evaluating", total) as done:
        packed = pack(
            run,
            out / name,
            task=task,
            license=license_,
            license_text=_text(license_text),
            data=data or (),
            languages=language or (),
            default=default,
            manifests=manifests,
            done=done,
        )
    typer.echo(f"{packed.folder}: {packed.size / 1e6:.1f} MB")
    for item in packed.about.scores:
        rates = f"WER {100 * item.wer:.2f} %, CER {100 * item.cer:.2f} %"
        typer.echo(f"{item.data}, {item.examples} examples, {item.decoding}: {rates}")


def _named(item: str) -> tuple[str, Path]:
    from ctcrec.errors import InputError

    name, separator, manifest = item.partition("=")
    if not separator or not name or not manifest:
        raise InputError(f"--score {item}: expected NAME=MANIFEST, for example dev=data/dev.jsonl")
    return name, Path(manifest)


def _text(path: Path | None) -> str | None:
    from ctcrec.errors import DataError

    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
