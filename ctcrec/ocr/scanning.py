"""What print and scanners do to a line: ink that spreads, the other side's print, few dots to the inch, dust, 1 bit.

Every function takes a uint8 (H, W) image, dark ink on light paper, and a random generator, and gives a new image of the
same size. Strengths are drawn anew by each call, from nothing up to the limit given.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from ctcrec.ocr.levels import gray_quantiles

__all__ = ["coarsen", "ink_and_paper", "show_through", "speckle", "spread_ink", "to_two_levels"]

_INK_QUANTILE = 0.01
_EDGE = 0.35  # of the way from paper to ink: how soft the edges of spread ink are
_RAGGED = 0.12  # of that way: how much the edge wanders
_RAGGED_CELLS = 12  # of the height: as fine as paper fibres are at the size of a line


def ink_and_paper(image: np.ndarray) -> tuple[float, float]:
    """Gray levels of the ink and of the paper; at least one apart."""
    ink, paper = gray_quantiles(image[::2, ::2], _INK_QUANTILE, 0.5)
    return min(ink, paper - 1.0), float(paper)


def spread_ink(image: np.ndarray, generator: np.random.Generator, limit: float) -> np.ndarray:
    """Ink that ran into the paper or did not reach all of it: the edge moves to where the blurred ink passes a drawn
    level, which wanders a little along it. `limit` is the widest blur, share of the height."""
    height, width = image.shape
    ink, paper = ink_and_paper(image)
    sigma = generator.uniform(0.2, 1.0) * limit * height
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32)
    amount = (paper - blurred) / (paper - ink)
    cell = max(1, height // _RAGGED_CELLS)
    coarse = generator.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    level = generator.uniform(0.25, 0.55) + _RAGGED * np.asarray(fine)
    changed = np.clip((amount - level) / _EDGE + 0.5, 0.0, 1.0)
    return _to_levels(paper - changed * (paper - ink))


def show_through(image: np.ndarray, generator: np.random.Generator, limit: float) -> np.ndarray:
    """The other side's print, mirrored, out of line and blurred; it is the line's own. `limit`: strength, 1 = ink."""
    height, width = image.shape
    ink, paper = ink_and_paper(image)
    other = Image.fromarray(image[:, ::-1]).filter(ImageFilter.GaussianBlur(generator.uniform(0.01, 0.04) * height))
    shift = (int(generator.integers(-height, height)), int(generator.integers(-(width // 4) - 1, width // 4 + 1)))
    amount = (paper - np.roll(np.asarray(other, dtype=np.float32), shift, (0, 1))).clip(min=0.0)
    return _to_levels(np.minimum(image, paper - generator.uniform(0.0, limit) * amount))


def coarsen(image: np.ndarray, generator: np.random.Generator, least: float) -> np.ndarray:
    """A scan with fewer dots to the inch: the share `least` of rows is left at least, then stretched as before."""
    height, width = image.shape
    share = generator.uniform(least, 1.0)
    small = (max(1, round(share * width)), max(1, round(share * height)))
    reduced = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.BICUBIC))


def speckle(image: np.ndarray, generator: np.random.Generator, limit: float) -> np.ndarray:
    """Dots of ink on the paper and holes in the ink, of one or two pixels; `limit`: share of the pixels."""
    height, width = image.shape
    ink, paper = ink_and_paper(image)
    changed = image.copy()
    count = int(generator.uniform(0.0, limit) * image.size)
    rows, columns = generator.integers(0, height, count), generator.integers(0, width, count)
    levels = np.where(generator.random(count) < 0.5, ink, paper).astype(np.uint8)
    changed[rows, columns] = levels
    wide = generator.random(count) < 0.3
    changed[rows[wide], np.minimum(columns[wide] + 1, width - 1)] = levels[wide]
    return changed


def to_two_levels(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Black and white, parted about half-way between ink and paper."""
    ink, paper = ink_and_paper(image)
    level = ink + generator.uniform(0.35, 0.65) * (paper - ink)
    return np.where(image < level, 0, 255).astype(np.uint8)


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
