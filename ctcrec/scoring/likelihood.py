"""How probable a model finds texts: perplexity by its own tokens, and bits per character and byte, which compare models
with different tokens.

A text's end is part of it: it counts as a token, as a character and as a byte, like the line break in a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Likelihood", "text_sizes"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Texts and −ln p of all of them together, in nats.

    Attributes:
        nats: −ln p.
        tokens, characters, bytes: of all texts with their ends; bytes are UTF-8's.
    """

    nats: float
    tokens: int
    characters: int
    bytes: int

    @property
    def perplexity(self) -> float:
        """exp of the nats per token: between how many tokens the model hesitates."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2.0) / self.characters

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2.0) / self.bytes

    def text(self) -> str:
        """One line for people."""
        return (
            f"perplexity {self.perplexity:.3f} per token, {self.bits_per_character:.4f} bits per character,"
            f" {self.bits_per_byte:.4f} bits per byte"
        )

    def to_dict(self) -> dict[str, float]:
        """Plain data."""
        return {
            "nats": self.nats,
            "tokens": self.tokens,
            "characters": self.characters,
            "bytes": self.bytes,
            "perplexity": self.perplexity,
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
        }


def text_sizes(texts: Iterable[str]) -> tuple[int, int]:
    """Characters (code points) and UTF-8 bytes of all texts, with one more of each for every end."""
    characters = size = 0
    for text in texts:
        characters += len(text) + 1
        size += len(text.encode("utf-8")) + 1
    return characters, size
