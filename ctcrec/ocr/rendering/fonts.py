"""Fonts of a folder: which characters each really draws, and which font a text goes to."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from ctcrec.errors import DataError

__all__ = ["Font", "choose_font", "find_fonts"]

_ENDINGS = (".ttf", ".otf", ".ttc", ".woff")
_CHECK_SIZE = 32  # pixels, at which a character is drawn to see whether it leaves ink
_INVISIBLE = frozenset(" \u00a0\u2009\u200a\u202f")
_CACHED_SIZES = 512  # faces of one size each


@dataclass(frozen=True)
class Font:
    """One face.

    Attributes:
        path: its file.
        family: the name that its styles share.
        name: family and style, as a folder can be called.
        characters: those that its character map gives a glyph of their own.
    """

    path: Path
    family: str
    name: str
    characters: frozenset[str] = field(repr=False)
    _drawn: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def face(self, size: int) -> ImageFont.FreeTypeFont:
        """The face at so many pixels to the em."""
        return _face(str(self.path), size)

    def lacks(self, text: str) -> set[str]:
        """Characters of `text` that the font cannot draw: not in its map, mapped to the box that stands for missing
        ones, or drawn without ink."""
        return {character for character in set(text) - _INVISIBLE if not self._draws(character)}

    def _draws(self, character: str) -> bool:
        if character not in self._drawn:
            self._drawn[character] = (
                character in self.characters and self.face(_CHECK_SIZE).getmask(character).getbbox() is not None
            )
        return self._drawn[character]


@lru_cache(maxsize=_CACHED_SIZES)
def _face(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def find_fonts(folder: Path) -> list[Font]:
    """All fonts below a folder (.ttf, .otf, .ttc, .woff), in the order of their names; a face that cannot be read or
    has no Unicode character map is passed over.

    Raises:
        DataError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    found: dict[str, Font] = {}
    for path in paths:
        font = _read(path)
        if font is not None:
            found.setdefault(font.name, font)
    if not found:
        raise DataError(f"{folder}: no fonts below it ({', '.join(_ENDINGS)}); name a folder such as /usr/share/fonts")
    return list(found.values())


def _read(path: Path) -> Font | None:
    from fontTools.ttLib import TTFont, TTLibError

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on tables that are not used here
    with contextlib.suppress(TTLibError, OSError, AssertionError, KeyError, ValueError):
        with TTFont(path, lazy=True, fontNumber=0) as tables:
            glyphs = tables.getBestCmap() or {}
            names = tables["name"]
            family = names.getBestFamilyName() or path.stem
            style = names.getBestSubFamilyName() or ""
        _face(str(path), _CHECK_SIZE)
        characters = frozenset(chr(code) for code, glyph in glyphs.items() if glyph != ".notdef")
        if characters:
            return Font(path, family, _folder_name(f"{family} {style}"), characters)
    return None


def _folder_name(name: str) -> str:
    """Letters, digits and hyphens."""
    kept = "".join(character if character.isalnum() else "-" for character in name.strip())
    return "-".join(part for part in kept.split("-") if part) or "font"


def choose_font(fonts: Sequence[Font], text: str, generator: np.random.Generator) -> tuple[Font | None, int]:
    """A font that can draw all of `text`, and how many that were drawn before it could not; None if no font can.

    Families are equally likely, however many styles they have; so are the styles of a family.
    """
    by_family: dict[str, list[Font]] = {}
    for font in fonts:
        by_family.setdefault(font.family, []).append(font)
    order: list[Font] = []
    for family in generator.permutation(list(by_family)).tolist():
        styles = by_family[family]
        order += [styles[index] for index in generator.permutation(len(styles))]
    refused = 0
    for font in order:
        if not font.lacks(text):
            return font, refused
        refused += 1
    return None, refused
