"""Which split an example belongs to: decided by its id alone, so never by the order or number of the files.

An id is the path of an example below its corpus, with `/` and without the ending. Its group is its first folder: the
book, the writer, the speaker.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctcrec.corpora.files import read_lines
from ctcrec.errors import CorpusError, InputError

__all__ = [
    "Split",
    "by_folder_name",
    "by_fraction",
    "by_list",
    "by_top_folder",
    "group_of",
    "hash_fraction",
    "parse_fractions",
    "parse_split",
]

_EXAMPLES = (
    "expected train=0.9,test=0.1 (examples by hash), folders:train=0.9,test=0.1 (whole folders by hash),"
    " folders:test=NAME+PATTERN*,train=* (folders by name), folders (each top folder is a split),"
    " or list:train=FILE,test=FILE"
)


@dataclass(frozen=True, slots=True)
class Split:
    """How a corpus is divided.

    Attributes:
        names: the splits in order; empty where they are only known from the corpus.
        assign: id → name of its split, or None where it is in no split.
        listed: ids that must be there, and the list file that names each.
        levels: leading folders of an id that name its split and so do not belong to its group.
    """

    names: tuple[str, ...]
    assign: Callable[[str], str | None]
    listed: Mapping[str, Path] = field(default_factory=dict)
    levels: int = 0


def hash_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the text only (BLAKE2b of its NFC form in UTF-8), uniform over many keys."""
    digest = hashlib.blake2b(unicodedata.normalize("NFC", key).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: the quotient is exact and below 1


def group_of(identifier: str, levels: int = 0) -> str | None:
    """The first folder of an id after `levels` folders, or None where there is none."""
    folders = identifier.split("/")[:-1]
    return folders[levels] if len(folders) > levels else None


def by_fraction(fractions: Mapping[str, float], whole_folders: bool = False) -> Split:
    """Shares of the examples, or of the groups with `whole_folders`; what is left over below 1 is in no split.

    Adding examples never moves those there were. A share is met on average: few groups can be far from it.
    """
    if not fractions or min(fractions.values()) <= 0 or sum(fractions.values()) > 1 + 1e-9:
        raise InputError(f"split fractions must each be above 0 and sum to at most 1; got {dict(fractions)}")

    def assign(identifier: str) -> str | None:
        key = group_of(identifier) if whole_folders else identifier
        if key is None:
            return None
        position = hash_fraction(key)
        edge = 0.0
        for name, fraction in fractions.items():
            edge += fraction
            if position < edge:
                return name
        return name if edge > 1 - 1e-9 else None

    return Split(tuple(fractions), assign)


def by_folder_name(patterns: Mapping[str, Sequence[str]]) -> Split:
    """Whole groups by name or shell pattern (`*`, `?`, `[...]`, case-sensitive); the first that matches decides."""

    def assign(identifier: str) -> str | None:
        group = group_of(identifier)
        for name, choices in patterns.items():
            if group is not None and any(fnmatch.fnmatchcase(group, choice) for choice in choices):
                return name
        return None

    return Split(tuple(patterns), assign)


def by_top_folder() -> Split:
    """Each top folder is a split (`train/`, `test/`), and the folder below it the group."""
    return Split((), group_of, levels=1)


def by_list(lists: Mapping[str, Path], endings: Sequence[str] = ()) -> Split:
    """Text files with one id, or file name below the corpus, a line; `endings` are removed; `#` starts a comment.

    Raises:
        CorpusError: a list cannot be read, or an id is in two lists.
    """
    names: dict[str, str] = {}
    listed: dict[str, Path] = {}
    for name, path in lists.items():
        for identifier in _read_list(path, endings):
            if names.setdefault(identifier, name) != name:
                raise CorpusError(f"{path}: {identifier} is also in {listed[identifier]}; an example has one split")
            listed[identifier] = path
    return Split(tuple(lists), names.get, listed)


def parse_split(text: str, endings: Sequence[str] = ()) -> Split:
    """The Split that a user wrote; see the message of the error for the forms.

    Raises:
        InputError: the text has none of the forms.
        CorpusError: see `by_list`.
    """
    if text == "folders":
        return by_top_folder()
    kind, rest = re.fullmatch(r"(?:(folders|list):)?(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = _named_parts(rest, f"--split {text}: {_EXAMPLES}")
    if kind == "list":
        return by_list({name: Path(value) for name, value in parts.items()}, endings)
    fractions = {name: _number(value) for name, value in parts.items()}
    known = {name: value for name, value in fractions.items() if value is not None}
    if len(known) == len(parts):
        return by_fraction(known, whole_folders=kind == "folders")
    if kind != "folders" or known:
        raise InputError(f"--split {text}: {_EXAMPLES}")
    return by_folder_name({name: value.split("+") for name, value in parts.items()})


def parse_fractions(text: str) -> dict[str, float]:
    """Shares from what a command line says, `train=0.8,test=0.2`.

    Raises:
        InputError: the text has another form.
    """
    wrong = f"--split {text}: expected names with shares, like train=0.8,valid=0.1,test=0.1"
    fractions = {}
    for name, value in _named_parts(text, wrong).items():
        number = _number(value)
        if number is None:
            raise InputError(wrong)
        fractions[name] = number
    return fractions


def _named_parts(text: str, wrong: str) -> dict[str, str]:
    """`name=value,name=value` as a dictionary; `wrong` is what to say of anything else."""
    parts: dict[str, str] = {}
    for part in text.split(","):
        name, separator, value = part.partition("=")
        if not separator or not value or name in parts:
            raise InputError(wrong)
        if re.fullmatch(r"[\w.-]+", name) is None:
            raise InputError(f"{wrong}; {name!r} cannot name a split: use letters, digits, - and _")
        parts[name] = value
    return parts


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\d*\.\d+|[01]\.?", value) else None


def _read_list(path: Path, endings: Sequence[str]) -> list[str]:
    identifiers = []
    for _, line in read_lines(path):
        name = line.partition("#")[0].strip().replace("\\", "/").removeprefix("./")
        ending = max((item for item in endings if name.lower().endswith(item)), key=len, default="")
        if name:
            identifiers.append(name[: len(name) - len(ending)])
    if not identifiers:
        raise CorpusError(f"{path}: names no example; expected one id or file name a line")
    return identifiers
