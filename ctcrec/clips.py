"""Media for score reports: from a manifest's `source` and a hypothesis's spans to a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctcrec.scoring import Collection, TimedWord
    from ctcrec.scoring.media import Clip

__all__ = ["CollectionClips", "load_clip"]

_SAMPLE_RATE = 16000


def load_clip(
    source: Path,
    words: Sequence[TimedWord] = (),
    tokens: Sequence[TimedWord] = (),
    start: float | None = None,
    end: float | None = None,
) -> Clip:
    """The recording, or its part from `start` to `end`, with its words; or the line image with its tokens.

    Times of `words` count from the beginning of the file, as hypotheses have them.

    Raises:
        MediaError: the file is neither, or cannot be read.
    """
    from ctcrec.errors import MediaError
    from ctcrec.modalities import modality_of
    from ctcrec.scoring.media import audio_clip, line_clip

    modality = modality_of(source)
    if modality == "speech":
        from ctcrec.speech.media import load_audio

        offset = start or 0.0
        moved = [
            word._replace(start=word.start - offset, end=word.end - offset)
            for word in words
            if word.start is not None and word.end is not None
        ]
        return audio_clip(load_audio(source, _SAMPLE_RATE, start, end), _SAMPLE_RATE, moved)
    if modality == "ocr":
        from ctcrec.ocr.media import load_line

        return line_clip(load_line(source), tokens or words)
    raise MediaError(f"{source}: is neither an audio nor an image file by its ending")


class CollectionClips:
    """Clips of references by id, where their manifest names a `source` or their folder has a file of that name.

    Attributes:
        errors: what went wrong with media that could not be read.
    """

    def __init__(self, path: Path, references: Collection, hypotheses: Collection) -> None:
        self.path = path
        self.references = references
        self.hypotheses = hypotheses
        self.errors: list[str] = []

    def __call__(self, identifier: str) -> Clip | None:
        """The clip of one id, or None where there is none, or it cannot be read."""
        from ctcrec.errors import MediaError

        source = self._source(identifier)
        if source is None:
            return None
        fields = self.references[identifier].fields
        hypothesis = self.hypotheses.get(identifier)
        words, tokens = (hypothesis.words, hypothesis.tokens) if hypothesis is not None else ((), ())
        try:
            start, end = (float(fields[key]) if key in fields else None for key in ("start", "end"))
            return load_clip(source, words, tokens, start, end)
        except (MediaError, ValueError) as error:
            self.errors.append(str(error))
            return None

    def _source(self, identifier: str) -> Path | None:
        named = self.references[identifier].fields.get("source")
        if named is not None:
            return self.path.parent / named
        if self.path.is_dir():
            from ctcrec.modalities import MODALITIES, extensions_of

            for modality in MODALITIES:
                for extension in sorted(extensions_of(modality)):
                    candidate = self.path / f"{identifier}{extension}"
                    if candidate.exists():
                        return candidate
        return None
