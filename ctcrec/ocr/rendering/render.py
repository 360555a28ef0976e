"""Line images with their texts from running text, as a folder of pairs with a manifest: seeded, parallel, streaming.

A line's image depends on the seed, its number and its text, never on the number of processes.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctcrec.errors import DataError
from ctcrec.ocr.augmentation import LineAugmenter
from ctcrec.ocr.rendering.drawing import Page, draw_line
from ctcrec.ocr.rendering.fonts import Font, choose_font

__all__ = ["SCAN", "Line", "Rendered", "draw", "render"]

_BATCH = 256  # lines that are handed to the processes at a time

SCAN: dict[str, Any] = {  # options of `LineAugmenter`: a book that was printed, has aged, and was scanned
    "affine_probability": 0.6,
    "rotation_degrees": 0.7,
    "shear": 0.08,
    "scale": 0.04,
    "shift": 0.03,
    "elastic_probability": 0.2,
    "elastic_amplitude": 0.015,
    "spread_probability": 0.6,
    "spread": 0.03,
    "bleed_probability": 0.25,
    "bleed": 0.35,
    "resolution_probability": 0.2,
    "resolution": 0.6,
    "blur_probability": 0.5,
    "blur_sigma": 1.2,
    "contrast_probability": 0.6,
    "contrast": 0.25,
    "noise_probability": 0.5,
    "noise_sigma": 14.0,
    "speckle_probability": 0.2,
    "speckle": 0.004,
    "jpeg_probability": 0.4,
    "jpeg_quality": (25, 85),
    "binary_probability": 0.4,
}
"""What `ctcrec render` does to its lines unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line: its text, its image, and how it was drawn."""

    text: str
    image: np.ndarray
    font: str
    dpi: int


@dataclass
class Rendered:
    """What became of a text.

    Attributes:
        lines: how many were drawn.
        elsewhere: lines whose first font lacked a character, so that they went to another.
        left_out: lines that no font can draw.
        missing: those of their characters that no font has at all, with the number of lines; a line can also be left
            out because no single font has all it needs.
        fonts: lines drawn in each font.
    """

    lines: int = 0
    elsewhere: int = 0
    left_out: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    fonts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Painter:
    """All that a process needs to draw any line."""

    fonts: tuple[Font, ...]
    augmenter: LineAugmenter
    page: Page
    seed: int
    out: Path

    def paint(self, task: tuple[int, str]) -> tuple[dict[str, Any] | None, bool, str]:
        """Draw and write line number n: its manifest row, whether another font was needed, and characters that no font
        has. The row is None where no font can draw it."""
        number, text = task
        generator = np.random.default_rng([self.seed, number])
        drawn, refused = draw(text, self.fonts, self.augmenter, self.page, generator)
        if drawn is None:
            everywhere = [c for c in sorted(set(text)) if all(font.lacks(c) for font in self.fonts)]
            return None, True, "".join(everywhere)
        stem = f"{drawn.font}/{number:08d}"
        height, width = drawn.image.shape
        path = self.out / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(drawn.image)
        two_levels = bool(np.isin(drawn.image, (0, 255)).all())
        (image.convert("1", dither=Image.Dither.NONE) if two_levels else image).save(path)
        (self.out / f"{stem}.gt.txt").write_text(text + "\n", encoding="utf-8")
        row = {"id": stem, "source": path, "text": text, "width": width, "height": height, "writer": drawn.font}
        return {**row, "extra": {"dpi": drawn.dpi, "rendered": True}}, refused > 0, ""


def draw(
    text: str, fonts: tuple[Font, ...], augmenter: LineAugmenter, page: Page, generator: np.random.Generator
) -> tuple[Line | None, int]:
    """One line, degraded, in a font that has all its characters, and how many fonts were passed over for it; None
    where no font has them."""
    font, refused = choose_font(fonts, text, generator)
    if font is None:
        return None, refused
    dpi, size = page.draw_size(generator)
    image = augmenter(draw_line(text, font, size, page, generator), generator)
    return Line(text, image, font.name, dpi), refused


def render(
    texts: Iterable[str],
    fonts: Iterable[Font],
    out: Path,
    *,
    seed: int = 1,
    page: Page | None = None,
    degradation: dict[str, Any] | None = None,
    processes: int = 2,
    done: Callable[[int], None] | None = None,
) -> tuple[Iterator[dict[str, Any]], Rendered]:
    """Draw every text as a line into `out/<font>/<number>.png` with `.gt.txt` beside it.

    Args:
        texts: the lines, read as they are needed.
        fonts: see `ctcrec.ocr.rendering.fonts.find_fonts`.
        out: the folder.
        seed: of all random choices.
        page: sizes, resolution, spacing and paper.
        degradation: options of `LineAugmenter`; `SCAN` if None.
        processes: that draw at the same time.
        done: called with the number of lines looked at, for progress.

    Returns:
        The rows of a manifest (keys of `Example`), one by one while lines are drawn; and the counts, which are complete
        when the rows are.

    Raises:
        DataError: `out` cannot be written.
    """
    painter = _Painter(tuple(fonts), LineAugmenter(**(degradation or SCAN)), page or Page(), seed, out)
    counts = Rendered()
    return _rows(painter, enumerate(texts), counts, processes, done), counts


def _rows(
    painter: _Painter,
    tasks: Iterator[tuple[int, str]],
    counts: Rendered,
    processes: int,
    done: Callable[[int], None] | None,
) -> Iterator[dict[str, Any]]:
    seen = 0
    try:
        for results in _painted(painter, tasks, processes):
            for row, other_font, missing in results:
                seen += 1
                if row is None:
                    counts.left_out += 1
                    counts.missing.update(missing)
                    continue
                counts.lines += 1
                counts.elsewhere += other_font
                counts.fonts[row["writer"]] += 1
                yield row
            if done is not None:
                done(seen)
    except OSError as error:
        raise DataError(f"{painter.out}: cannot be written: {error.strerror or error}; choose another --out") from None


def _painted(painter: _Painter, tasks: Iterator[tuple[int, str]], processes: int) -> Iterator[list[Any]]:
    """Results of a batch after the other; no more text is read than is being drawn."""
    if processes == 1:
        while batch := list(itertools.islice(tasks, _BATCH)):
            yield [painter.paint(task) for task in batch]
        return
    with multiprocessing.get_context("spawn").Pool(processes, _start, (painter,)) as pool:
        while batch := list(itertools.islice(tasks, _BATCH)):
            yield pool.map(_paint, batch, chunksize=max(1, len(batch) // (4 * processes)))


_painters: list[_Painter] = []  # of this process


def _start(painter: _Painter) -> None:
    _painters.append(painter)


def _paint(task: tuple[int, str]) -> tuple[dict[str, Any] | None, bool, str]:
    return _painters[-1].paint(task)
