"""A back-off n-gram model as an automaton in flat arrays, queried by compiled code.

A state is a context (w_1 .. w_k), k < order, that the model has an entry for; state 0 is the empty context. The entries
"context + word" of one state stand side by side, sorted by word, so finding one is a binary search, and every entry
knows the state it leads to. With b the back-off weight and suffix(w_1 .. w_k) = (w_2 .. w_k), the probability of w is

    p(w | s) = p[s·w]                      if the model has s·w
             = b[s] p(w | suffix(s))       if it has not
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.lm.compiled import inlined, kernel, wide

__all__ = ["NGramTables", "empty_tables", "ngram_step", "score_sequence"]


class NGramTables(NamedTuple):
    """Entries in order of length, then context, then word: entry 0 is the empty one, entry 1 + w is the word w alone.

    Attributes:
        word: (E,) last word of each entry.
        log10_prob: (E,) log10 p(last word | words before it).
        next_state: (E,) the state after the entry: its longest suffix that can be told from a shorter one.
        log10_backoff: (S,) of the states, that is, the entries shorter than the model's order.
        suffix: (S,) the state without its first word; -1 for the empty one.
        first_entry: (S + 1,) entries s·w of state s are first_entry[s] .. first_entry[s + 1] - 1.
    """

    word: npt.NDArray[np.int32]
    log10_prob: npt.NDArray[np.float32]
    next_state: npt.NDArray[np.int32]
    log10_backoff: npt.NDArray[np.float32]
    suffix: npt.NDArray[np.int32]
    first_entry: npt.NDArray[np.int32]


def empty_tables() -> NGramTables:
    """Tables of no model, for compiled code that takes tables without asking them."""
    return NGramTables(
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
        np.full(1, -1, np.int32),
        np.ones(2, np.int32),
    )


@inlined
def ngram_step(lm: NGramTables, state: int, word: int) -> tuple[float, int, int]:
    """log10 p(word | state), the state after it, and the number of times that the model backed off."""
    total = 0.0
    backed_off = 0
    while state > 0:
        low = wide(lm.first_entry[state])
        end = wide(lm.first_entry[state + 1])
        high = end
        while low < high:
            middle = (low + high) >> 1
            if lm.word[middle] < word:
                low = middle + 1
            else:
                high = middle
        if low < end and lm.word[low] == word:
            return total + lm.log10_prob[low], wide(lm.next_state[low]), backed_off
        total += lm.log10_backoff[state]
        state = wide(lm.suffix[state])
        backed_off += 1
    return total + lm.log10_prob[1 + word], wide(lm.next_state[1 + word]), backed_off


@kernel
def score_sequence(
    lm: NGramTables, state: int, words: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], int]:
    """(n,) log10 p of each word from `state` on, the length of the n-gram found for each, and the last state."""
    log10_probs = np.empty(len(words))
    lengths = np.empty(len(words), np.int32)
    for place in range(len(words)):
        before = 0
        shorter = state
        while shorter > 0:
            shorter = wide(lm.suffix[shorter])
            before += 1
        log10_probs[place], state, backed_off = ngram_step(lm, state, wide(words[place]))
        lengths[place] = before - backed_off + 1
    return log10_probs, lengths, state
