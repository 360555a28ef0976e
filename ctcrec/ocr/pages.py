"""Whether an image shows a page or a paragraph, and not the one line that a line model reads.

A page is seen in upright strips of it, so that a little skew does no harm: in each, the rows of text stand as bands of
ink with paper between them. Parts of the neighbouring lines, accents and underlines make bands too, but small ones.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ctcrec.ocr.scanning import ink_and_paper

__all__ = ["count_text_rows", "is_page"]

_WIDEST = 24.0  # widths in heights: wider is no page, whose rows would each have 150 letters
_HEIGHT = 800  # rows at which bands are looked for; taller images are reduced
_STRIPS = 6
_NARROWEST = 1.0  # width of a strip at least, in heights of the image where that is less
_INK = 0.4  # of the way from paper to ink: darker is ink
_GAP = 0.12  # of the ink of a dense row: rows with less part the bands
_MASS = 0.3  # of the ink of the median of the larger bands: smaller bands are no rows of text
_LOWEST = 5  # pixels; a lower band is no legible text
_PAGE_ROWS = 3


def is_page(image: np.ndarray) -> bool:
    """Whether a uint8 (H, W) image, dark ink on light paper, plainly shows several rows of text."""
    if image.shape[1] > _WIDEST * image.shape[0]:
        return False
    profiles = _strip_profiles(image)
    if _bands_at_most(profiles).max() < _PAGE_ROWS:  # nearly all lines, told in a fraction of the time
        return False
    return _count_rows(profiles) >= _PAGE_ROWS


def count_text_rows(image: np.ndarray) -> int:
    """Rows of text, as most strips of the image show them; 1 where it cannot be told."""
    return _count_rows(_strip_profiles(image))


def _count_rows(profiles: np.ndarray) -> int:
    counts = [_bands(profile) for profile in profiles]
    return int(np.median([count for count in counts if count] or [1]))


def _strip_profiles(image: np.ndarray) -> np.ndarray:
    """(S, H): the share of ink in each row of each upright strip."""
    if image.shape[0] > 2 * _HEIGHT:
        image = np.asarray(Image.fromarray(image).reduce(image.shape[0] // _HEIGHT))
    ink, paper = ink_and_paper(image)
    dark = (image < math.ceil(paper - _INK * (paper - ink))).view(np.uint8)
    height, width = dark.shape
    strips = max(1, min(_STRIPS, int(width / (_NARROWEST * min(height, width)))))
    starts = [width * strip // strips for strip in range(strips)]
    sums = np.add.reduceat(dark, starts, axis=1, dtype=np.int32)
    return sums.T / np.diff([*starts, width])[:, None]


def _bands_at_most(profiles: np.ndarray) -> np.ndarray:
    """(S,): how many stretches of rows of ink each strip has that are high enough; `_bands` counts no others."""
    inside = profiles > _GAP * _dense_row(profiles)[:, None]
    inside = np.pad(inside, ((0, 0), (1, 0)))
    high = np.logical_and.reduce([inside[:, row : inside.shape[1] - _LOWEST + row + 1] for row in range(_LOWEST)])
    return (high[:, 1:] & ~high[:, :-1]).sum(1)


def _dense_row(profiles: np.ndarray) -> np.ndarray:
    """(...,): the ink of a row that is denser than nine in ten of those with ink; `profiles` (..., H)."""
    inked = np.sort(profiles, axis=-1)
    counts = np.count_nonzero(inked, axis=-1)
    place = inked.shape[-1] - counts + (0.9 * (counts - 1)).astype(np.int64)
    return np.take_along_axis(inked, np.minimum(place, inked.shape[-1] - 1)[..., None], -1)[..., 0]


def _bands(profile: np.ndarray) -> int:
    """How many bands of about equal ink the rows make; `profile` (H,): share of ink in each row."""
    dense = _dense_row(profile[None])[0]
    inside = np.zeros(len(profile) + 2, dtype=np.int8)
    inside[1:-1] = profile > _GAP * dense
    starts, ends = np.flatnonzero(np.diff(inside)).reshape(-1, 2).T
    tall = ends - starts >= _LOWEST
    if not tall.any():
        return 0
    total = np.concatenate([[0.0], np.cumsum(profile)])
    masses = np.sort((total[ends] - total[starts])[tall])[::-1]
    large = masses[: max(1, len(masses) // 2)]
    return int((masses >= _MASS * large[len(large) // 2]).sum())
