import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctcrec.decoding import greedy_decode
from ctcrec.errors import InputError

TOKENS = ["<blank>", "a", "b", " "]


def peaked(path: list[int], classes: int = 4, probability: float = 0.7) -> torch.Tensor:
    """(1, T, C) log-probabilities whose best path is `path`."""
    other = (1 - probability) / (classes - 1)
    probs = torch.full((1, len(path), classes), other)
    probs[0, torch.arange(len(path)), torch.tensor(path, dtype=torch.long)] = probability
    return probs.log()


def test_collapses_repeats_and_keeps_those_that_a_blank_parts() -> None:
    [hypothesis] = greedy_decode(peaked([1, 1, 0, 1, 3, 3, 2, 0]), torch.tensor([8]), TOKENS)
    assert hypothesis.text == "aa b"
    assert hypothesis.tokens == (1, 1, 3, 2)
    assert [(span.token, span.start, span.end) for span in hypothesis.token_spans] == [
        ("a", 0, 2), ("a", 3, 4), (" ", 4, 6), ("b", 6, 7),
    ]  # fmt: skip
    assert [(span.word, span.start, span.end) for span in hypothesis.word_spans] == [("aa", 0, 4), ("b", 6, 7)]
    assert hypothesis.score == pytest.approx(8 * math.log(0.7))
    assert hypothesis.word_spans[0].confidence == pytest.approx(0.49)
    assert hypothesis.confidence == pytest.approx(0.7**4)


def test_token_confidence_is_the_largest_probability_of_its_frames() -> None:
    log_probs = torch.tensor([[[0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]]]).log()
    [hypothesis] = greedy_decode(log_probs, torch.tensor([3]), ["", "a", "b"])
    assert hypothesis.token_spans[0].confidence == pytest.approx(0.8)


@pytest.mark.parametrize("frames", [0, 5])
def test_no_frames_or_only_blanks_give_an_empty_hypothesis(frames: int) -> None:
    [hypothesis] = greedy_decode(peaked([0] * 5), torch.tensor([frames]), TOKENS)
    assert hypothesis.text == "" and hypothesis.tokens == () and hypothesis.token_spans == ()
    assert hypothesis.confidence == 1.0
    assert hypothesis.score == pytest.approx(frames * math.log(0.7))


def test_an_empty_batch() -> None:
    assert greedy_decode(torch.zeros(0, 5, 4), torch.zeros(0, dtype=torch.long), TOKENS) == []


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4), st.integers(0, 3))
def test_agrees_with_collapsing_by_hand_in_any_batch(paths: list[list[int]], blank: int) -> None:
    longest = max(map(len, paths))
    log_probs = torch.cat([peaked(path + [1] * (longest - len(path))) for path in paths])
    lengths = torch.tensor([len(path) for path in paths])
    batch = greedy_decode(log_probs, lengths, TOKENS, blank=blank)
    for path, hypothesis in zip(paths, batch, strict=True):
        assert hypothesis.tokens == tuple(token for token, _ in itertools.groupby(path) if token != blank)
        assert greedy_decode(peaked(path), torch.tensor([len(path)]), TOKENS, blank=blank) == [hypothesis]
        for span in hypothesis.token_spans:
            assert set(path[int(span.start) : int(span.end)]) == {TOKENS.index(span.token)}


def test_sentencepiece_tokens() -> None:
    tokens = ["<blank>", "▁the", "▁c", "at"]
    [hypothesis] = greedy_decode(peaked([1, 0, 2, 3]), torch.tensor([4]), tokens)
    assert hypothesis.text == "the cat"
    assert [(span.word, span.start, span.end) for span in hypothesis.word_spans] == [("the", 0, 1), ("cat", 2, 4)]


@pytest.mark.parametrize(
    ("log_probs", "lengths", "blank", "message"),
    [
        (torch.zeros(2, 3, 5), torch.tensor([3, 3]), 0, r"\(N, T, 4\)"),
        (torch.zeros(2, 3, 4), torch.tensor([3, 4]), 0, "0 to 3"),
        (torch.zeros(2, 3, 4), torch.tensor([3]), 0, "2 numbers"),
        (torch.zeros(2, 3, 4), torch.tensor([3, 3]), 4, "blank"),
        (torch.stack([torch.zeros(3, 4), torch.full((3, 4), math.nan)]), torch.tensor([3, 3]), 0, "example 1"),
    ],
)
def test_bad_input_is_named(log_probs: torch.Tensor, lengths: torch.Tensor, blank: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        greedy_decode(log_probs, lengths, TOKENS, blank=blank)
