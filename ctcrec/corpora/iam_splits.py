"""The two published splits of IAM: their list files, the numbers they should have, and that they are never mixed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ctcrec.corpora.files import find_files, read_lines
from ctcrec.data.manifest import iterate_manifest
from ctcrec.errors import CorpusError, DataError, InputError
from ctcrec.records import Example

__all__ = ["SplitLists", "SplitName", "describe_counts", "read_split_lists", "refuse_other_split"]

SplitName = Literal["rwth", "official"]
NAMES = ("train", "valid", "test")

_LINES: Mapping[SplitName, Mapping[str, tuple[int, ...]]] = {
    "rwth": {"train": (6482,), "valid": (976,), "test": (2915,)},
    "official": {"train": (6161,), "valid": (900, 940), "test": (1861,)},
}
_FORMS: Mapping[SplitName, Mapping[str, int]] = {"rwth": {"train": 747, "valid": 116, "test": 336}, "official": {}}
_FILES: Mapping[SplitName, Mapping[str, tuple[str, ...]]] = {
    "rwth": {
        "train": ("train.uttlist", "train.filelist", "train.lst", "tr.lst"),
        "valid": ("validation.uttlist", "valid.uttlist", "validation.filelist", "valid.lst", "va.lst"),
        "test": ("test.uttlist", "test.filelist", "test.lst", "te.lst"),
    },
    "official": {
        "train": ("trainset.txt",),
        "valid": ("validationset1.txt", "validationset2.txt"),
        "test": ("testset.txt",),
    },
}
_OVERLAP = (
    "the splits rwth and official overlap across train, validation and test, so mixing them tests on training data"
)
_ENTRY = re.compile(r"(?:.*/)?(([a-z]\d\d-\d{3}[a-z]*)(?:-\d\d+)?)(?:\.png|\.tif)?", re.ASCII)
_MOST_IDS = 200  # named in a message


@dataclass(frozen=True, slots=True)
class SplitLists:
    """The split of every form and line that the lists name, and the ids of each list in its order."""

    kind: SplitName
    listed: Mapping[str, Sequence[str]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.listed)

    def split_of(self, line: str, form: str) -> str | None:
        """Where a line belongs: as its own id says, else its form's."""
        for identifier in (line, form):
            for name, identifiers in self.listed.items():
                if identifier in identifiers:
                    return name
        return None


def read_split_lists(source: Path, kind: SplitName, lists: Mapping[str, Path]) -> SplitLists:
    """Read the lists of `train`, `valid` and `test`, those not named from below `source` under their usual names.

    Raises:
        InputError: a list is named for a split that does not exist.
        CorpusError: a list is missing or malformed, or is of the other split, or two lists name the same form.
    """
    for name in lists:
        if name not in NAMES:
            raise InputError(f"--list {name}=FILE: the splits are {', '.join(NAMES)}")
    other: SplitName = "official" if kind == "rwth" else "rwth"
    paths = {name: lists.get(name) or _find(source, kind, name) for name in NAMES}
    listed: dict[str, dict[str, None]] = {}
    form_of: dict[str, tuple[str, Path]] = {}
    for name, path in paths.items():
        if path.name.lower() in _FILES[other][name]:
            raise CorpusError(f"{path}: is a list of the {other} split, and --split is {kind}; {_OVERLAP}")
        listed[name] = {}
        for identifier, form, where in _read_list(path):
            listed[name][identifier] = None
            first, first_path = form_of.setdefault(form, (name, path))
            if first != name:
                raise CorpusError(
                    f"{where}: {form} is in the list of {first} too ({first_path}); {_OVERLAP}: take all lists from"
                    " one split"
                )
        # Some copies of the rwth training list have 6161 lines too, so only the other two tell the splits apart
        if name != "train" and len(listed[name]) in _LINES[other][name]:
            raise CorpusError(
                f"{path}: names {len(listed[name])} lines, as the {name} list of the {other} split does, and --split"
                f" is {kind}; {_OVERLAP}"
            )
    return SplitLists(kind, listed)  # type: ignore[arg-type]  # a dictionary's keys are a sequence with quick `in`


def refuse_other_split(out: Path, kind: SplitName) -> None:
    """Raise CorpusError where `out` holds manifests of the other split."""
    for path in sorted(out.glob("*.jsonl")) if out.is_dir() else ():
        try:
            example = next(iterate_manifest(path), None)
        except DataError:
            continue  # not a manifest of ours
        partition = example.extra.get("partition") if example is not None else None
        if isinstance(partition, str) and partition.startswith("iam:") and partition != f"iam:{kind}":
            raise CorpusError(
                f"{path}: is of the split {partition[4:]}, and --split is {kind}; {_OVERLAP}: choose another --out"
            )


def describe_counts(
    lists: SplitLists, splits: Mapping[str, Sequence[Example]], forms: Mapping[str, str]
) -> Iterator[str]:
    """For each split, how many lines and forms there are of those published, and which listed ones are missing.

    Args:
        lists: what should be there.
        splits: what is.
        forms: the form of every line that has a transcript.
    """
    for name in lists.names:
        found = {example.id for example in splits[name]}
        expected = {line for line, form in forms.items() if lists.split_of(line, form) == name}
        present_forms = set(forms.values())
        missing = sorted(expected - found)
        missing += [item for item in lists.listed[name] if item not in forms and item not in present_forms]
        published = _LINES[lists.kind][name]
        found_forms = len({forms[line] for line in found})
        text = f"{name}: {len(found)} lines of {found_forms} forms"
        if len(found) not in published:
            text += f"; published are {' or '.join(map(str, published))} lines"
            if name in _FORMS[lists.kind]:
                text += f" of {_FORMS[lists.kind][name]} forms"
        else:
            text += ", as published"
        if missing:
            more = f" and {len(missing) - _MOST_IDS} more" if len(missing) > _MOST_IDS else ""
            text += f"; missing {len(missing)}: {', '.join(missing[:_MOST_IDS])}{more}"
        yield text


def _find(source: Path, kind: SplitName, name: str) -> Path:
    names = _FILES[kind][name]
    found = {path.name.lower(): path for path in reversed(find_files(source, names))}
    for candidate in names:
        if candidate in found:
            return found[candidate]
    raise CorpusError(
        f"{source}: no {' or '.join(names)} below it; name the list with --list {name}=FILE: one form (a01-000u) or"
        " line (a01-000u-00) a row"
    )


def _read_list(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, its form, `file:line`) of each row."""
    empty = True
    for number, row in read_lines(path):
        entry = row.partition("#")[0].strip().replace("\\", "/")
        if not entry:
            continue
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise CorpusError(
                f"{path}:{number}: expected a form (a01-000u) or a line (a01-000u-00), got {entry[:100]!r}"
            )
        empty = False
        yield match[1], match[2], f"{path}:{number}"
    if empty:
        raise CorpusError(f"{path}: names nothing; expected one form (a01-000u) or line (a01-000u-00) a row")
