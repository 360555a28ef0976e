"""A text as a line of print: drawn by FreeType, with the spacing, paper and margins that such lines have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ctcrec.ocr.rendering.fonts import Font

__all__ = ["Page", "draw_line"]

_SMOOTH_SIZE = 40  # pixels to the em; smaller type is drawn larger and reduced, as optics do
_APART = ";:?!"  # printers before 1900 often set a thin space before these, which no transcript has
_APART_PROBABILITY = 0.3
_PAD = 0.6  # em around the text before it is cut out: swashes and accents leave the box that the font states


@dataclass(frozen=True, slots=True)
class Page:
    """What lines of one print have in common; ranges that each line draws from.

    Attributes:
        dpi: dots to the inch, drawn evenly on a logarithmic scale.
        points: size of the type.
        space: width of word spaces, of the font's own; a justified line has its own.
        margin: paper left above and below the ink, share of the em; at the ends twice as much.
        ink, paper: gray levels of 255.
    """

    dpi: tuple[int, int] = (100, 600)
    points: tuple[float, float] = (8.0, 12.0)
    space: tuple[float, float] = (0.8, 1.7)
    margin: tuple[float, float] = (0.02, 0.3)
    ink: tuple[int, int] = (0, 90)
    paper: tuple[int, int] = (200, 255)

    def draw_size(self, generator: np.random.Generator) -> tuple[int, int]:
        """Dots to the inch, and pixels to the em."""
        low, high = np.log(self.dpi)
        dpi = float(np.exp(generator.uniform(low, high)))
        return round(dpi), max(10, round(generator.uniform(*self.points) * dpi / 72))


def draw_line(text: str, font: Font, size: int, page: Page, generator: np.random.Generator) -> np.ndarray:
    """uint8 (H, W): `text` in a font that has all its characters, at `size` pixels to the em."""
    factor = -(-_SMOOTH_SIZE // size)
    face = font.face(factor * size)
    em = factor * size
    space = generator.uniform(*page.space) * face.getlength(" ")
    apart = em / 10 if generator.random() < _APART_PROBABILITY else 0.0
    coverage = _draw_words(text, face, em, space, apart)
    coverage = coverage[_box(coverage, em, page, generator)]
    image = Image.fromarray(coverage)
    if factor > 1:
        image = image.reduce(factor)
    ink, paper = generator.integers(*page.ink), generator.integers(*page.paper)
    amount = np.asarray(image, dtype=np.float32) / 255.0
    return np.rint(paper - amount * (float(paper) - float(ink))).astype(np.uint8)


def _draw_words(text: str, face: ImageFont.FreeTypeFont, em: int, space: float, apart: float) -> np.ndarray:
    """uint8 coverage, 255 where all is ink, with much paper around."""
    pieces = [piece for word in text.split(" ") for piece in [*_pieces(word, apart > 0), None]][:-1]
    lengths = [space if piece is None else face.getlength(piece) for piece in pieces]
    gaps = [
        apart if piece is not None and before is not None else 0.0
        for before, piece in zip([None, *pieces], pieces, strict=False)
    ]
    pad = round(_PAD * em)
    ascent, descent = face.getmetrics()
    width, height = round(sum(lengths) + sum(gaps)) + 2 * pad, ascent + descent + 2 * pad
    image = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(image)
    x = float(pad)
    for piece, length, gap in zip(pieces, lengths, gaps, strict=True):
        x += gap
        if piece is not None:
            draw.text((x, pad + ascent), piece, fill=255, font=face, anchor="ls")
        x += length
    return np.asarray(image)


def _pieces(word: str, apart: bool) -> list[str]:
    """A word, with the marks that stand apart from it on their own."""
    if not apart or len(word) < 2 or word[-1] not in _APART:
        return [word]
    return [word[:-1], word[-1]]


def _box(coverage: np.ndarray, em: int, page: Page, generator: np.random.Generator) -> tuple[slice, slice]:
    """The ink and a margin that is drawn for each side."""
    rows, columns = np.nonzero(coverage.any(1))[0], np.nonzero(coverage.any(0))[0]
    top, bottom = (int(generator.uniform(*page.margin) * em) for _ in range(2))
    left, right = (int(2 * generator.uniform(*page.margin) * em) for _ in range(2))
    return (
        slice(max(0, rows[0] - top), rows[-1] + 1 + bottom),
        slice(max(0, columns[0] - left), columns[-1] + 1 + right),
    )
