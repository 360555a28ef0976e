"""`ctcrec transcribe FILE|DIR|-... [--run RUN | --model NAME]`: text of audio or image files."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcrec.allocation import keep_freed_memory, take_short_turns
from ctcrec.cli.decoding import Hotwords, LanguageModel, Settings, Strategy, decoding_of

if TYPE_CHECKING:
    from ctcrec.config import DecodingConfig
    from ctcrec.errors import CtcrecError
    from ctcrec.pretrained import About
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
    run: Annotated[Path | None, typer.Option("--run", help="Directory of a trained model.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Name of a model, see ctcrec models. Default: that of the files' kind."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the files, e.g. en: takes a model made for it, refuses others.")
    ] = None,
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
    """Transcribe audio or image files, by a model of your own, a named one, or the default for audio or images.

    A file that cannot be used gets a message on standard error and the others go on; the exit code is then 1.
    """
    keep_freed_memory()
    take_short_turns()
    with _uncollected():
        from ctcrec.errors import InputError
        from ctcrec.writers import to_json, write_atomically

        if run is not None and (model is not None or language is not None):
            raise InputError("--run names the model; leave --model and --language away")
        data = sys.stdin.buffer.read() if "-" in media else b""
        kinds = _Kinds(data, run if run is not None else model, language)
        suffix = ".txt" if form is OutputFormat.TEXT else ".json"
        targets = [(name, target.with_suffix(suffix)) for name, target in _targets(media)]
        if out is not None:
            _check_distinct(targets)
        models = {
            folder: _Model.load(folder, decoding_of(folder, decode, lm, hotwords, set_))
            for folder in dict.fromkeys(kinds.folder_of(name) for name, _ in targets)
        }
    failed = False
    for (name, target), (hypothesis, error, used) in zip(targets, _results(models, kinds, targets), strict=True):
        if hypothesis is None:
            print(f"ctcrec: {error}", file=sys.stderr)
            failed = True
            continue
        used.remark(name, hypothesis)
        unit = used.recognizer.checkpoint.preprocessor.unit
        content = hypothesis.text if form is OutputFormat.TEXT else to_json(name, hypothesis, unit)
        if out is not None:
            write_atomically(out / target, content + "\n")
        else:
            print(content if form is OutputFormat.JSON or len(targets) == 1 else f"{name}\t{content}", flush=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Imports and models make objects that stay; to look through them for garbage takes a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Kinds:
    """Which model takes which file: the one that was named, or the default of the file's modality."""

    def __init__(self, data: bytes, named: str | Path | None, language: str | None) -> None:
        from ctcrec.pretrained import find_model

        self.data = data
        self._named = find_model(named) if isinstance(named, str) else named
        self._language = language
        self._defaults: dict[str, Path] = {}
        if isinstance(named, str) and language is not None:
            _check_language(named, language)

    def folder_of(self, name: str) -> Path:
        """The folder of the model for a file; says on standard error which, the first time."""
        from ctcrec.modalities import MEDIA_NAMES, modality_of, modality_of_bytes
        from ctcrec.pretrained import default_model, find_model, list_models

        if self._named is not None:
            return self._named
        modality = modality_of_bytes(self.data[:16]) if name == "-" else modality_of(Path(name))
        kind = modality or "ocr"
        if kind not in self._defaults:
            chosen = default_model(kind, self._language)
            self._defaults[kind] = find_model(chosen)
            about = list_models()[chosen]
            made_for = f"{about.task}, {', '.join(about.languages)}"
            print(f"{MEDIA_NAMES[kind]} files are read by {chosen} ({made_for}); --model NAME chooses", file=sys.stderr)
        return self._defaults[kind]


@dataclass(frozen=True)
class _Model:
    """A recognizer, and what there is to know of it."""

    recognizer: Recognizer
    about: About | None

    @classmethod
    def load(cls, folder: Path, decoding: DecodingConfig | None) -> _Model:
        from ctcrec.pretrained import read_about
        from ctcrec.recognizer import Recognizer

        return cls(Recognizer.load(folder, decoding=decoding), read_about(folder))

    def remark(self, name: str, hypothesis: Hypothesis) -> None:
        """Say on standard error where a text is less certain than the model's own kind of file ever gave."""
        about, confidence = self.about, hypothesis.confidence
        if about is None or about.low_confidence is None or confidence is None or confidence >= about.low_confidence:
            return
        print(
            f"{name}: the text is uncertain (confidence {100 * confidence:.0f} %); this model was made for"
            f" {about.task} in {', '.join(about.languages)}, see `ctcrec models` for others",
            file=sys.stderr,
        )


def _check_language(name: str, language: str) -> None:
    """Raise InputError where a model that says its languages was not made for this one."""
    from ctcrec.errors import InputError
    from ctcrec.pretrained import list_models

    about = list_models().get(name)
    if about is not None and language not in about.languages:
        others = ", ".join(
            n for n, a in list_models().items() if a.modality == about.modality and language in a.languages
        )
        advice = f"take {others}" if others else "train a model for it"
        raise InputError(f"--language {language}: {name} was made for {', '.join(about.languages)}; {advice}")


def _targets(media: Sequence[str]) -> list[tuple[str, Path]]:
    """Each file to read ("-" for standard input), and its path below --out, still with the medium's ending.

    Of a folder, files that are neither audio nor images are passed over.
    """
    from ctcrec.errors import InputError
    from ctcrec.modalities import MODALITIES, extensions_of, modality_of

    targets: list[tuple[str, Path]] = []
    for item in media:
        path = Path(item)
        if item == "-":
            targets.append(("-", Path("stdin")))
        elif path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and modality_of(file) is not None)
            if not found:
                endings = ", ".join(sorted(ending for modality in MODALITIES for ending in extensions_of(modality)))
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
    models: Mapping[Path, _Model], kinds: _Kinds, targets: Sequence[tuple[str, Path]]
) -> Iterator[tuple[Hypothesis | None, CtcrecError | None, _Model]]:
    """The hypothesis or the error of each target, in order, and the model that gave it."""
    from ctcrec.errors import DataError, MediaError
    from ctcrec.processes import usable_cores
    from ctcrec.records import Example

    files: dict[Path, list[Example]] = {folder: [] for folder in models}
    for name, _ in targets:
        if name != "-":
            files[kinds.folder_of(name)].append(Example(name, Path(name)))
    transcripts = {
        folder: models[folder].recognizer.transcribe_all(examples, processes=usable_cores())
        for folder, examples in files.items()
    }
    for name, _ in targets:
        folder = kinds.folder_of(name)
        model = models[folder]
        if name != "-":
            transcript = next(transcripts[folder])
            yield transcript.hypothesis, transcript.error, model
            continue
        try:
            yield model.recognizer.transcribe(kinds.data), None, model
        except DataError as error:
            yield None, MediaError(f"standard input: {error}"), model
