"""The line images' side of `ctcrec.data.preprocessing.Preprocessor`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctcrec.data.masking import FeatureMasker
from ctcrec.data.preprocessing import MediaSource
from ctcrec.errors import InputError, MediaError
from ctcrec.ocr.augmentation import LineAugmenter
from ctcrec.ocr.features import LineScaler, scale_to_height
from ctcrec.ocr.media import load_line, probe_image
from ctcrec.ocr.memory import line_of
from ctcrec.ocr.pages import is_page
from ctcrec.records import Example

__all__ = ["LinePreprocessor"]


class LinePreprocessor:
    """Line image → (T, F) features: one frame is one column of an image scaled to F rows.

    Args:
        features: keyword arguments of `LineScaler`.
        augmentation: keyword arguments of `LineAugmenter` and `FeatureMasker`.
    """

    unit = "pixels"

    def __init__(
        self, features: Mapping[str, Any] | None = None, augmentation: Mapping[str, Any] | None = None
    ) -> None:
        self._scaler = LineScaler(**(features or {}))
        self._masker, changes = FeatureMasker.split(augmentation or {})
        self._augmenter = LineAugmenter(**changes)

    @property
    def n_features(self) -> int:
        """F, the pixel rows of a frame."""
        return self._scaler.height

    def load(self, media: MediaSource, start: float | None = None, end: float | None = None) -> np.ndarray:
        """uint8 (H, W), dark ink on light paper, at the size of the file; raises MediaError naming it."""
        if start is not None or end is not None:
            raise MediaError(f"{media!s}: start and end cut audio; a line image is always read whole: remove them")
        return load_line(media)

    def from_memory(self, data: np.ndarray, rate: int | None = None) -> np.ndarray:
        """uint8 (H, W) of an array of pixels, or of a Pillow image; raises InputError, see `line_of`."""
        if rate is not None:
            raise InputError("a sample rate belongs to audio; an image has none")
        return line_of(data)

    def doubt(self, source: np.ndarray) -> str | None:
        """What to do with an image of several rows of text."""
        if not is_page(source):
            return None
        return (
            "shows several rows of text, and this model reads one line; cut the lines out first, for example with a"
            " layout program that writes PAGE or ALTO, which `ctcrec prepare page|alto` cuts by"
        )

    def augment(self, source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy, already at F rows: what augmentation costs does not depend on the scan's resolution.

        Spans of an augmented source count its own pixels, not those of the file.
        """
        return self._augmenter(scale_to_height(source, self._scaler.height), generator)

    def features(self, source: np.ndarray) -> torch.Tensor:
        """(T, F) float32, ink 1 and paper 0."""
        return torch.from_numpy(self._scaler(source))

    def mask(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Features with stretches of columns or rows blotted out; see `FeatureMasker`."""
        return self._masker(features, generator)

    def count_frames(self, example: Example, generator: np.random.Generator | None = None) -> int:
        """T from width and height of a manifest row; from the file's header where the row has neither.

        With a generator: T after `augment` with an equal one.
        """
        width, height = example.width, example.height
        if width is None or height is None:
            width, height = probe_image(example.source)
        if width < 1 or height < 1:
            raise InputError(f"example {example.id!r}: width and height must be at least 1, got {width}×{height}")
        frames = self._scaler.count_frames(width, height)
        return frames if generator is None else self._augmenter.output_width(frames, self._scaler.height, generator)

    def unit_per_frame(self, source: np.ndarray) -> float:
        """Source pixels that one frame covers."""
        height, width = source.shape
        return width / self._scaler.count_frames(width, height)

    def extent(self, source: np.ndarray) -> float:
        """Width of the source in pixels."""
        return float(source.shape[1])

    def describe(self, media: Path) -> dict[str, Any]:
        """`width` and `height` from the header; raises MediaError."""
        width, height = probe_image(media)
        return {"width": width, "height": height}
