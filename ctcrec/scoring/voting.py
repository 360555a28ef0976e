"""ROVER: one transcript voted from those of several systems (Fiscus 1997, "A post-processing system to yield reduced
word error rates: Recognizer Output Voting Error Reduction").

The systems' words are aligned one system after the other into a network of columns; each column holds what every system
says there, a word or nothing. In each column the words are voted on with equation 1 of the paper,

    score(w) = alpha * (systems that say w) / (systems) + (1 - alpha) * (mean confidence of w)

and the best one, which may be nothing, goes into the result. Of equal scores, a word wins over nothing where most
systems say some word; otherwise the system named first wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ctcrec.errors import InputError
from ctcrec.scoring.formats import TimedWord

__all__ = ["rover"]

Column: TypeAlias = list[TimedWord | None]

# Costs of alignment: words that differ; a word alone; a word in a column where some system is silent, a little less so
# that such a place is used before a new one is opened; and silence in such a column, which is nearly free.
_SUBSTITUTION, _GAP, _FILL, _SKIP = 4000, 3000, 2999, 1


def rover(
    hypotheses: Sequence[Sequence[TimedWord]], alpha: float = 1.0, null_confidence: float = 0.7
) -> tuple[TimedWord, ...]:
    """Vote over the hypotheses of one utterance.

    Args:
        hypotheses: the words of each system; the order decides ties, so put the best system first.
        alpha: weight of the number of systems against their confidences; 1 counts votes only.
        null_confidence: the confidence of a system that says nothing; has an effect for alpha < 1 only.

    Returns:
        The voted words, each as the first system that says it has it, its confidence being the score of the vote.

    Raises:
        InputError: alpha < 1, but a word has no confidence; or no hypotheses.
    """
    if not hypotheses:
        raise InputError("voting needs at least one hypothesis")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must be between 0 and 1, got {alpha}")
    if alpha < 1 and any(word.confidence is None for words in hypotheses for word in words):
        raise InputError("voting with confidences (alpha < 1) needs a confidence for every word of every system")
    columns: list[Column] = [[word] for word in hypotheses[0]]
    for done, words in enumerate(hypotheses[1:], start=1):
        columns = _merge(columns, words, done)
    voted = (_vote(column, alpha, null_confidence) for column in columns)
    return tuple(word for word in voted if word is not None)


def _merge(columns: list[Column], words: Sequence[TimedWord], done: int) -> list[Column]:
    """Align the words of one more system with the columns of `done` systems."""
    spoken = [{word.word for word in column if word is not None} for column in columns]
    skip = [_SKIP if None in column else _GAP for column in columns]
    other = [_FILL if None in column else _SUBSTITUTION for column in columns]

    def pair(i: int, j: int) -> int:
        return 0 if words[j].word in spoken[i] else other[i]

    cost = [[0] * (len(words) + 1) for _ in range(len(columns) + 1)]
    for i in range(len(columns) + 1):
        for j in range(len(words) + 1):
            options = []
            if i and j:
                options.append(cost[i - 1][j - 1] + pair(i - 1, j - 1))
            if i:
                options.append(cost[i - 1][j] + skip[i - 1])
            if j:
                options.append(cost[i][j - 1] + _GAP)
            cost[i][j] = min(options, default=0)
    merged: list[Column] = []
    i, j = len(columns), len(words)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + pair(i - 1, j - 1):
            i, j = i - 1, j - 1
            merged.append([*columns[i], words[j]])
        elif j and cost[i][j] == cost[i][j - 1] + _GAP:
            j -= 1
            merged.append([*([None] * done), words[j]])
        else:
            i -= 1
            merged.append([*columns[i], None])
    return merged[::-1]


def _vote(column: Column, alpha: float, null_confidence: float) -> TimedWord | None:
    """The winner of one column."""
    speaking = sum(word is not None for word in column)

    def rank(candidate: TimedWord | None) -> tuple[float, bool]:
        name = None if candidate is None else candidate.word
        votes = [word for word in column if (None if word is None else word.word) == name]
        confidences = [null_confidence if word is None else word.confidence or 0.0 for word in votes]
        score = alpha * len(votes) / len(column) + (1 - alpha) * sum(confidences) / len(votes)
        return score, candidate is not None and 2 * speaking > len(column)

    winner = max(column, key=rank)  # the first of equals
    return None if winner is None else winner._replace(confidence=rank(winner)[0])
