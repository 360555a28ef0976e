"""Suspicious Unicode: what looks the same and is not, and what cannot be seen.

To a tokenizer every code point is a letter of its own, so a text typed in two ways teaches two letters for one shape.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping

import regex  # type: ignore[import-untyped,unused-ignore]

from ctcrec.checking.findings import Finding, Gathered
from ctcrec.text.tokenizers import describe_character

__all__ = ["TextSurvey"]

_STYLES: Mapping[str, tuple[str, ...]] = {
    "apostrophes": ("'", "‘’‛", "ʼ", "′", "`", "´"),
    "quotation marks": ('"', "“”„‟", "″"),
    "hyphens": ("-", "‐", "‑", "−"),
    "spaces": (" ", "\u00a0", "\u2007", "\u2009", "\u202f", "\u3000"),
    "micro signs": ("µ", "μ"),
    "letters kaf": ("ك", "ک"),
    "letters yeh": ("ي", "ی"),
    "letters s with a comma or cedilla": ("ș", "ş"),
    "letters t with a comma or cedilla": ("ț", "ţ"),
}
"""Characters that people use for one another: those of one string go together, those of two strings do not."""
_STYLED = frozenset("".join(style for styles in _STYLES.values() for style in styles)) - {" "}

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS = frozenset("\u200c\u200d")  # needed in Persian and Indic scripts, invisible after Latin letters

# Control and invisible characters, halves of surrogate pairs, private use, unassigned; and what was not understood.
_SUSPECT = regex.compile(r"[\p{C}\ufffd]")
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_SCRIPTS = {
    name: regex.compile(rf"\p{{Script={name}}}") for name in ("Latin", "Greek", "Cyrillic", "Armenian", "Cherokee")
}
_WORDS = 1000  # mixed words told apart


class TextSurvey:
    """Takes the texts one by one and tells what is suspicious in all of them together."""

    def __init__(self) -> None:
        self._characters: Counter[str] = Counter()
        self._suspects: dict[str, Gathered] = {}
        self._styled: dict[str, Gathered] = {}
        self._mixed_words: dict[str, Gathered] = {}
        self._composed = Gathered()
        self._decomposed = Gathered()

    def add(self, manifest: str, example_id: str, text: str) -> None:
        """One more text."""
        self._characters.update(text)
        for character in set(_SUSPECT.findall(text)):
            if character not in _JOINERS or _joins_nothing(character, text):
                self._suspects.setdefault(character, Gathered()).add(manifest, example_id)
        for character in _STYLED.intersection(text):
            self._styled.setdefault(character, Gathered()).add(manifest, example_id)
        if text.isascii():
            return
        if unicodedata.normalize("NFC", text) != text:
            self._decomposed.add(manifest, example_id)
        if any(unicodedata.normalize("NFD", character) != character for character in set(text)):
            self._composed.add(manifest, example_id)
        for word in _mixed_words(text):
            if word in self._mixed_words or len(self._mixed_words) < _WORDS:
                self._mixed_words.setdefault(word, Gathered()).add(manifest, example_id)

    def findings(self) -> Iterator[Finding]:
        """What all texts together show."""
        if self._composed.count and self._decomposed.count:
            yield self._decomposed.finding(
                "form",
                f"texts that are not in NFC (é as e and an accent) in {self._decomposed.count} examples, and composed"
                f" characters in {self._composed.count}; the convention nfc (text.normalization) makes them one",
            )
        yield from self._mixed_styles()
        for word, gathered in self._mixed_words.items():
            yield gathered.finding("look-alike", _explain_word(word))
        for character, gathered in sorted(self._suspects.items()):
            kind = "bidi" if character in _BIDI else "control"
            shown = describe_character(character)
            yield gathered.finding(
                kind, f"{shown} {_times(self._characters[character])}: remove it, or normalize it away (remove:)"
            )

    def _mixed_styles(self) -> Iterator[Finding]:
        for what, styles in _STYLES.items():
            used = [[character for character in style if self._characters[character]] for style in styles]
            used = [style for style in used if style]
            if len(used) < 2:
                continue
            counts = ", ".join(
                f"{describe_character(c)} {_times(self._characters[c])}" for style in used for c in style
            )
            seen = [c for style in reversed(used) for c in style if c in self._styled]  # the usual style comes last
            rarest = min(seen, key=lambda character: self._characters[character])
            yield self._styled[rarest].finding("look-alike", f"{what} in {len(used)} styles: {counts}; choose one")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _joins_nothing(joiner: str, text: str) -> bool:
    """Whether a joiner stands somewhere after a Latin letter, a space, or nothing."""
    return any(
        here == joiner and (before.isspace() or unicodedata.name(before, "").startswith("LATIN"))
        for before, here in zip(f" {text}", text, strict=False)
    )


def _scripts(word: str) -> list[str]:
    return [name for name, pattern in _SCRIPTS.items() if pattern.search(word)]


def _mixed_words(text: str) -> set[str]:
    """Words with letters of two scripts whose letters look alike."""
    if len(_scripts(text)) < 2:
        return set()
    return {word for word in _WORD.findall(text) if len(_scripts(word)) > 1}


def _explain_word(word: str) -> str:
    """Which of its letters are of the rarer script."""
    letters = {name: _SCRIPTS[name].findall(word) for name in _scripts(word)}
    rare = min(letters, key=lambda name: len(letters[name]))
    shown = ", ".join(describe_character(character) for character in sorted(set(letters[rare])))
    return f"the word {word!r} mixes {' and '.join(letters)}: {shown}; type it again in one script"
