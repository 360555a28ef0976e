"""`ctcrec transcribe FILE|DIR|-... --run RUN`: text of audio or image files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcrec.cli.decoding import Hotwords, LanguageModel, Settings, Strategy, decoding_of

if TYPE_CHECKING:
    from ctcrec.errors import CtcrecError
    from ctcrec.recognizer import Recognizer
    from ctcrec.records import Hypothesis

__all__ = ["transcribe"]


class OutputFormat(StrEnum):
    """How transcripts are written."""

    TEXT = "text"
    JSON = "json"


def transcribe(
    media: Annotated[
        list[str], typer.Argument(metavar="FILE|DIR|-...", help="Files, folders of files, or - for standard input.")
    ],
    run: Annotated[Path, typer.Option("--run", help="Directory of a trained model.")],
    form: Annotated[
        OutputFormat, typer.Option("--format", help="text: the text; json: text, spans and confidences, a line a file.")
    ] = OutputFormat.TEXT,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write <name>.txt or <name>.json for each file into this folder.")
    ] = None,
    decode: Strategy = None,
    lm: LanguageModel = None,
    hotwords: Hotwords = None,
    set_: Settings = None,
) -> None:
    """Transcribe audio or image files; the model knows which it takes.

    A file that cannot be used gets a message on standard error and the others go on; the exit code is then 1.
    """
    from ctcrec.recognizer import Recognizer
    from ctcrec.writers import to_json, write_atomically

    recognizer = Recognizer.load(run, decoding=decoding_of(run, decode, lm, hotwords, set_))
    unit = recognizer.checkpoint.preprocessor.unit
    suffix = ".txt" if form is OutputFormat.TEXT else ".json"
    targets = [(name, target.with_suffix(suffix)) for name, target in _targets(media, recognizer.modality)]
    if out is not None:
        _check_distinct(targets)
    failed = False
    for (name, target), (hypothesis, error) in zip(targets, _results(recognizer, targets), strict=True):
        if hypothesis is None:
            print(f"ctcrec: {error}", file=sys.stderr)
            failed = True
            continue
        content = hypothesis.text if form is OutputFormat.TEXT else to_json(name, hypothesis, unit)
        if out is not None:
            write_atomically(out / target, content + "\n")
        else:
            print(content if form is OutputFormat.JSON or len(targets) == 1 else f"{name}\t{content}", flush=True)
    if failed:
        raise typer.Exit(1)


def _targets(media: Sequence[str], modality: str) -> list[tuple[str, Path]]:
    """Each file to read ("-" for standard input), and its path below --out, still with the medium's ending.

    Of a folder, files that are neither audio nor images are passed over.
    """
    from ctcrec.errors import InputError
    from ctcrec.modalities import extensions_of, modality_of

    targets: list[tuple[str, Path]] = []
    for item in media:
        path = Path(item)
        if item == "-":
            targets.append(("-", Path("stdin")))
        elif path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and modality_of(file) is not None)
            if not found:
                endings = ", ".join(sorted(extensions_of(modality)))
                raise InputError(f"{path}: no file in this folder ends in one of {endings}")
            targets.extend((str(file), file.relative_to(path)) for file in found)
        else:
            targets.append((item, Path(path.name)))
    return targets


def _check_distinct(targets: Sequence[tuple[str, Path]]) -> None:
    """Raise InputError where two transcripts would be written into one file."""
    from ctcrec.errors import InputError

    seen: dict[Path, str] = {}
    for name, target in targets:
        if target in seen:
            raise InputError(
                f"the transcripts of {seen[target]} and {name} would both be {target} in --out; rename one, or"
                " transcribe them into different folders"
            )
        seen[target] = name


def _results(
    recognizer: Recognizer, targets: Sequence[tuple[str, Path]]
) -> Iterator[tuple[Hypothesis | None, CtcrecError | None]]:
    """The hypothesis or the error of each target, in order."""
    from ctcrec.errors import DataError, MediaError
    from ctcrec.records import Example

    files = [Example(name, Path(name)) for name, _ in targets if name != "-"]
    transcripts = recognizer.transcribe_all(files)
    for name, _ in targets:
        if name != "-":
            transcript = next(transcripts)
            yield transcript.hypothesis, transcript.error
            continue
        try:
            yield recognizer.transcribe(sys.stdin.buffer.read()), None
        except DataError as error:
            yield None, MediaError(f"standard input: {error}")
