"""Oracle rates against picking by hand, and votes worked out from the paper's rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import InputError
from ctcrec.scoring import ErrorCounts, TimedWord, oracle_counts, oracle_curve, rover, word_counts

words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


def voted(*texts: str) -> str:
    return " ".join(word.word for word in rover([[TimedWord(word) for word in text.split()] for text in texts]))


@given(words, st.lists(words, min_size=1, max_size=5))
@settings(deadline=None)
def test_oracle_is_the_best_candidate(reference: list[str], candidates: list[list[str]]) -> None:
    text, texts = " ".join(reference), [" ".join(candidate) for candidate in candidates]
    best = oracle_counts(text, texts)
    assert best.errors == min(word_counts(text, candidate).errors for candidate in texts)


def test_oracle_curve_by_depth() -> None:
    examples = [("a b", ["a c", "a b"]), ("c", ["d", "e", "c"]), ("x y", [])]
    assert oracle_curve(examples, depths=(1, 2, 5)) == [
        (1, ErrorCounts(1, 2, 2, 0)),
        (2, ErrorCounts(2, 1, 2, 0)),
        (3, ErrorCounts(3, 0, 2, 0)),
    ]
    assert oracle_curve([]) == []


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["the cat sat", "the hat sat", "the cat sad"], "the cat sat"),
        (["the cat sat", "cat sat", "the cat"], "the cat sat"),
        (["a b", "a x b", "a x b"], "a x b"),  # two of three say x
        (["a b", "a x b", "a b"], "a b"),  # two of three say nothing
        (["a", "b", "c"], "a"),  # no majority: the first system
        (["", "a", "a"], "a"),
        (["x", "x a", "x b"], "x a"),  # most say something, though not the same
        (["x", "x a"], "x"),
        (["x a", "x"], "x a"),
        (["a", "", ""], ""),
        (["one system only"], "one system only"),
    ],
)
def test_votes(texts: list[str], expected: str) -> None:
    assert voted(*texts) == expected


@given(words, st.lists(words, max_size=2))
@settings(deadline=None)
def test_a_majority_that_agrees_wins(agreed: list[str], others: list[list[str]]) -> None:
    texts = [" ".join(agreed)] * (len(others) + 1) + [" ".join(other) for other in others]
    assert voted(*texts) == " ".join(agreed)
    assert voted(*[" ".join(agreed)] * 3) == " ".join(agreed)


def test_confidences_can_overrule_the_majority() -> None:
    systems = [[TimedWord("a", 0.0, 1.0, 0.9)], [TimedWord("b", 0.1, 1.0, 0.2)], [TimedWord("b", 0.2, 1.0, 0.3)]]
    assert [word.word for word in rover(systems)] == ["b"]
    # alpha 0.5: a scores 0.5 / 3 + 0.45, b scores 0.5 * 2 / 3 + 0.125
    (winner,) = rover(systems, alpha=0.5)
    assert winner == TimedWord("a", 0.0, 1.0, pytest.approx(0.5 / 3 + 0.45))
    assert rover([[TimedWord("a", confidence=0.1)], []], alpha=0.0, null_confidence=0.5) == ()


def test_votes_need_hypotheses_and_confidences() -> None:
    with pytest.raises(InputError, match="at least one"):
        rover([])
    with pytest.raises(InputError, match="needs a confidence"):
        rover([[TimedWord("a")]], alpha=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        rover([[TimedWord("a")]], alpha=1.5)
