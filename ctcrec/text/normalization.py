"""Text conventions: which characters count as the same, decided once for training, references and hypotheses.

A convention is a list of steps, applied in order. A step is a name (`"lowercase"`) or a name with an argument
(`"keep:abc "`). What a step does never changes: a better one gets a new name, so the steps alone say what was done.
Named conventions carry a version, which grows when their list of steps changes.
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ctcrec.errors import TextError

__all__ = ["CONVENTIONS", "Convention", "Normalizer"]

Step = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Convention:
    """A named, versioned list of steps."""

    version: int
    steps: tuple[str, ...]
    meaning: str


CONVENTIONS: Mapping[str, Convention] = {
    "raw": Convention(1, (), "every code point counts as it stands"),
    "nfc": Convention(1, ("nfc",), "canonically composed Unicode: é is one character however it was typed"),
    "librispeech": Convention(
        1,
        ("fold-quotes", "strip-accents", "uppercase", f"only:{string.ascii_uppercase}' ", "collapse-spaces"),
        "A to Z, apostrophe and space, as in LibriSpeech's transcripts",
    ),
    "iam-ascii": Convention(
        1,
        ("replace:|=> ", "nfc", "collapse-spaces"),
        "IAM's ascii/lines.txt: `|` is a space, so punctuation that stands apart there is a word",
    ),
    "iam-xml": Convention(
        1,
        ("unescape-xml", "nfc", "collapse-spaces"),
        "IAM's xml: entities resolved, punctuation attached to its word",
    ),
    "lower-no-punctuation": Convention(
        1,
        ("fold-quotes", "lowercase", "nfc", "punctuation-to-space", "collapse-spaces"),
        "lower case; punctuation and symbols separate words, apostrophes inside words stay",
    ),
}

_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛′ʼ`´‹›", "'") | dict.fromkeys("“”„‟″«»", '"'))
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-"))


def _strip_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    kept = "".join(character for character in decomposed if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", kept)


def _unescape_xml(text: str) -> str:
    """Resolve `&quot;` and the like until none is left: IAM's files escape some texts twice."""
    while (resolved := html.unescape(text)) != text:
        text = resolved
    return text


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _punctuation_to_space(text: str) -> str:
    """Replace punctuation and symbols with spaces; an apostrophe between two letters or digits stays."""
    if text.isalnum():
        return text
    padded = f" {text} "
    return "".join(
        " " if _is_mark(here) and not (here == "'" and before.isalnum() and after.isalnum()) else here
        for before, here, after in zip(padded, text, padded[2:], strict=False)
    )


_PLAIN_STEPS: Mapping[str, Step] = {
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfd": lambda text: unicodedata.normalize("NFD", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "lowercase": str.lower,
    "uppercase": str.upper,
    "casefold": str.casefold,
    "fold-quotes": lambda text: text if text.isascii() and "`" not in text else text.translate(_QUOTES),
    "fold-dashes": lambda text: text if text.isascii() else text.translate(_DASHES),
    "strip-accents": lambda text: text if text.isascii() else _strip_accents(text),
    "punctuation-to-space": _punctuation_to_space,
    "collapse-spaces": lambda text: " ".join(text.split()),
    "unescape-xml": _unescape_xml,
}
_STEPS_WITH_ARGUMENT = {
    "keep:CHARACTERS": "drops every other character",
    "only:CHARACTERS": "puts a space in place of every other character",
    "remove:CHARACTERS": "drops these characters",
    "replace:OLD=>NEW": "replaces a piece of text; NEW may be empty",
}


def _compile(step: str) -> Step:
    """The function behind a step's name. Raises TextError for a step that does not exist."""
    if step in _PLAIN_STEPS:
        return _PLAIN_STEPS[step]
    name, colon, argument = step.partition(":")
    if colon and argument:
        escaped = re.escape(argument)
        if name == "keep":
            return lambda text, drop=re.compile(f"[^{escaped}]"): drop.sub("", text)  # type: ignore[misc]
        if name == "only":
            return lambda text, drop=re.compile(f"[^{escaped}]"): drop.sub(" ", text)  # type: ignore[misc]
        if name == "remove":
            return lambda text, drop=re.compile(f"[{escaped}]"): drop.sub("", text)  # type: ignore[misc]
        if name == "replace" and "=>" in argument[1:]:
            cut = argument.index("=>", 1)
            return lambda text, old=argument[:cut], new=argument[cut + 2 :]: text.replace(old, new)  # type: ignore[misc]
    known = ", ".join([*_PLAIN_STEPS, *_STEPS_WITH_ARGUMENT])
    raise TextError(f"unknown normalization step {step!r}; the steps are: {known}")


@dataclass(frozen=True)
class Normalizer:
    """A text convention: an ordered list of steps, and the name and version it goes by if it has one.

    The same object serves training text, references and hypotheses, and is recorded in the checkpoint.

        Normalizer()                              Unicode NFC, the default
        Normalizer.named("librispeech")
        Normalizer(("nfc", "fold-quotes"))        your own

    Raises:
        TextError: a step that does not exist; the message lists those that do.
    """

    steps: tuple[str, ...] = ("nfc",)
    name: str | None = None
    version: int | None = None
    _functions: tuple[Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "_functions", tuple(_compile(step) for step in self.steps))

    @classmethod
    def named(cls, name: str) -> Normalizer:
        """A convention of `CONVENTIONS`. Raises TextError for another name."""
        if name not in CONVENTIONS:
            raise TextError(f"unknown text convention {name!r}; there are: {', '.join(CONVENTIONS)}")
        convention = CONVENTIONS[name]
        return cls(convention.steps, name, convention.version)

    @classmethod
    def of(cls, convention: str | Iterable[str]) -> Normalizer:
        """From what a config or command line holds: a convention's name, `"step+step"`, or a list of steps.

        A step whose argument contains `+` can be given only in a list.
        """
        if not isinstance(convention, str):
            return cls(tuple(convention))
        if convention in CONVENTIONS:
            return cls.named(convention)
        try:
            return cls(tuple(convention.split("+")))
        except TextError as error:
            raise TextError(f"{error}; or the name of a convention: {', '.join(CONVENTIONS)}") from None

    def normalize(self, text: str) -> str:
        """`text` after all steps."""
        for function in self._functions:
            text = function(text)
        return text

    @property
    def signature(self) -> str:
        """One word that names the convention: `librispeech.v1`, or the steps joined by `+`."""
        if self.name is not None:
            return f"{self.name}.v{self.version}"
        return "+".join(self.steps) or f"raw.v{CONVENTIONS['raw'].version}"

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint records: `{"name", "version", "steps"}`, all of it plain data."""
        return {"name": self.name, "version": self.version, "steps": list(self.steps)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Normalizer:
        """The normalizer that `to_dict` recorded. The steps decide, even if the name has newer ones by now.

        Raises:
            TextError: the record is not one of `to_dict`, or has a step that this version of ctcrec lacks.
        """
        steps, name, version = record.get("steps"), record.get("name"), record.get("version")
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise TextError(f"a recorded text convention needs a list of step names under 'steps', got {steps!r}")
        return cls(tuple(steps), name, version)
