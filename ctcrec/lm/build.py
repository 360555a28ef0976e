"""From lists of n-grams to the automaton's arrays (`ctcrec.lm.automaton.NGramTables`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.lm.automaton import NGramTables

__all__ = ["NGramList", "build_tables"]

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class NGramList(NamedTuple):
    """All n-grams of one length k.

    Attributes:
        words: (n, k) word numbers.
        log10_prob: (n,) of the last word after the others.
        log10_backoff: (n,) zeros for the longest n-grams.
    """

    words: npt.NDArray[np.int32]
    log10_prob: Floats
    log10_backoff: Floats


def build_tables(orders: Sequence[NGramList]) -> NGramTables:
    """The tables of n-grams of lengths 1, 2, ...; the unigrams are words 0, 1, 2, ... in order.

    Raises:
        InputError: an n-gram stands twice or its context is missing; `ngram` of the error's arguments names it.
    """
    vocabulary = len(orders[0].words)
    none = NGramList(np.zeros((1, 0), np.int32), np.zeros(1, np.float32), np.zeros(1, np.float32))
    word = [np.zeros(1, np.int32)]
    log10_prob, log10_backoff = [none.log10_prob], [none.log10_backoff]
    context: list[Int64s] = [np.array([-1])]
    keys = np.zeros(0, np.int64)  # context * vocabulary + word of all entries longer than 1, ascending
    for length, ngrams in enumerate(orders, start=1):
        entry, missing = np.zeros(len(ngrams.words), np.int64), np.zeros(len(ngrams.words), bool)
        for place in range(length - 1):
            found = _find(keys, vocabulary, entry, ngrams.words[:, place])
            missing |= found < 0
            entry = np.maximum(found, 0)
        if missing.any():
            raise InputError(_name("has no entry for its first words", ngrams.words[int(missing.argmax())]))
        key = entry * vocabulary + ngrams.words[:, -1]
        order = np.argsort(key, kind="stable")
        key = key[order]
        if (repeats := key[1:] == key[:-1]).any():
            raise InputError(_name("stands twice", ngrams.words[order[int(repeats.argmax())]]))
        if length > 1:
            keys = np.concatenate([keys, key])
        context.append(entry[order])
        word.append(ngrams.words[order, -1].astype(np.int32))
        log10_prob.append(ngrams.log10_prob[order])
        log10_backoff.append(ngrams.log10_backoff[order])
    return _link(word, log10_prob, log10_backoff, context, keys)


def _name(fault: str, words: npt.NDArray[np.int32]) -> InputError:
    error = InputError(f"n-gram of words {words.tolist()} {fault}")
    error.add_note(fault)
    return error


def _find(keys: Int64s, vocabulary: int, state: Int64s, word: npt.NDArray[np.int32]) -> Int64s:
    """The entry of `word` after `state`, -1 where there is none."""
    key = state * vocabulary + word
    place = np.searchsorted(keys, key)
    hit = np.zeros(len(key), bool)
    inside = place < len(keys)
    hit[inside] = keys[place[inside]] == key[inside]
    return np.where(state == 0, 1 + word, np.where(hit, 1 + vocabulary + place, -1)).astype(np.int64)


def _link(
    word: list[npt.NDArray[np.int32]],
    log10_prob: list[Floats],
    log10_backoff: list[Floats],
    context: list[Int64s],
    keys: Int64s,
) -> NGramTables:
    """Join the lengths, and give each entry its suffix and next state."""
    sizes = [len(part) for part in word]
    vocabulary = sizes[1]
    states = sum(sizes[:-1])
    all_context = np.concatenate(context)
    all_words = np.concatenate(word)
    backoff = np.concatenate(log10_backoff[:-1])
    entries = np.bincount(all_context[1:], minlength=states)
    first_entry = 1 + np.concatenate([[0], np.cumsum(entries)])

    suffix = np.zeros(len(all_words), np.int64)
    suffix[0] = -1
    next_state = np.zeros(len(all_words), np.int64)
    begin = 1
    for size in sizes[1:]:
        here = np.arange(begin, begin + size)
        # suffix(s·w) is w after suffix(s); after a shorter suffix where the model was pruned of it
        shorter = suffix[all_context[here]]
        found = np.where(shorter < 0, 0, -1)
        while (todo := found < 0).any():
            entry = _find(keys, vocabulary, shorter[todo], all_words[here[todo]])
            found[todo] = entry
            shorter[todo] = np.where(entry < 0, suffix[shorter[todo]], shorter[todo])
        suffix[here] = found
        own = here[here < states]
        telling = (entries[own] > 0) | (backoff[own] != 0.0)
        next_state[own] = np.where(telling, own, next_state[suffix[own]])
        longest = here[here >= states]
        next_state[longest] = next_state[suffix[longest]]
        begin += size
    return NGramTables(
        all_words,
        np.concatenate(log10_prob).astype(np.float32),
        next_state.astype(np.int32),
        backoff.astype(np.float32),
        suffix[:states].astype(np.int32),
        first_entry.astype(np.int32),
    )
