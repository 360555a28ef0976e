"""Line images that are in memory already: arrays of pixels, and Pillow's images."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from ctcrec.errors import InputError
from ctcrec.ocr.media import MAX_PIXELS, MIN_SIDE, normalize_polarity, to_gray

__all__ = ["line_of"]

_CHANNELS = (1, 3, 4)  # gray, RGB, RGB with transparency


def line_of(picture: np.ndarray | Image.Image) -> np.ndarray:
    """uint8 (H, W), upright, dark ink on light paper, of a Pillow image or an array.

    Arrays are (H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4: bool, 0 to 255, or 0 to 1 in floats; of deeper
    integers and other floats their own range counts, as in files.

    Raises:
        InputError: another shape or type, values that are not finite, or a size that no line has.
    """
    image = ImageOps.exif_transpose(picture) if isinstance(picture, Image.Image) else _image_of(picture)
    width, height = image.size
    if min(width, height) < MIN_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"the image is {width}×{height} pixels; a text line has at least {MIN_SIDE}×{MIN_SIDE} and no more than"
            f" {MAX_PIXELS} in all"
        )
    return normalize_polarity(np.array(to_gray(image, "the image"), dtype=np.uint8))


def _image_of(array: np.ndarray) -> Image.Image:
    values = array
    if values.ndim == 3 and values.shape[2] not in _CHANNELS and values.shape[0] in _CHANNELS:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in _CHANNELS)) or not values.size:
        raise InputError(f"an image of shape {array.shape}: expected (H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4")
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    elif np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer):
        values = values if values.dtype == np.uint8 else _levels(values)
    else:
        raise InputError(f"an image of {values.dtype}: expected bool, integers or floats")
    return Image.fromarray(np.ascontiguousarray(values))


def _levels(values: np.ndarray) -> np.ndarray:
    """0 to 255: what is in that range, or in 0 to 1, is taken so, else the values' own range is spread over it."""
    if not np.isfinite(values).all():
        raise InputError("the image has values that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.floating) and low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    elif low >= 0.0 and high <= 255.0:
        low, high = 0.0, 255.0
    return np.rint((values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
