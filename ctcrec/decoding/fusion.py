"""What a search adds to the acoustic score of a prefix: language model, word score, lexicon, hotwords, mask.

All of them read the characters that a token adds to the text ("symbols"; symbol 0 is a word boundary), so that
character and SentencePiece tokens are the same to them. Where a prefix stands is five numbers:

    language model state | lexicon node, -1 in an unknown word | hotword state | mask state | text (see below)

Scores come in two parts. The *gain* is earned for good. The *potential* is what the state promises: the best the
language model can still give to the word begun (its best unigram under the lexicon node), the word score, and the part
of a hotword that is matched. A potential is a function of the state alone and is dropped at the end, so it steers what
the beam keeps, and a hotword that fails is taken back, but no final score depends on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.lm.automaton import NGramTables, ngram_step
from ctcrec.lm.compiled import inlined, inner, wide
from ctcrec.lm.hotwords import HotwordTables
from ctcrec.lm.lexicon import LexiconTrie, trie_child

__all__ = ["LM_NONE", "LM_TOKEN", "LM_WORD", "Fusion", "LmCache", "extend", "finish", "new_lm_cache"]

LM_NONE, LM_WORD, LM_TOKEN = 0, 1, 2
_NOTHING, _IN_WORD, _BETWEEN = 0, 1, 2  # the text: empty, inside a word, after a word


class Fusion(NamedTuple):
    """Attributes:
    active: False if nothing is fused; then only `allowed` counts.
    allowed: (C,) tokens that may be written.
    breaks: (C,) whether a token has a word boundary in it.
    headroom: the most that gain + potential can grow with one token, not counting a potential that is negative now.
        That potential can be lost altogether at a word boundary; elsewhere it can only go down the trie, or (`leave`)
        to what an unknown word gets.
    leave: gain + potential, at most, of a word that has just become unknown; -inf if it may not.
    first_symbol: (C + 1,) symbols of token c are symbols[first_symbol[c] : first_symbol[c + 1]].
    symbols: numbers of characters; 0 is a word boundary.
    lm_unit: LM_NONE, LM_WORD or LM_TOKEN.
    lm: the model's tables.
    lm_scale: lm_weight * ln 10.
    lm_token: (C,) the model's word for each token (LM_TOKEN).
    lm_word: (W,) the model's word for each word of the lexicon (LM_WORD).
    lm_unknown, lm_end: the model's words for <unk> and </s>; lm_end is -1 if </s> is not scored.
    word_score: for every word.
    has_lexicon, closed: whether there is a lexicon, and whether it forbids other words.
    unknown_score: for every word that the lexicon does not have.
    unknown_letter_score: for every symbol of it after the first with which no word of the lexicon begins, unless a
        hotword is under way; at most 0.
    unknown_potential: what an unknown word is expected to get from the language model.
    lexicon: the trie.
    has_hotwords, hotwords: the automaton of the hotwords.
    has_mask: whether there is a mask.
    mask_next: (M, A) state after each symbol, -1 where the mask forbids it.
    mask_final: (M,) whether the text may end here.
    """

    active: bool
    allowed: npt.NDArray[np.bool_]
    breaks: npt.NDArray[np.bool_]
    headroom: float
    leave: float
    first_symbol: npt.NDArray[np.int32]
    symbols: npt.NDArray[np.int32]
    lm_unit: int
    lm: NGramTables
    lm_scale: float
    lm_token: npt.NDArray[np.int32]
    lm_word: npt.NDArray[np.int32]
    lm_unknown: int
    lm_end: int
    word_score: float
    has_lexicon: bool
    closed: bool
    unknown_score: float
    unknown_letter_score: float
    unknown_potential: float
    lexicon: LexiconTrie
    has_hotwords: bool
    hotwords: HotwordTables
    has_mask: bool
    mask_next: npt.NDArray[np.int32]
    mask_final: npt.NDArray[np.bool_]


class LmCache(NamedTuple):
    """The language model's last answers, one place a hash of the question: prefixes ask the same again every frame.

    Attributes:
        state, word: (K,) the questions; K is a power of two.
        log10_prob, next_state: (K,) the answers.
    """

    state: npt.NDArray[np.int32]
    word: npt.NDArray[np.int32]
    log10_prob: npt.NDArray[np.float64]
    next_state: npt.NDArray[np.int32]


def new_lm_cache(places: int = 4096) -> LmCache:
    """An empty cache."""
    return LmCache(
        np.full(places, -1, np.int32), np.zeros(places, np.int32), np.zeros(places), np.zeros(places, np.int32)
    )


@inlined
def _ask(lm: NGramTables, cache: LmCache, state: int, word: int) -> tuple[float, int]:
    """`ngram_step`, through the cache."""
    place = (state * 31 + word * 0x9E3779B1) & (len(cache.state) - 1)
    if cache.state[place] != state or cache.word[place] != word:
        log10_prob, next_state, _ = ngram_step(lm, state, word)
        cache.state[place] = state
        cache.word[place] = word
        cache.log10_prob[place] = log10_prob
        cache.next_state[place] = next_state
    return cache.log10_prob[place], wide(cache.next_state[place])


@inlined
def _end_word(fusion: Fusion, cache: LmCache, lm: int, lexicon: int, hotword: int) -> tuple[bool, float, int, int]:
    """A word ends: (allowed, gain, language model state, hotword state)."""
    gain = fusion.word_score
    word = -1
    if fusion.has_lexicon and lexicon >= 0:
        word = wide(fusion.lexicon.word[lexicon])
        if word < 0:
            if fusion.closed:
                return False, 0.0, lm, hotword
            gain += fusion.unknown_score
    if fusion.lm_unit == LM_WORD:
        log10_prob, lm = _ask(fusion.lm, cache, lm, wide(fusion.lm_word[word]) if word >= 0 else fusion.lm_unknown)
        gain += fusion.lm_scale * log10_prob
    if fusion.has_hotwords:
        hotword = wide(fusion.hotwords.next_state[hotword, fusion.hotwords.column[0]])
        gain += fusion.hotwords.reward[hotword]
    return True, gain, lm, hotword


@inlined
def extend(
    fusion: Fusion, cache: LmCache, state: npt.NDArray[np.int32], token: int
) -> tuple[bool, float, float, int, int, int, int, int]:
    """`token` is written: (allowed, gain, new potential, and the five numbers of the new state)."""
    lm, lexicon, hotword = wide(state[0]), wide(state[1]), wide(state[2])
    mask, text = wide(state[3]), wide(state[4])
    gain = 0.0
    if fusion.lm_unit == LM_TOKEN:
        log10_prob, lm = _ask(fusion.lm, cache, lm, wide(fusion.lm_token[token]))
        gain += fusion.lm_scale * log10_prob
    for place in range(fusion.first_symbol[token], fusion.first_symbol[token + 1]):
        symbol = wide(fusion.symbols[place])
        if symbol == 0:
            if text == _IN_WORD:
                allowed, earned, lm, hotword = _end_word(fusion, cache, lm, lexicon, hotword)
                if not allowed:
                    return False, 0.0, 0.0, lm, lexicon, hotword, mask, text
                gain += earned
                lexicon = 0
                text = _BETWEEN
            continue
        if fusion.has_mask:
            if text == _BETWEEN:
                mask = wide(fusion.mask_next[mask, 0])
            if mask >= 0:
                mask = wide(fusion.mask_next[mask, symbol])
            if mask < 0:
                return False, 0.0, 0.0, lm, lexicon, hotword, mask, text
        unknown = fusion.has_lexicon and lexicon < 0
        if fusion.has_lexicon and not unknown:
            lexicon = trie_child(fusion.lexicon, lexicon, symbol)
            if lexicon < 0:
                if fusion.closed:
                    return False, 0.0, 0.0, lm, lexicon, hotword, mask, text
                gain += fusion.unknown_score
        if fusion.has_hotwords:
            hotword = wide(fusion.hotwords.next_state[hotword, fusion.hotwords.column[symbol]])
            gain += fusion.hotwords.reward[hotword]
        if unknown and not (fusion.has_hotwords and fusion.hotwords.potential[hotword] > 0.0):
            gain += fusion.unknown_letter_score
        text = _IN_WORD
    potential = fusion.hotwords.potential[hotword] if fusion.has_hotwords else 0.0
    if text == _IN_WORD:
        potential += fusion.word_score
        if fusion.lm_unit == LM_WORD:
            potential += fusion.lm_scale * fusion.lexicon.best[lexicon] if lexicon >= 0 else fusion.unknown_potential
    return True, gain, potential, lm, lexicon, hotword, mask, text


@inner
def finish(fusion: Fusion, cache: LmCache, state: npt.NDArray[np.int32]) -> tuple[bool, float]:
    """The text ends here: (allowed, gain)."""
    if not fusion.active:
        return True, 0.0
    lm, lexicon, hotword = wide(state[0]), wide(state[1]), wide(state[2])
    mask, text = wide(state[3]), wide(state[4])
    gain = 0.0
    if fusion.has_mask and not fusion.mask_final[mask]:
        return False, 0.0
    if text == _IN_WORD:
        allowed, gain, lm, _ = _end_word(fusion, cache, lm, lexicon, hotword)
        if not allowed:
            return False, 0.0
    if fusion.lm_unit != LM_NONE and fusion.lm_end >= 0:
        gain += fusion.lm_scale * ngram_step(fusion.lm, lm, fusion.lm_end)[0]
    return True, gain
