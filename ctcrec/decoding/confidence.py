"""Confidences from the hypotheses left in the beam.

A hypothesis g has the posterior P(g) = exp(score(g) / temperature) / sum over the beam, with all models in the score
(Rueber 1997; Wessel et al. 2001, "Confidence measures for large vocabulary continuous speech recognition", N-best
posteriors). A token is as probable as all hypotheses together that have it where the edit-distance alignment to the
best one puts it; a word, as all that have exactly its tokens there, between word boundaries. The temperature is 1 for
scores that are log-probabilities; `ctcrec.decoding.calibration` fits it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ctcrec.lm.compiled import allocating, kernel

__all__ = ["NEGLIGIBLE", "agreement", "beam_posteriors"]

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]

NEGLIGIBLE = 1e-4
"""Hypotheses less probable than this are not aligned: all together they can hardly change a confidence."""


def beam_posteriors(scores: Floats, temperature: float) -> Floats:
    """P(g) of every hypothesis in the beam; its scores may hold -inf."""
    scaled = (scores - scores.max()) / temperature
    weights = np.exp(scaled)
    return weights / weights.sum()


@kernel
def agreement(
    one: Int32s,
    words: npt.NDArray[np.int64],
    tokens: Int32s,
    offsets: npt.NDArray[np.int64],
    posteriors: Floats,
    opens: npt.NDArray[np.bool_],
    closes: npt.NDArray[np.bool_],
    writes: npt.NDArray[np.bool_],
) -> tuple[Floats, Floats, float]:
    """How probable each token, each word and the text of the hypothesis `one` is.

    Args:
        one: (L,) its tokens.
        words: (W, 2) first and last token position of each word.
        tokens: tokens of all hypotheses of the beam, put together.
        offsets: (G + 1,) hypothesis g is tokens[offsets[g] : offsets[g + 1]].
        posteriors: (G,) P(g).
        opens, closes: (C,) whether a token begins, or ends, with a word boundary.
        writes: (C,) whether a token adds more than a word boundary.

    Returns:
        (L,) and (W,) probabilities, and that of the text.
    """
    text_mass = 0.0
    written = 0
    for token in one:
        written += writes[token]
    token_mass = np.zeros(len(one))
    word_mass = np.zeros(len(words))
    for g in range(len(posteriors)):
        if posteriors[g] < NEGLIGIBLE:
            continue
        other = tokens[offsets[g] : offsets[g + 1]]
        partner = _align(one, other)
        for i in range(len(one)):
            if partner[i] >= 0:
                token_mass[i] += posteriors[g]
        agreeing = 0
        for w in range(len(words)):
            first, last = words[w, 0], words[w, 1]
            same = partner[first] >= 0
            for i in range(first + 1, last + 1):
                same = same and partner[i] == partner[i - 1] + 1
            if not same:
                continue
            j, k = partner[first], partner[last]
            starts = j == 0 or opens[other[j]] or closes[other[j - 1]]
            ends = k == len(other) - 1 or closes[other[k]] or opens[other[k + 1]]
            if starts and ends:
                word_mass[w] += posteriors[g]
                agreeing += 1
        if agreeing == len(words):  # the same text, if nothing else is written
            for token in other:
                written -= writes[token]
            if written == 0:
                text_mass += posteriors[g]
            for token in other:
                written += writes[token]
    return np.minimum(token_mass, 1.0), np.minimum(word_mass, 1.0), min(text_mass, 1.0)


@allocating
def _align(one: Int32s, other: Int32s) -> npt.NDArray[np.int64]:
    """Position in `other` of each token of `one` in a Levenshtein alignment; -1 where they differ."""
    partner = np.full(len(one), -1, np.int64)
    head = 0
    while head < len(one) and head < len(other) and one[head] == other[head]:
        partner[head] = head
        head += 1
    rows = len(one) - head
    columns = len(other) - head
    while rows > 0 and columns > 0 and one[head + rows - 1] == other[head + columns - 1]:
        partner[head + rows - 1] = head + columns - 1
        rows -= 1
        columns -= 1
    if rows > 0 and columns > 0:
        band = abs(rows - columns) + 4
        while not _align_within(one, other, head, rows, columns, band, partner):
            band *= 2
    return partner


@allocating
def _align_within(
    one: Int32s, other: Int32s, head: int, rows: int, columns: int, band: int, partner: npt.NDArray[np.int64]
) -> bool:
    """Align one[head : head + rows] to other[head : head + columns] where |i - j| <= band (Ukkonen 1985).

    Returns False, with nothing done, if a better alignment could leave the band: if the distance is more than it.
    """
    width = 2 * band + 1
    far = rows + columns + 1
    distance = np.full((rows + 1, width + 1), far, np.int32)  # row i, column j stands at j - i + band
    for j in range(min(columns, band) + 1):
        distance[0, j + band] = j
    for i in range(1, rows + 1):
        low = max(0, i - band)
        for j in range(low, min(columns, i + band) + 1):
            at = j - i + band
            best = distance[i - 1, at + 1] + 1
            if j > 0:
                best = min(best, distance[i - 1, at] + (one[head + i - 1] != other[head + j - 1]))
                if at > 0:
                    best = min(best, distance[i, at - 1] + 1)
            distance[i, at] = best
    if distance[rows, columns - rows + band] > band:
        return False
    i, j = rows, columns
    while i > 0 and j > 0:
        at = j - i + band
        same = one[head + i - 1] == other[head + j - 1]
        if distance[i, at] == distance[i - 1, at] + (not same):
            if same:
                partner[head + i - 1] = head + j - 1
            i -= 1
            j -= 1
        elif distance[i, at] == distance[i - 1, at + 1] + 1:
            i -= 1
        else:
            j -= 1
    return True
