"""Risks of a hypothesis text against its reference, for sequence-level training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

__all__ = ["bleu_risk", "character_errors", "sentence_bleu", "word_errors"]


def word_errors(reference: str, hypothesis: str) -> float:
    """Edit distance in words, which spaces separate: the risk of MWER."""
    return float(Levenshtein.distance(reference.split(), hypothesis.split()))


def character_errors(reference: str, hypothesis: str) -> float:
    """Edit distance in code points: the risk of MCER."""
    return float(Levenshtein.distance(reference, hypothesis))


def sentence_bleu(reference: Sequence[str], hypothesis: Sequence[str], order: int = 4) -> float:
    """Smoothed BLEU of one sentence, from 0 to 1.

    The geometric mean of the n-gram precisions for n = 1 .. `order`, those above 1 with one added to matches and total
    (Lin & Och 2004, BLEU+1), times the brevity penalty exp(1 − |reference| / |hypothesis|) of shorter hypotheses
    (Papineni et al. 2002). No match of a single token gives 0; two empty sentences give 1.
    """
    if not reference or not hypothesis:
        return float(not reference and not hypothesis)
    total = 0.0
    for n in range(1, order + 1):
        ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
        theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
        matches, possible = (ours & theirs).total(), ours.total()
        if n == 1 and matches == 0:
            return 0.0
        added = int(n > 1)
        total += math.log((matches + added) / (possible + added))
    brevity = min(0.0, 1.0 - len(reference) / len(hypothesis))
    return math.exp(total / order + brevity)


def bleu_risk(reference: str, hypothesis: str) -> float:
    """1 − smoothed sentence BLEU over words."""
    return 1.0 - sentence_bleu(reference.split(), hypothesis.split())
