"""What a modality hands in: how media become features. `ctcrec.speech` and `ctcrec.ocr` each implement it once.

Everything after this seam is the same code for speech and for lines. Features are (T, F) for both: a frame is one
10-ms spectrum of F mel bands, or one column of F pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch

from ctcrec.records import Example

__all__ = ["MediaSource", "Preprocessor"]

MediaSource = str | Path | bytes | IO[bytes]


class Preprocessor(Protocol):
    """Media → source array → features, with augmentation at both places.

    A source is float32 (S,) samples in [-1, 1] at the configured rate (speech), or uint8 (H, W) with dark ink on
    light paper (ocr).
    """

    @property
    def n_features(self) -> int:
        """F, the size of one frame."""
        ...

    @property
    def unit(self) -> str:
        """What spans are measured in: "seconds" or "pixels"."""
        ...

    def load(self, media: MediaSource, start: float | None = None, end: float | None = None) -> np.ndarray:
        """Read one medium; raises MediaError naming it."""
        ...

    def from_memory(self, data: np.ndarray, rate: int | None = None) -> np.ndarray:
        """The source of pixels or samples (at `rate`) in memory; raises InputError."""
        ...

    def doubt(self, source: np.ndarray) -> str | None:
        """Why a source plainly is none of what the model recognizes, and what to do; None where nothing tells."""
        ...

    def augment(self, source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy of the source for training."""
        ...

    def features(self, source: np.ndarray) -> torch.Tensor:
        """(T, F) float32, T ≥ 1."""
        ...

    def mask(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """A changed copy of the features for training (SpecAugment)."""
        ...

    def count_frames(self, example: Example, generator: np.random.Generator | None = None) -> int:
        """T from the header values of a manifest row, without opening the medium; with a generator, T after
        `augment` with an equal one."""
        ...

    def unit_per_frame(self, source: np.ndarray) -> float:
        """Seconds, or source pixels, that one frame covers."""
        ...

    def extent(self, source: np.ndarray) -> float:
        """The whole length of the source in `unit`; no span reaches beyond it."""
        ...

    def describe(self, media: Path) -> dict[str, Any]:
        """Header values of a medium for its manifest row: duration, or width and height; raises MediaError."""
        ...
