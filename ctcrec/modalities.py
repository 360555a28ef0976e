"""The one place that knows both modalities: from a config's `modality` to its preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ctcrec.config import LineAugmentation, LineFeatures, SpeechAugmentation, SpeechFeatures
from ctcrec.data.preprocessing import Preprocessor

__all__ = ["FRAME_NAMES", "MODALITIES", "build_preprocessor", "modality_of"]

ModalityName = Literal["speech", "ocr"]
MODALITIES: tuple[ModalityName, ...] = ("speech", "ocr")
FRAME_NAMES = {"speech": "spectra", "ocr": "pixel columns"}
MEDIA_NAMES = {"speech": "audio", "ocr": "image"}
_SOUND = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\x1aE\xdf\xa3", b".snd")
_IMAGES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"P1",
    b"P2",
    b"P3",
    b"P4",
    b"P5",
    b"P6",
)


def build_preprocessor(
    features: SpeechFeatures | LineFeatures, augmentation: SpeechAugmentation | LineAugmentation | None = None
) -> Preprocessor:
    """The modality's preprocessor; without `augmentation` it changes nothing."""
    given = features.model_dump()
    changes = augmentation.model_dump() if augmentation is not None else {}
    if isinstance(features, SpeechFeatures):
        from ctcrec.speech import SpeechPreprocessor

        return SpeechPreprocessor(given, changes)
    from ctcrec.ocr import LinePreprocessor

    return LinePreprocessor(given, changes)


def extensions_of(modality: str) -> frozenset[str]:
    """File endings of a modality's media, with the dot, lower case."""
    if modality == "speech":
        from ctcrec.speech.media import EXTENSIONS as audio

        return audio
    from ctcrec.ocr.media import EXTENSIONS as images

    return images


def modality_of_bytes(head: bytes) -> ModalityName | None:
    """The modality that the first bytes of a file tell, or None where they begin neither sound nor image."""
    if head[4:8] == b"ftyp" or head.startswith(_SOUND) and head[8:12] != b"WEBP":
        return "speech"
    return "ocr" if head.startswith(_IMAGES) else None


def modality_of(path: Path) -> ModalityName | None:
    """The modality that a file's ending belongs to, or None."""
    for modality in MODALITIES:
        if path.suffix.lower() in extensions_of(modality):
            return modality
    return None
