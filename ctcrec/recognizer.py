"""Load a checkpoint, give it files, get hypotheses. The checkpoint knows its modality; the code here does not ask."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ctcrec.checkpoint import Checkpoint, load_checkpoint
from ctcrec.config import DecodingConfig, load_decoding
from ctcrec.data.batching import plan_in_order
from ctcrec.data.dataset import collate
from ctcrec.data.preprocessing import MediaSource
from ctcrec.errors import CtcrecError, DataError, InputError, MediaError
from ctcrec.modalities import MEDIA_NAMES, modality_of
from ctcrec.models.precision import has_bfloat16
from ctcrec.models.recognition_model import check_heads
from ctcrec.pretrained import find_model
from ctcrec.processes import can_fork, in_order, in_processes
from ctcrec.records import Encoded, Example, Hypothesis
from ctcrec.strategies import DECODING_FILE, Decode, build_decode

if TYPE_CHECKING:
    from PIL.Image import Image

    from ctcrec.attention_strategies import AttentionDecode

__all__ = ["Precision", "Recognizer", "Transcript", "load_model"]

Precision = Literal["float32", "bfloat16"]

_WINDOW = 96  # examples that one worker loads, and encodes in batches of similar length
_SMALLEST = 16  # examples of a window where there are few
_FEWEST = 8  # examples for each process; to fork one takes as long as some of them
_GPU_WORKERS = 2  # one window is loaded while the GPU works on another


@dataclass(frozen=True, slots=True)
class Transcript:
    """What became of one example: a hypothesis, or the error that its medium gave."""

    example: Example
    hypothesis: Hypothesis | None
    error: CtcrecError | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Features (T, F) of a medium, what one of their frames covers of it, and its extent, in the modality's unit."""

    features: torch.Tensor
    unit_per_frame: float
    extent: float


@dataclass(frozen=True, slots=True)
class _Window:
    """Some examples: what was loaded of each, or the error it gave, and what was encoded of those without one."""

    loaded: list[_Loaded | CtcrecError]
    encoded: list[Encoded]


class Recognizer:
    """A trained model, ready for audio or images.

        recognizer = Recognizer.load("runs/lines")
        print(recognizer.transcribe("line.png").text)

    Hypotheses have spans in seconds (speech) or source pixels (ocr), and text after the checkpoint's normalization.

    `precision` is what the model computes in: "float32", "bfloat16" (matrix products and their results; what remains is
    float32), or None for bfloat16 on a CPU that has instructions for it, and float32 elsewhere.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        decode: Decode | None = None,
        batch_frames: int = 30_000,
        attention_decode: AttentionDecode | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.decode = decode or build_decode(DecodingConfig(), checkpoint.tokenizer, Path())
        self.attention_decode = attention_decode  # goes before `decode` where it is given
        if attention_decode is None and checkpoint.model.head is None:
            self.attention_decode = _attention_decode(DecodingConfig(strategy="attention"), checkpoint, Path())
        self.device = torch.device(device)
        self.batch_frames = batch_frames
        fast = self.device.type == "cpu" and has_bfloat16(self.device)
        self.precision: Precision = precision or ("bfloat16" if fast else "float32")
        self.model = checkpoint.model.to(self.device).eval()

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: torch.device | str | None = None,
        decoding: DecodingConfig | None = None,
        precision: Precision | None = None,
    ) -> Recognizer:
        """From a run's directory; on the GPU where there is one, unless `device` says otherwise.

        Decoding is what `decoding` says (its files relative to the working directory), else the run's own
        `decoding.yaml` if there is one, else greedy, or attention for a model without a CTC head.

        Raises:
            CheckpointError: see `ctcrec.checkpoint.load_checkpoint`.
            ConfigError, DataError: what is wrong with the decoding.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint = load_checkpoint(run, chosen)
        folder = Path() if decoding is not None else Path(run)
        config = decoding or load_decoding(Path(run) / DECODING_FILE, {})
        if decoding is None and config == DecodingConfig() and checkpoint.model.head is None:
            config = DecodingConfig(strategy="attention")
        check_heads(config, checkpoint.model)
        if config.strategy in ("greedy", "beam"):
            decode = build_decode(config, checkpoint.tokenizer, folder)
            return cls(checkpoint, chosen, decode, precision=precision)
        attention_decode = _attention_decode(config, checkpoint, folder)
        return cls(checkpoint, chosen, attention_decode=attention_decode, precision=precision)

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

    def transcribe(self, media: MediaSource | np.ndarray | torch.Tensor | Image, rate: int | None = None) -> Hypothesis:
        """One recording or line.

        Args:
            media: a path, a binary file object, the bytes of a file; or what is in memory: an array or tensor of
                samples (S,) or (channels, S), or of pixels (H, W), (H, W, C) or (C, H, W); or a Pillow image.
            rate: samples a second of an array or tensor of samples; None = the model's own.

        Raises:
            MediaError: the file cannot be used, or shows what is plainly no line.
            InputError: what is in memory has no shape or type of these.
        """
        source = self._source_of(media, rate)
        self._refuse_others(source, media if isinstance(media, str | Path) else "the image")
        loaded = self._featurize(source)
        encoded = self.encode([loaded.features])
        [hypothesis] = self._decode_all([Example("media", Path("media"))], [loaded], encoded)
        return hypothesis

    def _featurize(self, source: np.ndarray) -> _Loaded:
        preprocessor = self.checkpoint.preprocessor
        return _Loaded(preprocessor.features(source), preprocessor.unit_per_frame(source), preprocessor.extent(source))

    def _refuse_others(self, source: np.ndarray, name: str | Path) -> None:
        """Raise MediaError where a source plainly is none of what the model recognizes."""
        doubt = self.checkpoint.preprocessor.doubt(source)
        if doubt is not None:
            raise MediaError(f"{name}: {doubt}")

    def _source_of(self, media: MediaSource | np.ndarray | torch.Tensor | Image, rate: int | None) -> np.ndarray:
        preprocessor = self.checkpoint.preprocessor
        if isinstance(media, torch.Tensor):
            media = media.detach().cpu().numpy()
        if isinstance(media, np.ndarray) or hasattr(media, "getbands"):  # Pillow's images, without importing it
            return preprocessor.from_memory(media, rate)  # type: ignore[arg-type]
        if not isinstance(media, str | Path | bytes) and not hasattr(media, "read"):
            raise InputError(
                f"cannot recognize a {type(media).__name__}: expected a path, a file, bytes, an array, a tensor or an"
                " image; several files go one by one, or as examples to transcribe_all"
            )
        if rate is not None:
            raise InputError("a rate belongs to samples in memory; a file has its own")
        if isinstance(media, str | Path):
            self.check_kind(Path(media))
        return preprocessor.load(media)

    def transcribe_all(
        self, examples: Sequence[Example], done: Callable[[int], None] | None = None, processes: int = 1
    ) -> Iterator[Transcript]:
        """Many examples in batches of similar length, in the order given; a bad medium does not stop the others.

        Args:
            examples: what to transcribe; `start` and `end` are respected. One without text whose medium plainly shows
                something else, such as a page, gets an error.
            done: called with the number of examples finished, for progress.
            processes: that share the work on a CPU, one thread each, where processes can be forked
                (`ctcrec.processes`); with 1, threads share it. Only for programs without threads of their own.
        """
        on_cpu = self.device.type == "cpu"
        workers = torch.get_num_threads() if on_cpu else _GPU_WORKERS
        forked = on_cpu and can_fork() and min(processes, len(examples) // _FEWEST) > 1
        workers = max(1, min(len(examples), processes if forked else workers))
        windows = _windows(examples, workers)
        if forked:
            transcribed = in_processes(self._transcribe, windows, workers)
        else:
            transcribed = map(self._decoded, windows, self._encoded_ahead(windows, workers))
        finished = 0
        for window, transcripts in zip(windows, transcribed, strict=True):
            yield from transcripts
            finished += len(window)
            if done is not None:
                done(finished)

    def _transcribe(self, examples: Sequence[Example]) -> list[Transcript]:
        return self._decoded(examples, self._load_and_encode(examples))

    def _encoded_ahead(self, windows: Sequence[Sequence[Example]], workers: int) -> Iterator[_Window]:
        """What was loaded and encoded of each window.

        Each is one thread's work from file to emissions, so that no core waits for another, as those that share the
        operations of one batch do; some windows are worked on ahead of the one that is given.
        """
        threads = torch.get_num_threads()
        share = max(1, threads // workers)
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))
        try:
            yield from in_order(pool, self._load_and_encode, windows, workers + 1)
        finally:
            torch.set_num_threads(threads)  # what a thread sets is also what threads yet to come begin with

    def _load_and_encode(self, examples: Sequence[Example]) -> _Window:
        loaded = [self._load(example) for example in examples]
        return _Window(loaded, self.encode([item.features for item in loaded if isinstance(item, _Loaded)]))

    def _decoded(self, examples: Sequence[Example], window: _Window) -> list[Transcript]:
        pairs = list(zip(examples, window.loaded, strict=True))
        good = [(example, item) for example, item in pairs if isinstance(item, _Loaded)]
        decoded = iter(self._decode_all([example for example, _ in good], [item for _, item in good], window.encoded))
        return [
            Transcript(example, next(decoded)) if isinstance(item, _Loaded) else Transcript(example, None, item)
            for example, item in pairs
        ]

    def _load(self, example: Example) -> _Loaded | CtcrecError:
        """A medium and its features, or the error that it gave."""
        preprocessor = self.checkpoint.preprocessor
        try:
            self.check_kind(example.source)
            source = preprocessor.load(example.source, example.start, example.end)
            if example.text is None:  # a text says that there is one to find
                self._refuse_others(source, example.source)
        except DataError as error:
            return error
        return self._featurize(source)

    def emissions(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(T', C) float32 log-probabilities of each (T, F) item of features, in order, on the model's device."""
        return [item.emissions for item in self.encode(features)]

    @torch.no_grad()
    def encode(self, features: Sequence[torch.Tensor]) -> list[Encoded]:
        """What the heads read and say of each (T, F) item of features, in order, on the model's device.

        On a CPU, an item alone is encoded as two: matrix products sum up in another order for a single row, which in
        bfloat16 can be seen; for two and more, an item's frames are the same to the last bit.
        """
        lengths = [len(item) for item in features]
        plan = plan_in_order(lengths, batch_frames=self.batch_frames, max_batch_size=64)
        results: dict[int, Encoded] = {}
        for chosen in plan.batches:
            rows = chosen * 2 if len(chosen) == 1 and self.device.type == "cpu" else chosen
            batch = collate([_NOTHING] * len(rows), [features[i] for i in rows], [()] * len(rows))
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
                output = self.model(batch.features.to(self.device), batch.feature_lengths.to(self.device))
            assert output.frames is not None
            log_probs, frames = output.logits.float().log_softmax(2), output.frames.float()
            for row, (index, length) in enumerate(zip(rows, output.lengths.tolist(), strict=True)):
                results[index] = Encoded(log_probs[row, :length], frames[row, :length])
        return [results[index] for index in range(len(features))]

    def _decode_all(
        self, examples: Sequence[Example], loaded: Sequence[_Loaded], encoded: Sequence[Encoded]
    ) -> list[Hypothesis]:
        """Hypotheses of what was loaded and encoded, with spans in the modality's unit."""
        if not loaded:
            return []
        if self.attention_decode is not None:
            decoded = self.attention_decode(encoded)
        else:
            decoded = self.decode([item.emissions for item in encoded])
        subsampling = self.model.subsampling_factor
        return [
            dataclasses.replace(hypothesis, text=self.checkpoint.normalizer.normalize(hypothesis.text)).scaled(
                subsampling * item.unit_per_frame, example.start or 0.0, (example.start or 0.0) + item.extent
            )
            for example, item, hypothesis in zip(examples, loaded, decoded, strict=True)
        ]


_NOTHING = Example("", Path())


def _windows(examples: Sequence[Example], workers: int) -> list[Sequence[Example]]:
    """Stretches of the examples, as many for each worker, and several where there are enough: all end together."""
    share = math.ceil(len(examples) / workers)
    rounds = max(1, math.ceil(share / _WINDOW), min(4, share // _SMALLEST))
    size = max(1, math.ceil(share / rounds))
    return [examples[first : first + size] for first in range(0, len(examples), size)]


def _attention_decode(config: DecodingConfig, checkpoint: Checkpoint, folder: Path) -> AttentionDecode:
    from ctcrec.attention_strategies import build_attention_decode  # Numba takes a while to import

    return build_attention_decode(config, checkpoint.tokenizer, folder, checkpoint.model)


def load_model(
    name: str | Path,
    device: torch.device | str | None = None,
    decoding: DecodingConfig | None = None,
    precision: Precision | None = None,
) -> Recognizer:
    """A model that comes with ctcrec, by its name (see `ctcrec models`), or that of a run's directory.

        ctcrec.load_model("print-en").transcribe("line.png").text

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ConfigError, DataError: as `Recognizer.load`.
    """
    return Recognizer.load(find_model(name), device, decoding, precision)


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
