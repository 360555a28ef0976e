"""Gray levels of an image by their share of it, counted instead of sorted."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["gray_quantiles"]


def gray_quantiles(image: np.ndarray, *shares: float) -> list[int]:
    """The gray levels of a uint8 (H, W) image at or below which these shares of its pixels lie."""
    counts = np.cumsum(Image.fromarray(image).histogram())
    return np.searchsorted(counts, np.multiply(shares, image.size)).tolist()
