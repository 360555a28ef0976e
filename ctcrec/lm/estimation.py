r"""Interpolated modified Kneser-Ney estimation (Chen & Goodman 1998, §3; as laid out by Heafield et al. 2013, §3).

The text's n-grams are counted length by length. An n-gram's number is its place in the sorted list of its length, so
that an n-gram of length k + 1 is one integer, (number of its first k words) * vocabulary + last word, and everything
after the reading of the text is sorting and counting of integer arrays.

Legend, for an n-gram c·w of length k with context c:
    a(c·w)      adjusted count: how often it stands in the text if k is the model's order or it begins with <s>,
                else in front of how many different words it can be lengthened to the left
    D_1,2,3+    discounts of adjusted counts 1, 2, and 3 or more, from the numbers t_j of n-grams with a = j:
                Y = t_1 / (t_1 + 2 t_2),  D_j = j - (j + 1) Y t_{j+1} / t_j
    p(w | c)  = (a(c·w) - D) / sum_x a(c·x) + gamma(c) p(w | c without its first word)
    gamma(c)  = sum of all discounts taken from c / sum_x a(c·x)
and p(w) is interpolated with the uniform distribution over the vocabulary without <s>.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctcrec.errors import ConfigError, DataError
from ctcrec.lm.arpa import SPECIAL
from ctcrec.lm.build import NGramList, build_tables
from ctcrec.lm.ngram import MAX_ORDER, NGramLM

__all__ = ["FALLBACK_DISCOUNTS", "estimate"]

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For texts whose counts of counts give no usable discounts; lmplz's `--discount_fallback` has the same."""

_UNKNOWN, _START, _END = 0, 1, 2
_PIECE = 1 << 20  # words that are turned into one array at a time while reading


@dataclass(slots=True)
class _Counts:
    """The n-grams of one length, sorted by context and word.

    Attributes:
        context: (n,) number of the first k - 1 words; 0 for unigrams.
        word: (n,) last word.
        suffix: (n,) number of the last k - 1 words; 0 for unigrams.
        raw: (n,) how often it stands in the text.
        adjusted: (n,) a.
        starts: (n,) whether it begins with <s>.
    """

    context: Int64s
    word: Int64s
    suffix: Int64s
    raw: Int64s
    adjusted: Int64s
    starts: npt.NDArray[np.bool_]


def estimate(sentences: Iterable[str], order: int, *, prune: Sequence[int] = ()) -> NGramLM:
    """Estimate a model of whitespace-separated sentences, reading them once.

    Memory: 4 bytes a word of the text, and some 60 bytes for every different n-gram of the two longest lengths.

    Args:
        sentences: each is scored between <s> and </s>; empty ones count too.
        order: longest n-gram, 1 to 6.
        prune: n-grams of length k that stand prune[k - 1] times or less in the text are left out, and their
            probability goes to the shorter n-grams; the last number holds for all longer ones. Unigrams are kept.

    Raises:
        ConfigError: order or prune out of range.
        DataError: the text has no words, or has <s>, </s> or <unk> in it.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"order must be from 1 to {MAX_ORDER}, not {order}")
    thresholds = [*prune, *[prune[-1] if prune else 0] * order][:order]
    if (thresholds and thresholds[0] != 0) or thresholds != sorted(thresholds):
        raise ConfigError(f"prune must begin with 0 (unigrams are kept) and not decrease, not {list(prune)}")
    words, stream = _read(sentences)
    lengths = _count(stream, order, len(words))
    del stream
    return _model(words, lengths, thresholds)


def _read(sentences: Iterable[str]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The vocabulary, and the text as word numbers with <s> and </s>."""
    numbers = {word: number for number, word in enumerate(SPECIAL)}
    pieces: list[npt.NDArray[np.int32]] = []
    piece: list[int] = []
    for line, sentence in enumerate(sentences, start=1):
        piece.append(_START)
        for word in sentence.split():
            number = numbers.setdefault(word, len(numbers))
            if number <= _END:
                raise DataError(f"sentence {line} of the text has {word}, which is the model's own; remove it")
            piece.append(number)
        piece.append(_END)
        if len(piece) >= _PIECE:
            pieces.append(np.array(piece, dtype=np.int32))
            piece.clear()
    pieces.append(np.array(piece, dtype=np.int32))
    if len(numbers) == len(SPECIAL):
        raise DataError("the text has no words to estimate a language model from")
    return list(numbers), np.concatenate(pieces)


def _count(stream: npt.NDArray[np.int32], order: int, vocabulary: int) -> list[_Counts]:
    """Raw and adjusted counts of all lengths."""
    raw = np.bincount(stream, minlength=vocabulary)
    zeros = np.zeros(vocabulary, np.int64)
    unigrams = np.arange(vocabulary)
    lengths = [_Counts(zeros, unigrams, zeros, raw, raw.copy(), unigrams == _START)]
    number: npt.NDArray[np.int32] | Int64s = stream  # of the n-gram that begins at each place of the text
    starts = np.arange(len(stream))  # places where an n-gram of this length begins
    for length in range(2, order + 1):
        starts = starts[stream[starts] != _END] if length == 2 else starts
        starts = starts[starts + length - 1 < len(stream)]
        inside = stream[starts + length - 2] != _END  # else it would cross into the next sentence
        starts = starts[inside]
        keys = number[starts].astype(np.int64) * vocabulary + stream[starts + length - 1]
        unique, first, inverse, raw = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        example = starts[first]
        counts = _Counts(
            context=unique // vocabulary,
            word=unique % vocabulary,
            suffix=number[example + 1].astype(np.int64),
            raw=raw,
            adjusted=raw.copy(),
            starts=stream[example] == _START,
        )
        lengths.append(counts)
        shorter = lengths[-2]
        continuations = np.bincount(counts.suffix, minlength=len(shorter.word))
        shorter.adjusted = np.where(shorter.starts, shorter.raw, continuations)
        if length < order:
            following = np.zeros(len(stream), np.int32)
            following[starts] = inverse
            number = following
    return lengths


def _discounts(adjusted: Int64s) -> Floats:
    """(4,) what to take from adjusted counts 0, 1, 2, and 3 or more."""
    t = np.array([(adjusted == j).sum() for j in range(1, 5)], dtype=np.float64)
    if (t > 0).all():
        y = t[0] / (t[0] + 2.0 * t[1])
        found = np.array([j - (j + 1) * y * t[j] / t[j - 1] for j in (1, 2, 3)])
        if ((found >= 0.0) & (found <= np.array([1.0, 2.0, 3.0]))).all():
            return np.concatenate([[0.0], found])
    return np.array([0.0, *FALLBACK_DISCOUNTS])


def _model(words: list[str], lengths: list[_Counts], thresholds: Sequence[int]) -> NGramLM:
    """Discount, interpolate, and put the n-grams together."""
    orders: list[NGramList] = []
    probs: list[Floats] = []
    gammas: list[Floats] = []
    spelled = np.zeros((1, 0), np.int32)
    kept_before = np.ones(1, bool)
    for length, (counts, threshold) in enumerate(zip(lengths, thresholds, strict=True), start=1):
        adjusted = counts.adjusted.copy()
        if length == 1:
            adjusted[_START] = 0  # <s> is never predicted
        kept = counts.raw > threshold if length > 1 else np.ones(len(adjusted), bool)
        discount = _discounts(adjusted)[np.minimum(adjusted, 3)]
        taken = np.where(kept, discount, adjusted)
        contexts = len(spelled)
        total = np.bincount(counts.context, weights=adjusted, minlength=contexts)
        with np.errstate(divide="ignore", invalid="ignore"):
            gamma = np.bincount(counts.context, weights=taken, minlength=contexts) / total
        lower = np.full(len(words), 1.0 / (len(words) - 1)) if length == 1 else probs[-1][counts.suffix]
        prob = (adjusted - taken) / total[counts.context] + gamma[counts.context] * lower
        probs.append(prob)
        gammas.append(np.where(total > 0, gamma, 1.0))
        spelled = np.concatenate([spelled[counts.context], counts.word[:, None].astype(np.int32)], axis=1)
        orders.append(_as_list(spelled, prob, kept, length))
        if length > 1:
            _set_backoff(orders[-2], gammas[-1], kept_before, counts, kept)
        kept_before = kept
    return NGramLM(words, build_tables(orders), [len(one.words) for one in orders])


def _as_list(words: npt.NDArray[np.int32], prob: Floats, kept: npt.NDArray[np.bool_], length: int) -> NGramList:
    log10_prob = np.log10(np.maximum(prob, 1e-99))
    if length == 1:
        log10_prob[_START] = -99.0  # by convention: never predicted, only a context
    return NGramList(words[kept], log10_prob[kept].astype(np.float32), np.zeros(int(kept.sum()), np.float32))


def _set_backoff(
    shorter: NGramList, gamma: Floats, kept_before: npt.NDArray[np.bool_], counts: _Counts, kept: npt.NDArray[np.bool_]
) -> None:
    """gamma is the back-off weight of the contexts; 1 where nothing ever followed."""
    followed = np.zeros(len(gamma), bool)
    followed[counts.context] = True
    shorter.log10_backoff[:] = np.where(followed, np.log10(np.maximum(gamma, 1e-99)), 0.0)[kept_before]
