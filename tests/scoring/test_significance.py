"""Tests between systems: against formulas, brute force, hand-made cases and simulations whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import InputError
from ctcrec.scoring import compare, compare_all, score
from ctcrec.scoring.significance import mapsswe, paired_bootstrap, segment_errors

words = st.lists(st.sampled_from("abcd"), max_size=12)


@pytest.mark.parametrize(
    ("reference", "first", "second", "segments"),
    [
        ("a b c d e f", "a b c d e f", "a b c d e f", []),
        ("a b c d e f", "x b c d e f", "a b c d e f", [(1, 0)]),
        ("a b c d e f", "x b c y e f", "a b c d e z", [(1, 0), (1, 1)]),
        ("a b c d e f", "x b y d z f", "a b c d e f", [(3, 0)]),  # single good words do not part errors
        ("a b c d", "a b q c d", "a b c d r", [(1, 0), (0, 1)]),  # an insertion, and one at the end
        ("a b c d", "q a b c d", "a b c d", [(1, 0)]),
        ("a b c", "a q b c", "a b c", [(1, 0)]),
        ("a b", "", "a b", [(2, 0)]),
        ("", "q", "", [(1, 0)]),
    ],
)
def test_segments_by_hand(reference: str, first: str, second: str, segments: list[tuple[int, int]]) -> None:
    assert segment_errors(reference.split(), first.split(), second.split()) == segments


@given(words, words, words)
@settings(deadline=None)
def test_segments_hold_all_errors(reference: list[str], first: list[str], second: list[str]) -> None:
    segments = segment_errors(reference, first, second)
    report = [score({"1": " ".join(reference)}, {"1": " ".join(side)}, samples=0) for side in (first, second)]
    assert sum(a for a, _ in segments) == report[0].units["words"].counts.errors
    assert sum(b for _, b in segments) == report[1].units["words"].counts.errors
    assert all(segment != (0, 0) for segment in segments)
    assert segment_errors(reference, second, first) == [(b, a) for a, b in segments]


def test_mapsswe_is_the_z_test_of_the_segments() -> None:
    texts = [("a b c d", "x b c d", "a b c d"), ("a b c d", "a b c d", "a b c y"), ("a b", "x y", "a b")]
    result = mapsswe(texts)
    differences = np.array([1, -1, 2])
    z = differences.mean() / (differences.std(ddof=1) / math.sqrt(3))
    assert (result.segments, result.mean, result.z) == (3, pytest.approx(2 / 3), pytest.approx(z))
    assert result.p_value == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_mapsswe_of_equal_systems_and_of_constant_differences() -> None:
    same = mapsswe([("a b", "a x", "a x"), ("a", "a", "a")])
    assert (same.segments, same.z, same.p_value) == (1, 0.0, 1.0)
    assert mapsswe([]).p_value == 1.0
    assert mapsswe([("a", "x", "a")]).p_value == 1.0  # a single segment proves nothing
    assert mapsswe([("a", "x", "a")] * 2).p_value == 0.0


def test_paired_bootstrap_agrees_with_the_normal_approximation() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.binomial(10, 0.21, 400), generator.binomial(10, 0.2, 400)
    result = paired_bootstrap(np.stack([first, second, np.full(400, 10)], axis=1), 4000, seed=2)
    difference = (first - second) / 10
    z = difference.mean() / (difference.std(ddof=1) / 20)
    assert result.difference == pytest.approx(difference.mean())
    assert result.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.03)
    half = 1.96 * difference.std(ddof=1) / 20
    assert result.interval == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.1 * half)


def test_paired_bootstrap_extremes() -> None:
    rows = np.array([[1, 1, 5]] * 20)
    assert paired_bootstrap(rows, 100).p_value == 1.0
    better = np.array([[1, 0, 5]] * 20)
    assert paired_bootstrap(better, 999).p_value == 1.0 / 1000
    with pytest.raises(InputError, match=r"\(N, 3\)"):
        paired_bootstrap(np.zeros((5, 2), np.int64))


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Two systems that err alike: p < 0.05 in about one of twenty trials."""
    generator = np.random.default_rng(3)
    alarms = [0, 0]
    for trial in range(200):
        wrong = generator.random((2, 60, 8)) < 0.2
        reference = ["a b c d e f g h"] * 60
        sides = [
            [" ".join("x" if bad else word for bad, word in zip(row, "abcdefgh", strict=True)) for row in side]
            for side in wrong
        ]
        alarms[0] += mapsswe(zip(reference, *sides, strict=True)).p_value < 0.05
        rows = np.stack([*wrong.sum(axis=2), np.full(60, 8)], axis=1)
        alarms[1] += paired_bootstrap(rows, 200, seed=trial).p_value < 0.05
    assert all(2 <= count <= 22 for count in alarms), alarms


def test_comparison_of_reports() -> None:
    references = {str(i): "a b c d" for i in range(20)}
    good = {name: "a b c d" if int(name) % 5 else "a b c x" for name in references}
    bad = {name: "a x c d" if int(name) % 2 else "a b c d" for name in references}
    reports = {"good": score(references, good), "bad": score(references, bad)}
    groups = {name: f"s{int(name) % 4}" for name in references}
    (comparison,) = compare_all(reports, groups, samples=200)
    assert (comparison.wins, comparison.losses, comparison.ties) == (8, 2, 10)
    assert comparison.bootstrap["words"].difference == pytest.approx((4 - 10) / 80)
    assert set(comparison.group_bootstrap) == {"words", "characters"}
    assert comparison.differences[0].first_errors < comparison.differences[0].second_errors
    assert comparison.differences[-1].first_errors > comparison.differences[-1].second_errors
    text = comparison.text()
    assert "good makes fewer word errors on 8 examples, more on 2, equally many on 10" in text
    assert comparison.to_dict()["wins"] == 8
    assert not compare(*reports.values(), samples=10).group_bootstrap


def test_only_equal_scorings_are_compared() -> None:
    first = score({"a": "x"}, {"a": "x"})
    with pytest.raises(InputError, match="cannot be compared"):
        compare(first, score({"b": "x"}, {"b": "x"}))
    with pytest.raises(InputError, match="cannot be compared"):
        compare(first, score({"a": "x"}, {"a": "x"}, alignment="sclite"))
