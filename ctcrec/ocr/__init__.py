"""Text-line images: reading, features and augmentation behind `LinePreprocessor`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctcrec.ocr.preprocessor import LinePreprocessor

__all__ = ["LinePreprocessor"]


def __getattr__(name: str) -> Any:
    if name == "LinePreprocessor":
        from ctcrec.ocr.preprocessor import LinePreprocessor

        return LinePreprocessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
