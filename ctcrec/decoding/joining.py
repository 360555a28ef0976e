"""From token strings to text and words, for character tokens and for SentencePiece tokens alike.

A token's *surface* is what it adds to the text: the word delimiter and SentencePiece's "▁" (U+2581) become a space,
everything else stands for itself. Text is the surfaces put together, with runs of spaces made one and none at the
ends. Bytes of SentencePiece's byte fallback (`<0xE2>`) are put together and decoded as UTF-8.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

__all__ = ["WORD_START", "join_tokens", "token_surface", "word_groups"]

WORD_START = "\u2581"
"""SentencePiece's mark for "a word starts here"."""

_WORD = re.compile(r"[^ ]+")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BYTES = re.compile(r"(?:<0x[0-9A-Fa-f]{2}>)+")


@lru_cache(maxsize=1 << 16)
def token_surface(token: str, word_delimiter: str = " ") -> str:
    """The characters that `token` adds to the text; a space is a word boundary."""
    if token == word_delimiter:
        return " "
    return token.replace(WORD_START, " ")


def join_tokens(tokens: Sequence[str], word_delimiter: str = " ") -> str:
    """The text of `tokens`: words separated by single spaces."""
    text = _with_bytes("".join([token_surface(token, word_delimiter) for token in tokens]))
    return " ".join([part for part in text.split(" ") if part])


def word_groups(tokens: Sequence[str], word_delimiter: str = " ") -> list[tuple[str, range]]:
    """The words of `tokens`, each with the positions of the tokens that have a character in it.

    A token that is only a boundary belongs to no word. A token with a boundary inside (possible in SentencePiece
    models trained across whitespace) belongs to every word that it touches.
    """
    surfaces = [token_surface(token, word_delimiter) for token in tokens]
    ends = list(accumulate(map(len, surfaces)))  # of each token, in characters
    return [
        (_with_bytes(word.group()), range(bisect_right(ends, word.start()), bisect_right(ends, word.end() - 1) + 1))
        for word in _WORD.finditer("".join(surfaces))
    ]


def _with_bytes(text: str) -> str:
    return _BYTES.sub(_decode_bytes, text) if "<0x" in text else text


def _decode_bytes(match: re.Match[str]) -> str:
    values = bytes(int(digits, 16) for digits in _BYTE.findall(match.group()))
    return values.decode("utf-8", errors="replace")
