"""Corpus BLEU, by hand and by what sacrebleu promises."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest

from ctcrec.errors import ConfigError, InputError
from ctcrec.scoring.bleu import corpus_bleu


def test_by_hand() -> None:
    """n-gram precisions 5/6, 3/5, 2/4, 1/3 of six words; no brevity penalty."""
    pytest.importorskip("sacrebleu")
    found = corpus_bleu(["the cat sat on the mat"], ["the cat sat on a mat"])
    precisions = (5 / 6, 3 / 5, 2 / 4, 1 / 3)
    assert found.score == pytest.approx(100 * math.exp(sum(map(math.log, precisions)) / 4))
    assert "tok:none" in found.signature and found.text().startswith("BLEU 53.73")


def test_texts_that_are_short_and_texts_that_are_the_same() -> None:
    pytest.importorskip("sacrebleu")
    words = "one two three four five six seven eight"
    assert corpus_bleu([words, words], [words, words]).score == pytest.approx(100.0)
    half = corpus_bleu([words], ["one two three four"]).score
    assert half == pytest.approx(100 * math.exp(1 - 8 / 4))  # only the brevity penalty


def test_wrong_numbers_of_texts() -> None:
    with pytest.raises(InputError, match="2 references and 1 hypotheses"):
        corpus_bleu(["a", "b"], ["a"])


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="pip install sacrebleu"):
        corpus_bleu(["a"], ["a"])
