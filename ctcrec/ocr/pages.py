"""Whether an image shows a page or a paragraph, and not the one line that a line model reads.

A page is seen in upright strips of it, so that a little skew does no harm: in each, the rows of text stand as bands of
ink with paper between them. Parts of the neighbouring lines, accents and underlines make bands too, but small ones.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ctcrec.ocr.scanning import ink_and_paper

__all__ = ["count_text_rows", "is_page"]

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
    return count_text_rows(image) >= _PAGE_ROWS


def count_text_rows(image: np.ndarray) -> int:
    """Rows of text, as most strips of the image show them; 1 where it cannot be told."""
    picture = Image.fromarray(image)
    if image.shape[0] > 2 * _HEIGHT:
        picture = picture.reduce(image.shape[0] // _HEIGHT)
    gray = np.asarray(picture, dtype=np.float32)
    ink, paper = ink_and_paper(np.asarray(picture))
    dark = gray < paper - _INK * (paper - ink)
    height, width = dark.shape
    strips = max(1, min(_STRIPS, int(width / (_NARROWEST * min(height, width)))))
    counts = [_bands(strip.mean(1)) for strip in np.array_split(dark, strips, axis=1)]
    return int(np.median([count for count in counts if count] or [1]))


def _bands(profile: np.ndarray) -> int:
    """How many bands of about equal ink the rows make; `profile` (H,): share of ink in each row."""
    inked = np.sort(profile[profile > 0])
    if not len(inked):
        return 0
    dense = inked[int(0.9 * (len(inked) - 1))]
    inside = np.zeros(len(profile) + 2, dtype=np.int8)
    inside[1:-1] = profile > _GAP * dense
    starts, ends = np.flatnonzero(np.diff(inside)).reshape(-1, 2).T
    tall = ends - starts >= _LOWEST
    if tall.sum() < 2:
        return int(tall.sum())
    total = np.concatenate([[0.0], np.cumsum(profile)])
    masses = np.sort((total[ends] - total[starts])[tall])[::-1]
    large = masses[: max(1, len(masses) // 2)]
    return int((masses >= _MASS * large[len(large) // 2]).sum())
