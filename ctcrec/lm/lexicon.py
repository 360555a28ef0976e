"""A word list as a trie over characters, for a search that may only, or would rather, write these words.

The trie is over characters, not tokens, so that one trie serves every way to cut a word into SentencePiece tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.errors import DataError
from ctcrec.lm.compiled import inlined, kernel

__all__ = ["LexiconTrie", "build_trie", "empty_trie", "read_words", "trie_child"]

Int32s = npt.NDArray[np.int32]


class LexiconTrie(NamedTuple):
    """Nodes in breadth-first order, so that the children of a node stand side by side; node 0 is the root.

    Attributes:
        symbol: (L,) the character that leads to each node.
        first_child: (L + 1,) children of node n are first_child[n] .. first_child[n + 1] - 1.
        word: (L,) index of the word that ends here, -1 for none.
        best: (L,) the largest weight of the words at or under the node (language-model look-ahead).
    """

    symbol: Int32s
    first_child: Int32s
    word: Int32s
    best: npt.NDArray[np.float32]


def empty_trie() -> LexiconTrie:
    """A trie without words."""
    return LexiconTrie(np.zeros(1, np.int32), np.ones(2, np.int32), np.full(1, -1, np.int32), np.zeros(1, np.float32))


def read_words(path: str | Path) -> list[str]:
    """The words of a lexicon file: the first whitespace-separated field of each line, without repeats.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or has no words.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the lexicon ({error}); it must be UTF-8 text, one word a line") from error
    words = list(dict.fromkeys(fields[0] for fields in map(str.split, lines) if fields))
    if not words:
        raise DataError(f"{path}: the lexicon has no words; it must be UTF-8 text, one word a line")
    return words


def build_trie(
    words: Sequence[str], alphabet: Sequence[str], weights: npt.NDArray[np.float32] | None = None
) -> LexiconTrie:
    """The trie of `words`; those with a character outside the alphabet, empty ones and repeats are left out.

    Args:
        words: word i of the trie is words[i].
        alphabet: characters in ascending order of code points; a character's symbol is its place. A place may hold a
            longer string, which matches nothing.
        weights: (len(words),) for `LexiconTrie.best`; zeros if not given.
    """
    place = dict(zip(reversed(words), range(len(words) - 1, -1, -1), strict=True))  # the first of equals
    place.pop("", None)
    texts = sorted(place)
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    symbols = _symbols(codes, alphabet)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    known = np.add.reduceat(symbols < 0, starts[:-1]) == 0 if texts else np.zeros(0, bool)
    if not known.any():
        return empty_trie()
    lengths = np.diff(starts)
    letters = symbols[np.repeat(known, lengths)]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[known])])
    index = np.fromiter(map(place.__getitem__, texts), np.int32, len(texts))[known]
    if weights is None:
        weights = np.zeros(len(words), np.float32)
    return LexiconTrie(*_build(letters, starts, index, weights.astype(np.float32)))


def _symbols(codes: npt.NDArray[np.uint32], alphabet: Sequence[str]) -> Int32s:
    """The symbol of each code point, -1 for those that are not in the alphabet."""
    characters = [(ord(text), symbol) for symbol, text in enumerate(alphabet) if len(text) == 1]
    known = np.array([code for code, _ in sorted(characters)], dtype=np.uint32)
    numbers = np.array([symbol for _, symbol in sorted(characters)], dtype=np.int32)
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, numbers[place], -1).astype(np.int32)


@kernel
def _build(
    letters: Int32s, starts: npt.NDArray[np.int64], index: Int32s, weights: npt.NDArray[np.float32]
) -> tuple[Int32s, Int32s, Int32s, npt.NDArray[np.float32]]:
    """Breadth-first: a node is a range of the sorted words that share their first `depth` letters."""
    most = len(letters) + 1
    symbol = np.zeros(most, np.int32)
    first_child = np.zeros(most + 1, np.int32)
    word = np.full(most, -1, np.int32)
    best = np.full(most, -np.inf, np.float32)
    low = np.zeros(most, np.int32)
    high = np.zeros(most, np.int32)
    depth = np.zeros(most, np.int32)
    high[0] = len(index)
    nodes = 1
    node = 0
    while node < nodes:
        first_child[node] = nodes
        w = low[node]
        while w < high[node]:
            if starts[w + 1] - starts[w] == depth[node]:
                word[node] = index[w]
                best[node] = weights[index[w]]
                w += 1
                continue
            letter = letters[starts[w] + depth[node]]
            end = w + 1
            while end < high[node] and letters[starts[end] + depth[node]] == letter:
                end += 1
            symbol[nodes], low[nodes], high[nodes], depth[nodes] = letter, w, end, depth[node] + 1
            nodes += 1
            w = end
        node += 1
    first_child[nodes] = nodes
    for node in range(nodes - 1, -1, -1):
        for kid in range(first_child[node], first_child[node + 1]):
            best[node] = max(best[node], best[kid])
    return symbol[:nodes].copy(), first_child[: nodes + 1].copy(), word[:nodes].copy(), best[:nodes].copy()


@inlined
def trie_child(trie: LexiconTrie, node: int, symbol: int) -> int:
    """The child of `node` by `symbol`, -1 if there is none."""
    low = trie.first_child[node]
    high = trie.first_child[node + 1]
    while high - low > 8:
        middle = (low + high) >> 1
        if trie.symbol[middle] <= symbol:
            low = middle
        else:
            high = middle
    for kid in range(low, high):
        if trie.symbol[kid] == symbol:
            return kid
    return -1
