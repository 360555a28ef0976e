"""Load a checkpoint, give it files, get hypotheses. The checkpoint knows its modality; the code here does not ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ctcrec.checkpoint import Checkpoint, load_checkpoint
from ctcrec.config import DecodingConfig, load_decoding
from ctcrec.data.batching import plan_in_order
from ctcrec.data.dataset import collate
from ctcrec.data.preprocessing import MediaSource
from ctcrec.errors import CtcrecError, DataError, MediaError
from ctcrec.modalities import MEDIA_NAMES, modality_of
from ctcrec.records import Example, Hypothesis
from ctcrec.strategies import DECODING_FILE, Decode, build_decode

__all__ = ["Recognizer", "Transcript"]

_WINDOW = 128  # examples whose features are in memory at once


@dataclass(frozen=True, slots=True)
class Transcript:
    """What became of one example: a hypothesis, or the error that its medium gave."""

    example: Example
    hypothesis: Hypothesis | None
    error: CtcrecError | None = None


class Recognizer:
    """A trained model, ready for audio or images.

        recognizer = Recognizer.load("runs/lines")
        print(recognizer.transcribe("line.png").text)

    Hypotheses have spans in seconds (speech) or source pixels (ocr), and text after the checkpoint's normalization.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        decode: Decode | None = None,
        batch_frames: int = 40_000,
    ) -> None:
        self.checkpoint = checkpoint
        self.decode = decode or build_decode(DecodingConfig(), checkpoint.tokenizer, Path())
        self.device = torch.device(device)
        self.batch_frames = batch_frames
        self.model = checkpoint.model.to(self.device).eval()

    @classmethod
    def load(
        cls, run: str | Path, device: torch.device | str | None = None, decoding: DecodingConfig | None = None
    ) -> Recognizer:
        """From a run's directory; on the GPU where there is one, unless `device` says otherwise.

        Decoding is what `decoding` says (its files relative to the working directory), else the run's own
        `decoding.yaml` if there is one, else greedy.

        Raises:
            CheckpointError: see `ctcrec.checkpoint.load_checkpoint`.
            ConfigError, DataError: what is wrong with the decoding.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint = load_checkpoint(run, chosen)
        folder = Path() if decoding is not None else Path(run)
        config = decoding or load_decoding(Path(run) / DECODING_FILE, {})
        return cls(checkpoint, chosen, build_decode(config, checkpoint.tokenizer, folder))

    @property
    def modality(self) -> str:
        """ "speech" or "ocr"."""
        return self.checkpoint.config.modality

    def check_kind(self, path: Path) -> None:
        """Raise MediaError where a file's ending belongs to the other modality."""
        kind = modality_of(path)
        if kind is not None and kind != self.modality:
            raise MediaError(
                f"{path}: is {_a(MEDIA_NAMES[kind])} file, and this model recognizes"
                f" {MEDIA_NAMES[self.modality]} files; choose a run trained on {MEDIA_NAMES[kind]}"
            )

    def transcribe(self, media: MediaSource) -> Hypothesis:
        """One file, or the bytes of one. Raises MediaError."""
        if isinstance(media, str | Path):
            self.check_kind(Path(media))
        source = self.checkpoint.preprocessor.load(media)
        [hypothesis] = self._decode_all([Example("media", Path("media"))], [source])
        return hypothesis

    def transcribe_all(
        self, examples: Sequence[Example], done: Callable[[int], None] | None = None
    ) -> Iterator[Transcript]:
        """Many examples in batches of similar length, in the order given; a bad medium does not stop the others.

        Args:
            examples: what to transcribe; `start` and `end` are respected.
            done: called with the number of examples finished, for progress.
        """
        finished = 0
        for first in range(0, len(examples), _WINDOW):
            window = examples[first : first + _WINDOW]
            sources: dict[int, np.ndarray] = {}
            errors: dict[int, CtcrecError] = {}
            for index, example in enumerate(window):
                try:
                    self.check_kind(example.source)
                    sources[index] = self.checkpoint.preprocessor.load(example.source, example.start, example.end)
                except DataError as error:
                    errors[index] = error
            good = list(sources)
            decoded = self._decode_all([window[index] for index in good], [sources[index] for index in good])
            hypotheses = dict(zip(good, decoded, strict=True))
            for index, example in enumerate(window):
                yield Transcript(example, hypotheses.get(index), errors.get(index))
            finished += len(window)
            if done is not None:
                done(finished)

    @torch.no_grad()
    def emissions(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(T', C) float32 log-probabilities of each (T, F) item of features, in order, on the model's device."""
        lengths = [len(item) for item in features]
        plan = plan_in_order(lengths, batch_frames=self.batch_frames, max_batch_size=64)
        results: dict[int, torch.Tensor] = {}
        for chosen in plan.batches:
            batch = collate([_NOTHING] * len(chosen), [features[i] for i in chosen], [()] * len(chosen))
            output = self.model(batch.features.to(self.device), batch.feature_lengths.to(self.device))
            log_probs = output.logits.float().log_softmax(2)
            for index, item, length in zip(chosen, log_probs, output.lengths.tolist(), strict=True):
                results[index] = item[:length]
        return [results[index] for index in range(len(features))]

    def _decode_all(self, examples: Sequence[Example], sources: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Hypotheses of loaded sources, with spans in the modality's unit."""
        preprocessor = self.checkpoint.preprocessor
        if not sources:
            return []
        emissions = self.emissions([preprocessor.features(source) for source in sources])
        decoded = self.decode(emissions)
        subsampling = self.model.subsampling_factor
        return [
            dataclasses.replace(hypothesis, text=self.checkpoint.normalizer.normalize(hypothesis.text)).scaled(
                subsampling * preprocessor.unit_per_frame(source),
                example.start or 0.0,
                (example.start or 0.0) + preprocessor.extent(source),
            )
            for example, source, hypothesis in zip(examples, sources, decoded, strict=True)
        ]


_NOTHING = Example("", Path())


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
