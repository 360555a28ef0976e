"""What one medium is: its header, or all of it decoded. This runs in processes of its own."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctcrec.errors import MediaError
from ctcrec.modalities import ModalityName, modality_of
from ctcrec.records import Example

__all__ = ["Medium", "MediumRequest", "guess_modality", "read_media", "read_medium"]

_OVERHANG = 0.1  # seconds that `end` may lie beyond the file, as `load_audio` allows
_SILENCE = 1e-4  # from the lowest to the highest sample; a hiss of 16-bit audio is more
_NO_CONTRAST = 8  # gray levels from ink to paper; the texture of paper is more


@dataclass(frozen=True, slots=True)
class MediumRequest:
    """A file, or a part of it in seconds, and what to take it for."""

    path: str
    modality: ModalityName
    start: float | None = None
    end: float | None = None

    @property
    def key(self) -> str:
        """One text for each different request."""
        part = "" if self.start is None and self.end is None else f"#{self.start}-{self.end}"
        return f"{self.modality}:{self.path}{part}"


@dataclass(frozen=True, slots=True)
class Medium:
    """What was found in a file; None where it was not looked for, or does not exist for this modality.

    Attributes:
        error: why the medium cannot be used; names the file.
        duration: seconds, of the whole file.
        rate: samples a second.
        width, height: pixels.
        inverted: whether ink is lighter than paper.
        flat: whether there is nothing to hear or to see.
        digest: hash of the decoded samples or gray levels; the same for the same content in another lossless format.
    """

    error: str | None = None
    duration: float | None = None
    rate: int | None = None
    width: int | None = None
    height: int | None = None
    inverted: bool | None = None
    flat: bool | None = None
    digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that are known."""
        return {key: value for key in _FIELDS if (value := getattr(self, key)) is not None}


_FIELDS = tuple(field.name for field in dataclasses.fields(Medium))


def guess_modality(example: Example) -> ModalityName:
    """By the file's ending, else by the keys of the row: lines have a size, utterances a duration."""
    guess = modality_of(example.source)
    if guess is not None:
        return guess
    return "ocr" if example.width is not None or example.height is not None else "speech"


def read_media(requests: Sequence[MediumRequest], whole: bool) -> list[Medium]:
    """`read_medium` of each."""
    return [read_medium(request, whole) for request in requests]


def read_medium(request: MediumRequest, whole: bool) -> Medium:
    """Read the header, and with `whole` decode the content too. Never raises for what is wrong with the file."""
    try:
        return _read_audio(request, whole) if request.modality == "speech" else _read_line(request, whole)
    except MediaError as error:
        return Medium(str(error))
    except MemoryError:
        return Medium(f"{request.path}: needs more memory than there is; cut it into shorter parts")


def _read_audio(request: MediumRequest, whole: bool) -> Medium:
    from ctcrec.speech.media import load_audio, probe_audio

    path, start, end = request.path, request.start, request.end
    info = probe_audio(path)
    if end is not None and end <= (start or 0.0):
        raise MediaError(f"{path}: the part from {start or 0.0:g} s to {end:g} s is empty; correct `start` and `end`")
    if (start or 0.0) >= info.duration or (end or 0.0) > info.duration + _OVERHANG:
        last = f"{end:g} s" if end is not None else "its end"
        raise MediaError(
            f"{path}: lasts {info.duration:.3f} s, and the part to read goes from {start or 0.0:g} s to {last};"
            " correct `start` and `end`"
        )
    if not whole:
        return Medium(duration=info.duration, rate=info.sample_rate)
    samples = load_audio(path, info.sample_rate, start, end)
    flat = bool(np.ptp(samples) < _SILENCE)
    digest = _hash(samples, f"speech {info.sample_rate}")
    return Medium(duration=info.duration, rate=info.sample_rate, flat=flat, digest=digest)


def _read_line(request: MediumRequest, whole: bool) -> Medium:
    from ctcrec.ocr.media import load_gray, normalize_polarity, probe_image

    path = request.path
    if request.start is not None or request.end is not None:
        raise MediaError(f"{path}: start and end cut audio; a line image is always read whole: remove them")
    if not whole:
        width, height = probe_image(path)
        return Medium(width=width, height=height)
    gray = load_gray(Path(path))
    line = normalize_polarity(gray)
    height, width = gray.shape
    flat = bool(np.ptp(gray) < _NO_CONTRAST)
    inverted = None if flat else line is not gray
    return Medium(width=width, height=height, inverted=inverted, flat=flat, digest=_hash(line, f"ocr {width}"))


def _hash(values: np.ndarray, kind: str) -> str:
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
