"""IAM Handwriting Database (Marti & Bunke 2002): English lines, as the release lays them out.

    ascii/lines.txt, ascii/forms.txt     or both beside `lines/`
    xml/<form>.xml                       for `text="xml"`
    lines/a01/a01-000u/a01-000u-00.png

A row of `lines.txt` is `id ok|err graylevel components x y w h transcript`; transcripts may contain spaces, and `|`
separates words. Lines marked `err` are kept: the mark is about their segmentation into words, and the published splits
contain them.

Two splits are in use, `rwth` and `official` (the release's "large writer independent text line recognition task").
They overlap: lines that one trains on are in the other's test set. Neither is part of the release, so their lists are
files of the user's: one form (`a01-000u`) or line (`a01-000u-00`) a row, `#` starts a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, find_files, read_lines
from ctcrec.corpora.iam_splits import SplitName, describe_counts, read_split_lists
from ctcrec.corpora.markup import children, local_name, read_xml
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError
from ctcrec.records import Example
from ctcrec.text import Normalizer

__all__ = ["StruckOut", "Transcripts", "prepare"]

Transcripts = Literal["ascii", "xml"]
StruckOut = Literal["keep", "drop"]

_LINE_ID = re.compile(r"[a-z]\d\d-\d{3}[a-z]*-\d\d+", re.ASCII)
_WHOLE_NUMBER = re.compile(r"-?\d+", re.ASCII)
_ROW = "id ok|err graylevel components x y w h transcript"


@dataclass(frozen=True, slots=True)
class _Line:
    """What the release says of a line; `form` is part of its id."""

    id: str
    form: str
    segmentation: str
    text: str
    writer: str | None

    @property
    def image(self) -> str:
        return f"lines/{self.form.partition('-')[0]}/{self.form}/{self.id}.png"


def prepare(
    source: Path,
    split: SplitName,
    text: Transcripts = "ascii",
    lists: Mapping[str, Path] | None = None,
    struck_out: StruckOut = "keep",
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """Splits `train`, `valid` and `test` in the order of the ids; lines in no list are counted in a note.

    Args:
        source: the release's folder.
        split: which of the two splits the lists are of.
        text: `ascii` has spaces before punctuation ("Mr. Gaitskell ,"), `xml` has not. The row key `text_convention`
            records it, because it changes the score.
        lists: list file of each split; those not named are looked for under their usual names below `source`.
        struck_out: struck-out words are `#` in the transcripts; `drop` takes them out.
        media: a second folder that `lines/` may be in.
        done: called with the number of lines looked at.

    Notes say how many lines and forms there are of those published and which are missing, how many words were struck
    out, and which writers are in two splits. Extra keys of a row: `form`, `segmentation`, `partition`,
    `text_convention`.

    Raises:
        CorpusError: the tree is not the release's, a file is malformed, or the lists mix the two splits.
    """
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; name the folder with lines/ and ascii/ or xml/")
    split_lists = read_split_lists(source, split, lists or {})
    lines = sorted(_read_ascii(source) if text == "ascii" else _read_xml_forms(source), key=lambda line: line.id)
    normalizer = Normalizer.named(f"iam-{text}")
    convention = normalizer.signature + ("" if struck_out == "keep" else "+struck-out-dropped")
    folder = MediaFolder(source, media)
    collector = Collector(done)
    collector.splits.update({name: [] for name in split_lists.names})
    struck = _StruckOut(struck_out)
    listed = [(name, line) for line in lines if (name := split_lists.split_of(line.id, line.form))]
    for name, line in listed:
        transcript = normalizer.normalize(line.text)
        find = partial(folder.find, line.image)
        extra = {
            "form": line.form,
            "segmentation": line.segmentation,
            "partition": f"iam:{split}",
            "text_convention": convention,
        }
        shown = struck.apply(transcript)
        if collector.add(name, line.id, find, shown, "lines", writer=line.writer, language="en", extra=extra):
            struck.count(transcript)
    collector.notes += [
        *describe_counts(split_lists, collector.splits, {line.id: line.form for line in lines}),
        f"lines in no list: {len(lines) - len(listed)}",
        struck.describe(),
        _words(collector.splits, convention),
        *_shared_writers(collector.splits),
    ]
    return collector.prepared()


def _read_ascii(source: Path) -> Iterator[_Line]:
    """Lines of `lines.txt`, with the writers of `forms.txt`."""
    path = _file(source, "lines.txt")
    writers = _read_forms(_file(source, "forms.txt"))
    seen: dict[str, int] = {}
    for number, row in read_lines(path):
        if not row.strip() or row.startswith("#"):
            continue
        fields = row.strip().split(" ", 8)  # no more: "|B|B C|" is one transcript
        if (
            len(fields) != 9
            or fields[1] not in ("ok", "err", "er")
            or not all(_WHOLE_NUMBER.fullmatch(field) for field in fields[2:8])
        ):
            raise CorpusError(f"{path}:{number}: expected `{_ROW}`, got {row[:100]!r}")
        if fields[0] in seen:
            raise CorpusError(f"{path}:{number}: {fields[0]} is also in line {seen[fields[0]]}; remove one of the two")
        seen[fields[0]] = number
        form = _form_of(fields[0], f"{path}:{number}")
        segmentation = "ok" if fields[1] == "ok" else "err"
        yield _Line(fields[0], form, segmentation, fields[8], writers.get(form))


def _read_forms(path: Path) -> dict[str, str]:
    """Writer by form, from rows `form writer sentences ...`."""
    writers = {}
    for number, row in read_lines(path):
        if not row.strip() or row.startswith("#"):
            continue
        fields = row.split()
        if len(fields) != 8 or not fields[1].isdecimal():
            raise CorpusError(f"{path}:{number}: expected a form, its writer and 6 more values, got {row[:100]!r}")
        writers[fields[0]] = fields[1]
    return writers


def _read_xml_forms(source: Path) -> Iterator[_Line]:
    """Lines of `xml/*.xml`. Their texts are escaped once or twice; the convention `iam-xml` resolves both."""
    paths = find_files(source / "xml", (".xml",))
    if not paths:
        raise CorpusError(f"{source / 'xml'}: no XML files in it; unpack xml.tgz there, or use --text ascii")
    seen: dict[str, Path] = {}
    for path in paths:
        form = read_xml(path)
        if local_name(form) != "form":
            raise CorpusError(f"{path}: expected a <form> of IAM, found <{local_name(form)}>")
        for part in children(form, "handwritten-part"):
            for line in children(part, "line"):
                identifier, text = line.get("id"), line.get("text")
                if identifier is None or text is None:
                    raise CorpusError(f"{path}:{line.sourceline}: expected a <line> with id and text")
                if identifier in seen:
                    raise CorpusError(f"{path}: {identifier} is also in {seen[identifier]}; remove one of the two")
                seen[identifier] = path
                segmentation = "ok" if line.get("segmentation", "ok") == "ok" else "err"
                yield _Line(identifier, _form_of(identifier, str(path)), segmentation, text, form.get("writer-id"))


def _file(source: Path, name: str) -> Path:
    for path in (source / "ascii" / name, source / name):
        if path.is_file():
            return path
    raise CorpusError(f"{source}: neither ascii/{name} nor {name} is there; unpack IAM's ascii.tgz into it")


def _form_of(identifier: str, where: str) -> str:
    """The form of a line. Only ids of IAM's form pass, so that none can lead out of the folder."""
    if _LINE_ID.fullmatch(identifier) is None:
        raise CorpusError(f"{where}: expected the id of a line like a01-000u-00, got {identifier[:100]!r}")
    return identifier.rpartition("-")[0]


class _StruckOut:
    """Keeps or drops struck-out words, and counts them."""

    def __init__(self, mode: StruckOut) -> None:
        self.mode = mode
        self.words = 0
        self.lines = 0

    def apply(self, text: str) -> str:
        return text if self.mode == "keep" else " ".join(text.replace("#", "").split())

    def count(self, text: str) -> None:
        words = sum("#" in word for word in text.split())
        self.words += words
        self.lines += words > 0

    def describe(self) -> str:
        what = "kept as #; --struck-out drop takes them out" if self.mode == "keep" else "dropped"
        return f"struck-out words: {self.words} in {self.lines} lines, {what}"


def _words(splits: Mapping[str, list[Example]], convention: str) -> str:
    counts = ", ".join(
        f"{name} {sum(len((example.text or '').split()) for example in examples)}" for name, examples in splits.items()
    )
    return f"words under the text convention {convention}: {counts}"


def _shared_writers(splits: Mapping[str, list[Example]]) -> Iterator[str]:
    names = list(splits)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = sorted(
                {example.writer for example in splits[first] if example.writer}
                & {example.writer for example in splits[second] if example.writer}
            )
            if shared:
                yield f"writers in both {first} and {second}: {len(shared)} ({', '.join(shared)})"
