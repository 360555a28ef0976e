"""A folder, nested or flat, of media with their texts beside them.

Lines: `x.png|jpg|tif|...` with `x.gt.txt`, also `x.nrm.png` and `x.bin.png` as OCRopus names them. Utterances:
`x.wav|flac|opus|mp3|...` with `x.txt`. The id of an example is its path below the folder without the ending; its first
sub-folder is recorded as writer (lines) or speaker (utterances).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ctcrec.corpora.files import MediaFolder, Unusable, walk_files
from ctcrec.corpora.prepared import LeftOut, Prepared
from ctcrec.corpora.splits import Split, group_of
from ctcrec.errors import CorpusError, MediaError
from ctcrec.ocr.media import EXTENSIONS as IMAGE_ENDINGS
from ctcrec.ocr.media import probe_image
from ctcrec.records import Example
from ctcrec.speech.media import EXTENSIONS as AUDIO_ENDINGS
from ctcrec.speech.media import probe_audio

__all__ = ["ENDINGS", "prepare"]

Kind = Literal["lines", "utterances"]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a pair of one kind looks like on disk, and how to describe its medium."""

    medium: str
    media_endings: frozenset[str]
    variants: tuple[str, ...]  # endings before the ending, best first
    text_ending: str
    group: str
    describe: Callable[[Path], dict[str, Any]]


_FORMS: Mapping[Kind, _Form] = {
    "lines": _Form(
        "image", IMAGE_ENDINGS, ("", ".nrm", ".bin"), ".gt.txt", "writer", lambda path: probe_image(path)._asdict()
    ),
    "utterances": _Form(
        "audio", AUDIO_ENDINGS, ("",), ".txt", "speaker", lambda path: {"duration": probe_audio(path).duration}
    ),
}
_NO_TRANSCRIPTS = (".gt.txt", ".pred.txt")  # not texts of utterances, though they end in .txt

ENDINGS = tuple(
    sorted(
        {variant + ending for form in _FORMS.values() for variant in form.variants for ending in form.media_endings}
        | {form.text_ending for form in _FORMS.values()}
    )
)
"""All endings that an id lacks and a file name has."""


def prepare(
    source: Path,
    split: Split,
    kind: Kind | None = None,
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """Examples of all pairs below `source`, in the order of their ids.

    Args:
        source: the folder; hidden files and folders in it are ignored.
        split: see `ctcrec.corpora.splits`.
        kind: "lines" or "utterances"; None = whichever of the two is there.
        media: a second folder that links in `source` may lead to.
        done: called with the number of pairs looked at, for progress.

    Media without text and texts without medium, empty texts, unreadable media, links that lead out of the folder,
    second images of a line and examples in no split are left out with their reasons. Media are read as far as their
    headers.

    Raises:
        CorpusError: no such folder, no media in it, or both kinds of pairs and `kind` is None.
    """
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; name the folder with the media and their texts")
    files = _find_files(source)
    form = _FORMS[kind or _find_kind(source, files)]
    left_out: list[LeftOut] = []
    splits: dict[str, list[Example]] = {name: [] for name in split.names}
    folder = MediaFolder(source, media)
    found, texts = _media(files, form, left_out), _texts(files, form)
    if not found:
        raise CorpusError(f"{source}: no {form.medium} files below it ({', '.join(sorted(form.media_endings))})")
    for number, identifier in enumerate(sorted(found.keys() | texts.keys()), start=1):
        if done is not None:
            done(number)
        try:
            name = split.assign(identifier)
            example = _read_pair(folder, identifier, found.get(identifier), texts.get(identifier), form, split.levels)
            if name is None:
                raise Unusable("is in no split")
            splits.setdefault(name, []).append(example)
        except Unusable as reason:
            left_out.append(LeftOut(identifier, str(reason)))
    for identifier, path in sorted(split.listed.items()):
        if identifier not in found and identifier not in texts:
            left_out.append(LeftOut(identifier, f"is named in {path} and not there"))
    return Prepared(splits, left_out)


def _find_files(source: Path) -> list[str]:
    """All visible files, by their path below `source`, with `/`."""
    files = []
    for folder, names in walk_files(source):
        below = folder.relative_to(source).as_posix()
        prefix = "" if below == "." else below + "/"
        files += [prefix + name for name in names]
    return files


def _find_kind(source: Path, files: Sequence[str]) -> Kind:
    """The kind of which there are pairs; where there are none, of which there are media."""
    media = {kind: _media(files, form, []).keys() for kind, form in _FORMS.items()}
    pairs = {kind: media[kind] & _texts(files, form).keys() for kind, form in _FORMS.items()}
    if all(pairs.values()):
        counts = " and ".join(f"{len(found)} {kind}" for kind, found in pairs.items())
        raise CorpusError(f"{source}: has {counts}; choose one with --kind and prepare them apart")
    for found in (pairs, media):
        for kind, identifiers in found.items():
            if identifiers:
                return kind
    raise CorpusError(f"{source}: no media in it; expected x.png with x.gt.txt, or x.wav with x.txt")


def _media(files: Sequence[str], form: _Form, left_out: list[LeftOut]) -> dict[str, str]:
    """Media by id; of several with one id the best variant, then the first by name."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in files:
        stem, ending = os.path.splitext(name)
        if ending.lower() in form.media_endings:
            rank = len(form.variants) - 1
            while not stem.lower().endswith(form.variants[rank]):  # the first variant is empty
                rank -= 1
            identifier = stem[: len(stem) - len(form.variants[rank])]
            found.setdefault(identifier, []).append((rank, name))
    chosen = {}
    for identifier, candidates in found.items():
        (_, best), *others = sorted(candidates)
        chosen[identifier] = best
        left_out.extend(LeftOut(name, f"is a second {form.medium} for the same text") for _, name in others)
    return chosen


def _texts(files: Sequence[str], form: _Form) -> dict[str, str]:
    ending = form.text_ending
    wrong = tuple(item for item in _NO_TRANSCRIPTS if item != ending)
    names = (name for name in files if name.lower().endswith(ending))
    return {name[: -len(ending)]: name for name in names if not name.lower().endswith(wrong)}


def _read_pair(
    folder: MediaFolder, identifier: str, medium: str | None, text_file: str | None, form: _Form, levels: int
) -> Example:
    if medium is None:
        raise Unusable(f"has a text and no {form.medium}")
    if text_file is None:
        raise Unusable(f"has no text ({form.text_ending})")
    text = _read_text(_checked(folder, text_file), one_line=form.text_ending == ".gt.txt")
    path = _checked(folder, medium)
    try:
        fields = form.describe(path)
    except MediaError as error:
        raise Unusable(str(error).removeprefix(f"{path}: ")) from None
    fields[form.group] = group_of(identifier, levels)
    return Example(identifier, path, text, **fields)


def _checked(folder: MediaFolder, name: str) -> Path:
    path = folder.base / name
    return folder.check(path) if path.is_symlink() else path  # links to folders have not been followed


def _read_text(path: Path, one_line: bool) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unusable("its text is not UTF-8") from None
    except OSError as error:
        raise Unusable(f"its text cannot be read: {error.strerror or error}") from None
    if not text:
        raise Unusable("its text is empty")
    lines = [line.strip() for line in text.split("\n")]
    if one_line and len(lines) > 1:
        raise Unusable("its text has more than one line")
    return " ".join(line for line in lines if line)
