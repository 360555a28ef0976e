"""Line images from files: any format and mode that Pillow reads becomes uint8 (H, W), dark ink on light paper.

Only still-image formats with a decoder inside Pillow are opened (no PostScript, no plug-ins that start programs).
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from ctcrec.data.preprocessing import MediaSource
from ctcrec.errors import MediaError

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "MIN_SIDE",
    "ImageInfo",
    "load_gray",
    "load_line",
    "normalize_polarity",
    "probe_image",
    "to_gray",
]

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"}
)
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself warns of a decompression bomb
MIN_SIDE = 4  # pixels; no letter is legible below it

_POLARITY_HEIGHT = 48  # rows at which polarity is looked for
_NEIGHBOURHOOD = (0.8, 0.1)  # radius in x and y, share of the height; right for all of 13,177 lines of four corpora
_COARSE = 8  # columns that share a neighbourhood
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height
_SUBFILE_TYPE = 0x00FE  # TIFF tag; bits 0 and 2 mark previews and masks


class ImageInfo(NamedTuple):
    """Size of an image in pixels, upright (after EXIF rotation)."""

    width: int
    height: int


def probe_image(path: str | Path) -> ImageInfo:
    """Size of an image from its header; pixels are not decoded.

    Raises:
        MediaError: the file is missing, no image, empty, too small, too large, or has several pages.
    """
    with _opened(path) as (image, orientation, _):
        return _upright_size(image, orientation)


def load_line(media: MediaSource) -> np.ndarray:
    """One line image as uint8 (H, W), upright, dark ink on light paper: `load_gray`, then `normalize_polarity`.

    Raises:
        MediaError: see `load_gray`.
    """
    return normalize_polarity(load_gray(media))


def load_gray(media: MediaSource) -> np.ndarray:
    """One line image as uint8 (H, W), upright, with the polarity of the file.

    Transparency is laid on white. Images deeper than 8 bits are spread over 0..255 by their own range.

    Raises:
        MediaError: as `probe_image`, and when the pixel data is truncated or damaged.
    """
    with _opened(media) as (image, orientation, name):
        image.load()
        gray = to_gray(image, name)
        if orientation > 1:
            gray.getexif()[_ORIENTATION] = orientation
            gray = ImageOps.exif_transpose(gray)
        return np.array(gray, dtype=np.uint8)


def normalize_polarity(image: np.ndarray) -> np.ndarray:
    """The image, or its negative if it shows light ink on dark paper; uint8 (H, W).

    Strokes are thin, so ink stands out from its own neighbourhood, whatever surrounds the line: the deviations from
    a local mean are skewed towards the ink, while the edges of a scan, of a page or of a mask give as much to either
    side. Counting gray levels over the whole image instead fails where the crop shows what lies behind the page. An
    image without contrast is blank paper.
    """
    height = image.shape[0]
    picture = Image.fromarray(image)
    if height >= 2 * _POLARITY_HEIGHT:
        picture = picture.reduce(height // _POLARITY_HEIGHT)
    radius = (_NEIGHBOURHOOD[0] * picture.height / _COARSE, _NEIGHBOURHOOD[1] * picture.height)
    means = np.asarray(picture.reduce((_COARSE, 1)).filter(ImageFilter.BoxBlur(radius)), dtype=np.float32)
    deviation = np.asarray(picture, dtype=np.float32) - np.repeat(means, _COARSE, axis=1)[:, : picture.width]
    skew = float((deviation * deviation * deviation).sum())  # a power would take ten times as long
    if skew == 0.0:
        return image if image.mean() >= 128 else 255 - image
    return image if skew < 0 else 255 - image


@contextmanager
def _opened(media: MediaSource) -> Iterator[tuple[Image.Image, int, str]]:
    """An image with only its header read, its EXIF orientation and its name; every failure becomes a MediaError."""
    name = _name(media)
    try:
        with _stream(media) as stream, Image.open(stream, formats=_FORMATS) as image:
            orientation = _orientation(image)
            _check(image, orientation, name)
            yield image, orientation, name
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise MediaError(f"{name}: {_not_an_image(media)}") from None
    except Image.DecompressionBombError:
        raise MediaError(
            f"{name}: is far larger than a text line (limit {MAX_PIXELS} pixels); cut out the line"
        ) from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # Pillow's decoders raise almost any type on damaged files
        if isinstance(error, OSError) and error.strerror:
            raise MediaError(f"{name}: cannot be read: {error.strerror}") from None
        raise MediaError(f"{name}: is truncated or damaged ({error}); export or copy the image again") from None


def _stream(media: MediaSource) -> AbstractContextManager[IO[bytes]]:
    """The bytes of a medium. Pillow gets no paths: from a path it maps a TIFF into memory, and turns it wrongly."""
    if isinstance(media, bytes):
        return io.BytesIO(media)
    if not isinstance(media, str | Path):
        return nullcontext(media)
    if not stat.S_ISREG(os.stat(media).st_mode):  # opening a pipe would wait for ever
        raise MediaError(f"{media}: is a folder or a device, expected an image file")
    return open(media, "rb")


def _check(image: Image.Image, orientation: int, name: str) -> None:
    width, height = _upright_size(image, orientation)
    if min(width, height) < MIN_SIDE:
        raise MediaError(f"{name}: is {width}×{height} pixels, too small to show text (at least {MIN_SIDE}×{MIN_SIDE})")
    if width * height > MAX_PIXELS:
        raise MediaError(f"{name}: is {width}×{height} pixels, far larger than a text line; cut out the line")
    pages = _count_pages(image)
    if pages > 1:
        raise MediaError(f"{name}: has {pages} pages or frames, expected one text line; save each as its own image")


def _count_pages(image: Image.Image) -> int:
    """Pages of a TIFF without its previews and masks, or frames of an animation.

    The further pictures in a camera's multi-picture JPEG are renderings of the first, so they do not count.
    """
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames == 1 or image.format != "TIFF":
        return frames
    pages = 1
    for index in range(1, frames):
        image.seek(index)
        pages += not image.tag_v2.get(_SUBFILE_TYPE, 0) & 0b101  # type: ignore[attr-defined]
    image.seek(0)
    return pages


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 as far as it still has to be applied, without decoding pixels."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF images upright itself, and reports their upright size
    # PngImageFile.getexif decodes the whole image to find EXIF behind it; the base class reads what the header has
    value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _upright_size(image: Image.Image, orientation: int) -> ImageInfo:
    width, height = image.size
    return ImageInfo(height, width) if orientation >= 5 else ImageInfo(width, height)


def to_gray(image: Image.Image, name: str) -> Image.Image:
    """8-bit gray of an image in any mode: transparency on white, deeper ones spread over 0..255. Raises MediaError."""
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _spread(np.asarray(image, dtype=np.float64), name)
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("L")
    return image.convert("L")


def _spread(values: np.ndarray, name: str) -> Image.Image:
    """Deep images use their bits in many ways (12 of 16, 0..1 floats): their own range becomes 0..255."""
    if not np.isfinite(values).all():
        raise MediaError(f"{name}: has pixels that are not finite numbers; export it as 8-bit gray")
    low, high = float(values.min()), float(values.max())
    if high == low:
        return Image.new("L", (values.shape[1], values.shape[0]), 255)
    return Image.fromarray(np.round((values - low) * (255.0 / (high - low))).astype(np.uint8))


def _name(media: MediaSource) -> str:
    if isinstance(media, bytes):
        return "<bytes>"
    return str(media if isinstance(media, str | Path) else getattr(media, "name", "<stream>"))


def _not_an_image(media: MediaSource) -> str:
    """What to say of a file in which Pillow finds no image."""
    head = b""
    if isinstance(media, bytes):
        head = media[:16]
    elif isinstance(media, str | Path):
        with open(media, "rb") as file:
            head = file.read(16)
    if isinstance(media, bytes | str | Path) and not head:
        return "is empty (0 bytes); copy it again"
    known = {
        rb"RIFF....WAVE|fLaC|OggS|ID3|\xff[\xfb\xf3\xf2]": "it looks like audio",
        rb"%PDF": "it is a PDF; render its pages and cut out the lines",
    }
    for pattern, what in known.items():
        if re.match(pattern, head, re.DOTALL):
            return f"is not an image: {what}"
    return "is not an image that can be read; expected PNG, JPEG, TIFF, BMP, GIF, WebP or PNM"
