"""Hotwords: phrases that a search is to prefer, as one automaton over characters (Aho & Corasick 1975).

A phrase stands for whole words: it is matched with a word boundary before and after it. In a script that writes no
word boundaries it is matched anywhere. The reward of a phrase is earned at its end, once for every time it is written;
until then a state only promises a part of it (`potential`), which is lost when the next character does not fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["HotwordTables", "build_hotwords", "empty_hotwords"]


class HotwordTables(NamedTuple):
    """Attributes:
    column: (A,) column of each symbol in next_state; 0 for all symbols that are in no phrase.
    next_state: (S, K) the automaton.
    reward: (S,) earned on entering a state: the weights of all phrases that end there.
    potential: (S,) promised by a state.
    start: (1,) the state before the text.
    """

    column: npt.NDArray[np.int32]
    next_state: npt.NDArray[np.int32]
    reward: npt.NDArray[np.float64]
    potential: npt.NDArray[np.float64]
    start: npt.NDArray[np.int32]


def empty_hotwords() -> HotwordTables:
    """An automaton without phrases."""
    zeros = np.zeros(1, np.int32)
    return HotwordTables(zeros, np.zeros((1, 1), np.int32), np.zeros(1), np.zeros(1), zeros)


def build_hotwords(phrases: Mapping[Sequence[int], float], symbols: int, boundaries: bool) -> HotwordTables:
    """The automaton of `phrases`, given as symbol numbers (0 between words) with their weights.

    Args:
        phrases: non-empty tuples of numbers under `symbols`, and the natural-log weight of each.
        symbols: A, size of the alphabet; symbol 0 is the word boundary.
        boundaries: whether the script has word boundaries, so that phrases are whole words.
    """
    edge = (0,) if boundaries else ()
    patterns = [((*edge, *phrase, *edge), weight) for phrase, weight in phrases.items()]
    used = sorted({symbol for pattern, _ in patterns for symbol in pattern})
    column = np.zeros(symbols, np.int32)
    column[used] = np.arange(1, len(used) + 1)

    children: list[dict[int, int]] = [{}]
    reward, potential = [0.0], [0.0]
    for pattern, weight in patterns:
        state = 0
        for depth, symbol in enumerate(pattern, start=1):
            if column[symbol] not in children[state]:
                children[state][int(column[symbol])] = len(children)
                children.append({})
                reward.append(0.0)
                potential.append(0.0)
            state = children[state][int(column[symbol])]
            if depth < len(pattern):
                share = (depth - len(edge)) / (len(pattern) - len(edge))
                potential[state] = max(potential[state], weight * share)
        reward[state] += weight

    next_state = np.zeros((len(children), len(used) + 1), np.int32)
    for key, kid in children[0].items():
        next_state[0, key] = kid
    fail = [0] * len(children)
    queue = deque(children[0].values())
    while queue:  # breadth-first: a state's fail state is done before it
        state = queue.popleft()
        reward[state] += reward[fail[state]]
        potential[state] = max(potential[state], potential[fail[state]])
        next_state[state] = next_state[fail[state]]
        for key, kid in children[state].items():
            fail[kid] = int(next_state[fail[state], key])
            next_state[state, key] = kid
            queue.append(kid)
    start = next_state[0, column[0]] if boundaries else 0
    return HotwordTables(column, next_state, np.array(reward), np.array(potential), np.array([start], dtype=np.int32))
