"""Perplexity and bits, by hand."""

from __future__ import annotations

import math

import pytest

from ctcrec.scoring.likelihood import Likelihood, text_sizes


def test_by_hand() -> None:
    """A fair coin for each of 6 tokens: 6 bits."""
    found = Likelihood(nats=6 * math.log(2.0), tokens=6, characters=12, bytes=24)
    assert found.perplexity == pytest.approx(2.0)
    assert found.bits_per_character == pytest.approx(0.5)
    assert found.bits_per_byte == pytest.approx(0.25)
    assert found.text() == "perplexity 2.000 per token, 0.5000 bits per character, 0.2500 bits per byte"
    assert found.to_dict()["perplexity"] == found.perplexity


def test_sizes_count_ends() -> None:
    assert text_sizes(["ab", "ſü", ""]) == (7, 9)  # ſ and ü have two bytes each


def test_bits_do_not_depend_on_the_tokens() -> None:
    """The same probability of the same text, cut into other tokens."""
    few, many = (Likelihood(10.0, tokens, 20, 20) for tokens in (5, 20))
    assert few.bits_per_character == many.bits_per_character
    assert few.perplexity > many.perplexity
