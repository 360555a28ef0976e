"""Line images as sequences: scaled to one height, a frame is one column of pixels, ink 1 and paper 0."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ctcrec.ocr.levels import gray_quantiles

__all__ = ["LineScaler", "scale_to_height"]

# Gray levels are stretched between these quantiles. Even in a bold, tight crop a fifth of the pixels is clean paper,
# and the letters of a line that is mostly blank still cover more than 0.5 %.
_INK_QUANTILE = 0.005
_PAPER_QUANTILE = 0.80
_FINEST = 3.0  # rows of an averaged image for each row of the result, at least
_MIN_CONTRAST = 32.0  # gray levels; less is paper texture, which must not be blown up to look like ink


class LineScaler:
    """uint8 (H, W) line image, dark ink on light paper → (T, F) float32, ink 1, paper 0.

    Args:
        height: F, the pixel rows of a frame. The width is scaled by the same factor, without any limit.
        normalization: "none" or "global". Either gives the same features: global mean and variance belong to the
            model, because they are learned from the training set.
    """

    def __init__(self, height: int = 48, normalization: str = "none") -> None:
        self.height = height
        self.normalization = normalization

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(T, F) float32 with T = `count_frames(W, H)`."""
        scaled = scale_to_height(image, self.height)
        return np.ascontiguousarray(_ink_of_level(scaled).take(scaled).T)

    def count_frames(self, width: int, height: int) -> int:
        """T of an image of this size."""
        return _scaled_width(width, height, self.height)


def scale_to_height(image: np.ndarray, height: int) -> np.ndarray:
    """The uint8 (H, W) image at `height` rows, aspect kept; the very same array if it has that height already.

    Bicubic, over as many pixels as one pixel of the result covers. Far larger images are first averaged in squares,
    which Pillow does; for the others PyTorch is faster.
    """
    rows, columns = image.shape
    if rows == height:
        return image
    width = _scaled_width(columns, rows, height)
    if rows >= 2 * _FINEST * height:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=_FINEST)
        return np.asarray(resized)
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))  # it takes no mirrored views
    interpolate = torch.nn.functional.interpolate
    return interpolate(pixels[None, None], (height, width), mode="bicubic", antialias=True)[0, 0].numpy()


def _scaled_width(width: int, height: int, target: int) -> int:
    """width · target / height, rounded half up in integers, at least 1."""
    return max(1, (2 * width * target + height) // (2 * height))


def _ink_of_level(image: np.ndarray) -> np.ndarray:
    """(256,) float32: how much ink each gray level is in this image."""
    ink, paper = gray_quantiles(image, _INK_QUANTILE, _PAPER_QUANTILE)
    levels = np.arange(256)
    return np.clip((paper - levels) / max(paper - ink, _MIN_CONTRAST), 0.0, 1.0).astype(np.float32)
