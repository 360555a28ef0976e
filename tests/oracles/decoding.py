"""Slow, obviously right versions of what the beam search computes: everything is enumerated."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

NGrams = Mapping[tuple[str, ...], tuple[float, float]]
"""n-gram -> (log10 probability, log10 back-off weight)."""


def sequence_probabilities(log_probs: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """ln P of every token sequence: the sum over all C^T paths that collapse to it."""
    frames, classes = log_probs.shape
    log_probs = log_probs.astype(np.float64)
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        tokens = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        score = float(sum(log_probs[t, token] for t, token in enumerate(path)))
        sums[tokens] = float(np.logaddexp(sums.get(tokens, -math.inf), score))
    return sums


def backoff_log10(model: NGrams, context: tuple[str, ...], word: str) -> float:
    """log10 p(word | context) of a back-off model, by its definition."""
    order = max(map(len, model))
    context = context[len(context) - (order - 1) :] if len(context) >= order else context
    if (*context, word) in model:
        return model[(*context, word)][0]
    if not context:
        return model[("<unk>",)][0]
    return model.get(context, (0.0, 0.0))[1] + backoff_log10(model, context[1:], word)


def sentence_log10(model: NGrams, words: Sequence[str]) -> float:
    """log10 p(words, </s> | <s>)."""
    known = [word if (word,) in model else "<unk>" for word in [*words, "</s>"]]
    return sum(backoff_log10(model, ("<s>", *known[:place]), word) for place, word in enumerate(known))


def hotword_hits(text: str, phrase: str, boundaries: bool = True) -> int:
    """How many times `phrase` is written in `text`, overlaps counted; as whole words if there are word boundaries."""
    inside, part = (f" {text} ", f" {phrase} ") if boundaries else (text, phrase)
    return sum(inside.startswith(part, place) for place in range(len(inside)))


def exhaustive(
    log_probs: np.ndarray,
    tokens: Sequence[str],
    blank: int,
    *,
    lm: NGrams | None = None,
    lm_weight: float = 0.0,
    token_lm: NGrams | None = None,
    word_score: float = 0.0,
    lexicon: set[str] | None = None,
    unknown_score: float | None = None,
    unknown_letter_score: float = 0.0,
    known: set[str] | None = None,
    hotwords: Mapping[str, float] | None = None,
    characters: set[str] | None = None,
    pattern: str | None = None,
) -> list[tuple[str, float]]:
    """(text, score) of every text, best first; a text has the score of its best token sequence.

    `known` are the words that cost no unknown_score when the lexicon is not closed; another word costs
    unknown_letter_score for each letter after the first with which no known word begins, except where the text up to
    there ends with the beginning of a hotword (in scripts with word boundaries).
    """
    best: dict[str, float] = {}
    for sequence, acoustic in sequence_probabilities(log_probs, blank).items():
        names = [tokens[token] for token in sequence]
        text = " ".join("".join(names).replace("\u2581", " ").split())
        words = text.split()
        if lexicon is not None and unknown_score is None and not lexicon.issuperset(words):
            continue
        if characters is not None and not (characters | {" "}).issuperset(text):
            continue
        if pattern is not None and not re.fullmatch(pattern, text):
            continue
        score = acoustic + word_score * len(words)
        if unknown_score is not None and known is not None:
            beginnings = {f" {phrase[:end]}" for phrase in hotwords or {} for end in range(1, len(phrase) + 1)}
            before = ""
            for word in words:
                if word not in known:
                    shared = max(len(os.path.commonprefix([word, other])) for other in known)
                    letters = [f"{before} {word[:end]}" for end in range(shared + 2, len(word) + 1)]
                    charged = sum(not letter.endswith(tuple(beginnings)) for letter in letters)
                    score += unknown_score + unknown_letter_score * charged
                before += f" {word}"
        if lm is not None:
            score += lm_weight * math.log(10) * sentence_log10(lm, words)
        if token_lm is not None:
            score += lm_weight * math.log(10) * sentence_log10(token_lm, names)
        for phrase, weight in (hotwords or {}).items():
            score += weight * hotword_hits(text, phrase, " " in tokens or any("\u2581" in token for token in tokens))
        best[text] = max(best.get(text, -math.inf), score)
    return sorted(best.items(), key=lambda item: -item[1])
