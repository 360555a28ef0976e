"""What is wrong with training data before any model sees them: examples that cannot be learned, extreme lengths, texts
of other media, media that occur twice, tokens that never occur, padding."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ctcrec.errors import MediaError
from ctcrec.records import Example
from ctcrec.signals import Finding
from ctcrec.text import Tokenizer
from ctcrec.training.corpus import Corpus

__all__ = ["data_findings", "duplicate_findings", "medium_keys"]

_SHOWN = 5  # examples named in a finding
_EXTREME = 4.0  # times as many frames for a token as usual, or as few
_FEWEST = 30  # examples from which a correlation says something
_RARE = 5  # occurrences below which a token can hardly be learned


def data_findings(
    everything: Corpus, left_out: Mapping[str, Sequence[str]], valid: Corpus, tokenizer: Tokenizer, padding: float
) -> list[Finding]:
    """What lengths and texts show.

    Args:
        everything: the training examples, also those that are left out of training.
        left_out: ids of these by reason.
        valid: validation examples.
        tokenizer: of the training texts.
        padding: share of an epoch's frames.
    """
    findings = [
        _left_out(everything, left_out),
        _extreme(everything),
        *_length_correlation(everything),
        _unused_tokens(everything, tokenizer),
        _unknown_characters(valid, tokenizer),
        Finding(
            "padding",
            padding,
            0.3,
            "above",
            "share of an epoch's frames that is padding",
            "sorted by length, the recipes have 4 to 12 %; padding costs time as true frames do",
            "larger training.batch_frames, smaller training.max_batch_size, or data.max_frames against extreme lengths",
        ),
    ]
    return findings


def _left_out(everything: Corpus, left_out: Mapping[str, Sequence[str]]) -> Finding:
    count = sum(map(len, left_out.values()))
    return Finding(
        "infeasible examples",
        count / max(len(everything), 1),
        0.0,
        "above",
        f"share of the {len(everything)} training examples that cannot be learned and are left out",
        "each is an error of the manifest, or a text too long for the frames that subsampling leaves",
        "a smaller subsampling factor (strides and pools along time); correct or remove the examples",
        tuple(f"{len(ids)}: {reason}: {_named(ids)}" for reason, ids in left_out.items()),
    )


def _extreme(everything: Corpus) -> Finding:
    """Media much too long or too short for their text."""
    ids = [example.id for example in everything.examples]
    rates = np.array([frames / max(len(t), 1) for t, frames in zip(everything.targets, everything.frames, strict=True)])
    factors = rates / np.median(rates)
    far = np.maximum(factors, 1 / factors)
    order = [int(index) for index in np.argsort(-far, kind="stable")[:_SHOWN] if far[index] > _EXTREME]
    return Finding(
        "extreme lengths",
        float((far > _EXTREME).mean()),
        0.01,
        "above",
        f"share of the training examples with {_EXTREME:g} times as many frames for a token as the median, or as few",
        "speakers, writers and prints differ by a factor of two; far beyond, a medium holds more or less than its text",
        "look at the examples named: cut, empty or doubled media, or texts that are not theirs",
        tuple(f"{ids[index]}: {factors[index]:.2g} times the median" for index in order),
    )


def _length_correlation(everything: Corpus) -> list[Finding]:
    """Spearman's correlation of frames and tokens, where texts differ enough in length for it to mean something."""
    lengths = np.array([len(target) for target in everything.targets])
    frames = np.array(everything.frames)
    if len(lengths) < _FEWEST or len(np.unique(lengths)) < 5 or np.std(lengths) < 0.15 * np.mean(lengths):
        return []
    if np.std(frames) == 0:
        return []
    return [
        Finding(
            "length correlation",
            float(np.corrcoef(_ranks(lengths), _ranks(frames))[0, 1]),
            0.5,
            "below",
            "rank correlation of the media's and the texts' lengths",
            "longer texts take longer to say and to print: the recipes' data have 0.8 to 0.9, shuffled texts 0",
            "check that each text belongs to its medium: were the manifest's columns sorted or joined apart?",
        )
    ]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _unused_tokens(everything: Corpus, tokenizer: Tokenizer) -> Finding:
    counts = Counter(token for target in everything.targets for token in target)
    tokens = [index for index in range(len(tokenizer)) if index != tokenizer.blank]
    unused = [tokenizer.tokens[index] for index in tokens if not counts[index]]
    rare = [tokenizer.tokens[index] for index in tokens if 0 < counts[index] < _RARE]
    details = [f"never: {' '.join(map(repr, unused[:20]))}"] if unused else []
    if rare:
        shown = " ".join(map(repr, rare[:20]))
        details.append(f"{len(rare)} of {len(tokens)} tokens occur fewer than {_RARE} times: {shown}")
    return Finding(
        "tokens never seen",
        len(unused) / max(len(tokens), 1),
        0.05,
        "above",
        "share of the tokens that occur in no training text",
        "their scores are never trained; subword tokenizers leave a few, more mean a vocabulary too large",
        "a smaller text.vocab_size, or more text",
        tuple(details),
    )


def _unknown_characters(valid: Corpus, tokenizer: Tokenizer) -> Finding:
    counts: Counter[str] = Counter()
    total = 0
    for example in valid.examples:
        text = example.text or ""
        total += len(text)
        missing = tokenizer.missing(text)
        counts.update(character for character in text if character in missing)
    shown = ", ".join(f"{character!r} {count} times" for character, count in counts.most_common(20))
    return Finding(
        "characters unseen in training",
        sum(counts.values()) / max(total, 1),
        0.005,
        "above",
        "share of the validation texts' characters that no training text has",
        "each is an error that no training can mend; more than a few mean another convention or another script",
        "the same text.normalization for both, training texts that have these characters, or a step that folds them",
        (shown,) if shown else (),
    )


def duplicate_findings(train: Sequence[Example], valid: Sequence[Example]) -> list[Finding]:
    """Media that occur twice in training, and media of validation that training has too.

    Raises:
        MediaError: a file cannot be read.
    """
    keys = medium_keys([*train, *valid])
    first: dict[tuple[object, ...], str] = {}
    twice: list[str] = []
    for example, key in zip(train, keys, strict=False):
        if key in first:
            twice.append(f"{example.id} = {first[key]}")
        else:
            first[key] = example.id
    leaked = [
        f"{example.id} = {first[key]} of training"
        for example, key in zip(valid, keys[len(train) :], strict=True)
        if key in first
    ]
    return [
        Finding(
            "duplicated examples",
            len(twice) / max(len(train), 1),
            0.01,
            "above",
            "share of the training examples whose medium, byte for byte, an earlier one has",
            "a few do no harm; more weigh some texts double, or hide that a corpus was read twice",
            "remove them from the manifest",
            tuple(twice[:_SHOWN]),
        ),
        Finding(
            "validation examples in training",
            len(leaked) / max(len(valid), 1),
            0.0,
            "above",
            "share of the validation examples whose medium is also trained on",
            "then validation does not tell how well the model does on what it has not seen",
            "split anew, by speaker, writer or document (`ctcrec prepare` does)",
            tuple(leaked[:_SHOWN]),
        ),
    ]


def medium_keys(examples: Sequence[Example]) -> list[tuple[object, ...]]:
    """Something for each example that is equal exactly where the content of the medium and its part are equal.

    Only files whose size another file has are read.
    """
    paths = {example.source for example in examples}
    by_size: dict[int, list[Path]] = defaultdict(list)
    contents: dict[Path, object] = {}
    try:
        for path in paths:
            by_size[path.stat().st_size].append(path)
        for size, same in by_size.items():
            for path in same:
                contents[path] = hashlib.sha256(path.read_bytes()).digest() if len(same) > 1 else (size, path)
    except OSError as error:
        raise MediaError(f"{error.filename}: cannot be read: {error.strerror}; check the manifest's source") from None
    return [(contents[example.source], example.start, example.end) for example in examples]


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
