"""The training data as a whole: examples with their targets, what was left out, and what the numbers say beforehand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ctcrec.config import Config
from ctcrec.ctc import min_frames
from ctcrec.data.manifest import read_manifests
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Example
from ctcrec.text import Normalizer, Tokenizer, train_tokenizer

__all__ = [
    "Corpus",
    "Misfit",
    "encode_examples",
    "expected_initial_loss",
    "find_misfits",
    "fingerprint",
    "leave_out",
    "read_texts",
]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Examples, their token ids, and their lengths in feature frames; all of the same order."""

    examples: tuple[Example, ...]
    targets: tuple[tuple[int, ...], ...]
    frames: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int]) -> Corpus:
        """The part at `indices`."""
        return Corpus(
            tuple(self.examples[i] for i in indices),
            tuple(self.targets[i] for i in indices),
            tuple(self.frames[i] for i in indices),
        )


def read_texts(paths: Sequence[str], normalizer: Normalizer, key: str) -> list[Example]:
    """The examples of the manifests with normalized text.

    Raises:
        ConfigError: no manifest is named.
        ManifestError: see `ctcrec.data.manifest`.
    """
    if not paths:
        raise ConfigError(f"{key}: no manifest is named; set it, for example --set '{key}=[path/to/train.jsonl]'")
    examples = read_manifests([Path(path) for path in paths], require_text=True)
    return [replace(example, text=normalizer.normalize(example.text or "")) for example in examples]


def build_tokenizer(config: Config, examples: Sequence[Example]) -> Tokenizer:
    """The tokenizer of the training texts."""
    return train_tokenizer(config.text.tokenizer, (example.text or "" for example in examples), config.text.vocab_size)


def encode_examples(examples: Sequence[Example], tokenizer: Tokenizer, preprocessor: Preprocessor) -> Corpus:
    """Token ids and frame counts. Characters that the tokenizer lacks are skipped; `unknown_characters` tells which."""
    targets = tuple(tuple(tokenizer.encode(example.text or "", unknown="skip")) for example in examples)
    return Corpus(tuple(examples), targets, tuple(preprocessor.count_frames(example) for example in examples))


def unknown_characters(examples: Sequence[Example], tokenizer: Tokenizer) -> dict[str, int]:
    """Characters of the texts that the tokenizer lacks, and in how many examples each occurs."""
    counts: dict[str, int] = {}
    for example in examples:
        for character in tokenizer.missing(example.text or ""):
            counts[character] = counts.get(character, 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class Misfit:
    """A target that cannot fit: it needs more output frames than the model gives its example.

    Attributes:
        index: position of the example.
        needed: labels + repeats of the target.
        frames: output frames of the model.
        subsampling: the largest subsampling factor under which the target is sure to fit, 0 where none does.
    """

    index: int
    needed: int
    frames: int
    subsampling: int


def find_misfits(needed: Sequence[int], frames: Sequence[int], model: RecognitionModel) -> list[Misfit]:
    """The targets that cannot fit, given `ctcrec.ctc.min_frames` of each and its feature frames.

    A factor of s gives at least ⌊frames / s⌋ output frames, however strides (rounded up) and pools (rounded down) make
    it up, so a target fits under every factor up to ⌊frames / needed⌋.
    """
    given = model.output_lengths(torch.tensor(frames, dtype=torch.int64)).tolist()
    return [
        Misfit(index, least, there, length // least)
        for index, (least, there, length) in enumerate(zip(needed, given, frames, strict=True))
        if least > there
    ]


def leave_out(
    corpus: Corpus, model: RecognitionModel, shortest: int, longest: int | None
) -> tuple[Corpus, dict[str, list[str]]]:
    """The examples that can be learned, and the ids of the others by reason.

    Left out are targets that cannot fit their frames (labels + repeats > frames after subsampling) if there is a CTC
    head, empty targets, and lengths outside [shortest, longest] feature frames.

    Raises:
        TrainingError: nothing is left.
    """
    misfits = set()
    if model.head is not None:
        needed = [min_frames(item) for item in corpus.targets]
        misfits = {item.index for item in find_misfits(needed, corpus.frames, model)}
    reasons: dict[str, list[str]] = {}
    kept = []
    for index, (example, target, frames) in enumerate(zip(corpus.examples, corpus.targets, corpus.frames, strict=True)):
        if not target:
            reason = "the text is empty"
        elif index in misfits:
            reason = f"labels + repeats exceed the frames (subsampling {model.subsampling_factor}); use a smaller one"
        elif frames < shortest:
            reason = f"shorter than data.min_frames = {shortest}"
        elif longest is not None and frames > longest:
            reason = f"longer than data.max_frames = {longest}"
        else:
            kept.append(index)
            continue
        reasons.setdefault(reason, []).append(example.id)
    if not kept:
        why = "; ".join(f"{len(ids)}: {reason}" for reason, ids in reasons.items())
        raise TrainingError(f"none of the {len(corpus)} training examples can be used ({why})")
    return corpus.select(kept), reasons


def expected_initial_loss(corpus: Corpus, model: RecognitionModel, n_tokens: int, ctc_weight: float = 1.0) -> float:
    """The loss in nats per token of a model whose output is uniform over C tokens.

    For CTC, a target of L labels with R repeats has binom(T + L − R, 2 L) alignments in T frames, each of probability
    C^−T; for attention, its L labels and the end have 1 / C each. `ctc_weight` mixes the two.
    """
    tokens = max(1, sum(len(target) for target in corpus.targets))
    attention = (tokens + len(corpus)) / tokens * math.log(n_tokens)
    if ctc_weight == 0.0:
        return attention
    lengths = model.output_lengths(torch.tensor(corpus.frames)).tolist()
    loss = 0.0
    for target, frames in zip(corpus.targets, lengths, strict=True):
        labels, repeats = len(target), min_frames(target) - len(target)
        top, bottom = frames + labels - repeats, 2 * labels
        alignments = math.lgamma(top + 1) - math.lgamma(bottom + 1) - math.lgamma(top - bottom + 1)
        loss += frames * math.log(n_tokens) - alignments
    ctc = loss / tokens
    return ctc if ctc_weight == 1.0 else ctc_weight * ctc + (1.0 - ctc_weight) * attention


def fingerprint(*corpora: Corpus) -> str:
    """A hash of ids, targets and frame counts, to tell whether training goes on with the same data."""
    digest = hashlib.sha256()
    for corpus in corpora:
        for example, target, frames in zip(corpus.examples, corpus.targets, corpus.frames, strict=True):
            digest.update(f"{example.id}\0{target}\0{frames}\n".encode())
    return digest.hexdigest()[:16]
