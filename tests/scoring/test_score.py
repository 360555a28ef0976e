"""Scores of small corpora worked out by hand, and of random ones by adding up single examples."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import InputError
from ctcrec.scoring import Entry, ErrorCounts, TimedWord, character_counts, score, score_collections, word_counts
from ctcrec.scoring.bootstrap import rate_interval, resample_sums, sum_by_group
from ctcrec.scoring.calibration import calibrate, words_correct
from ctcrec.scoring.confusions import Confusions
from ctcrec.text import Normalizer

REFERENCES = {"a": "the cat sat", "b": "on the mat", "c": "", "d": "all is well"}
HYPOTHESES = {"b": "on a mat", "a": "the cat sat", "c": "hm", "x": "extra"}

corpora = st.lists(
    st.tuples(*[st.lists(st.sampled_from(["a", "b", "é", "cd"]), max_size=6).map(" ".join)] * 2), min_size=1, max_size=8
)


@given(corpora)
@settings(max_examples=50, deadline=None)
def test_corpus_counts_are_sums(pairs: list[tuple[str, str]]) -> None:
    references = {str(i): reference for i, (reference, _) in enumerate(pairs)}
    hypotheses = {str(i): hypothesis for i, (_, hypothesis) in enumerate(pairs)}
    report = score(references, hypotheses, samples=10)
    for unit, count in (("words", word_counts), ("characters", character_counts)):
        assert report.units[unit].counts == sum((count(*pair) for pair in pairs), ErrorCounts())
        confusions = report.confusions[unit]
        found = (confusions.substitutions.total(), confusions.deletions.total(), confusions.insertions.total())
        counts = report.units[unit].counts
        assert found == (counts.substitutions, counts.deletions, counts.insertions)
    assert report.spaces.reference_length == sum(reference.count(" ") for reference, _ in pairs)
    assert report.correct == sum(reference == hypothesis for reference, hypothesis in pairs)
    assert sum(group.examples for group in report.groups["length"]) == len(pairs)
    json.loads(report.to_json())
    assert report.signature in report.text()


def test_missing_and_extra_ids_are_counted_and_reported() -> None:
    report = score(REFERENCES, HYPOTHESES, samples=0)
    assert report.missing == ("d",)
    assert report.extra == ("x",)
    assert report.units["words"].counts == ErrorCounts(5, 1, 3, 1)
    assert (report.examples, report.correct) == (4, 1)
    assert "1 references have no hypothesis, d" in report.text()
    assert "1 hypotheses have no reference and are not scored, x" in report.text()
    skipped = score(REFERENCES, HYPOTHESES, samples=0, missing="skip")
    assert skipped.units["words"].counts == ErrorCounts(5, 1, 0, 1)
    assert skipped.missing == ("d",)
    assert skipped.signature != report.signature


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(InputError, match="ids do not match .*'a'.*'z'"):
        score({"a": "x"}, {"z": "x"})
    with pytest.raises(InputError, match="alignment must be"):
        score({"a": "x"}, {"a": "x"}, alignment="best")  # type: ignore[arg-type]


def test_texts_too_long_to_align_are_named() -> None:
    with pytest.raises(InputError, match="'b': texts of 60000 and 60000 units are too long"):
        score({"a": "x", "b": "x" * 60000}, {"a": "x", "b": "y" * 60000})


def test_groups_fields_and_lengths() -> None:
    groups = {"a": "anna", "b": "ben", "c": "anna"}
    report = score(REFERENCES, HYPOTHESES, groups, fields={"room": {"a": "1"}}, samples=0)
    by_speaker = {group.value: group for group in report.groups["speaker"]}
    assert by_speaker["anna"].words == ErrorCounts(3, 0, 0, 1)
    assert by_speaker["ben"].words == ErrorCounts(2, 1, 0, 0)
    assert by_speaker["(none)"].words == ErrorCounts(0, 0, 3, 0)
    assert [(group.value, group.examples) for group in report.groups["room"]] == [("(none)", 3), ("1", 1)]
    assert [(group.value, group.examples) for group in report.groups["length"]] == [("0", 1), ("3-5", 3)]


def test_normalizer_is_applied_to_both_sides_and_named() -> None:
    report = score({"a": "The CAT."}, {"a": "the cat"}, normalizer=Normalizer.named("lower-no-punctuation"))
    assert report.wer == 0
    assert "text:lower-no-punctuation.v1" in report.signature
    assert score({"a": "The CAT."}, {"a": "the cat"}).wer == 1


def test_worst_examples_come_first_and_are_written_aligned(tmp_path: Path) -> None:
    report = score(REFERENCES, HYPOTHESES, {"d": "dora"}, samples=0, worst=2)
    assert [example.id for example in report.worst] == ["d", "b"]
    assert report.worst[0].hypothesis is None
    report.write_aligned_worst(tmp_path / "worst.txt")
    text = (tmp_path / "worst.txt").read_text()
    assert "d  dora  WER 100.0 %  CER 100.0 %  no hypothesis\nREF: all is well\nHYP: *** ** ****\n" in text
    assert "REF: on the mat\nHYP: on a   mat\n        S" in text
    assert "a  " not in text.replace("aligned", "").split("b  ")[0].split("d  ")[0]


def test_collections_bring_speakers_candidates_and_confidences() -> None:
    references = {name: Entry(name, text, {"writer": "w", "page": name}) for name, text in REFERENCES.items()}
    words = (TimedWord("on", confidence=0.95), TimedWord("a", confidence=0.35), TimedWord("mat", confidence=0.95))
    hypotheses = {
        "a": Entry("a", "the cat", nbest=("the cat", "a cat sat", "the cat sat")),
        "b": Entry("b", "on a mat", words=words),
    }
    report = score_collections(references, hypotheses, by=["page"], samples=0)
    assert set(report.groups) == {"writer", "page", "length"}
    assert [(n, counts.errors) for n, counts in report.oracle] == [(1, 5), (2, 5), (3, 4)]
    assert report.calibration is not None
    assert report.calibration.items == 3
    assert report.calibration.expected_error == pytest.approx((2 * 0.05 + 0.35) / 3)
    with pytest.raises(InputError, match="'room' .* there are: writer, page"):
        score_collections(references, hypotheses, by=["room"])


@pytest.mark.parametrize(
    ("references", "hypotheses", "name"),
    [
        (["THE CAT SAT"] * 8, ["the cat sat"] * 8, "lowercase"),
        (["THE CAT SAT"] * 8, ["The Cat sat"] * 8, "uppercase"),
        (["the cat, sat."] * 8, ["the cat sat"] * 8, "punctuation-to-space"),
        (["caf\u00e9 noir"] * 8, ["cafe\u0301 noir"] * 8, "nfc"),
        (["it\u2019s so"] * 8, ["it's so"] * 8, "fold-quotes"),
        (["a \u2013 b"] * 8, ["a - b"] * 8, "fold-dashes"),
        (["caf\u00e9 noir"] * 8, ["cafe noir"] * 8, "strip-accents"),
    ],
)
def test_different_normalization_is_warned_about(references: list[str], hypotheses: list[str], name: str) -> None:
    pairs = [dict(enumerate(texts)) for texts in (references, hypotheses)]
    left, right = ({str(i): text for i, text in side.items()} for side in pairs)
    assert any(name in warning for warning in score(left, right, samples=0).warnings)
    remedy = Normalizer(("nfc", name, "collapse-spaces"))
    assert score(left, right, normalizer=remedy, samples=0).warnings == ()


def test_honest_errors_are_not_warned_about() -> None:
    references = {str(i): "The cat, sat. Café" for i in range(10)}
    hypotheses = {str(i): "The cat sat. Cafe" if i == 0 else "The bat, sat. Café" for i in range(10)}
    assert score(references, hypotheses, samples=0).warnings == ()


def test_bootstrap_agrees_with_the_normal_approximation() -> None:
    generator = np.random.default_rng(5)
    errors = generator.binomial(10, 0.2, size=2000)
    rows = np.stack([errors, np.full(2000, 10)], axis=1).astype(np.int64)
    sums = resample_sums(rows, 2000, seed=1)
    interval = rate_interval(sums[:, 0], sums[:, 1])
    rate, half = errors.mean() / 10, 1.96 * errors.std() / 10 / 2000**0.5
    assert interval.low == pytest.approx(rate - half, abs=0.1 * half)
    assert interval.high == pytest.approx(rate + half, abs=0.1 * half)
    assert (sums == resample_sums(rows, 2000, seed=1)).all()
    assert (sums != resample_sums(rows, 2000, seed=2)).any()


def test_bootstrap_is_the_mean_of_plain_resampling() -> None:
    rows = np.arange(12, dtype=np.int64).reshape(6, 2)
    sums = resample_sums(rows, 4000, seed=3)
    assert sums.shape == (4000, 2)
    assert sums.mean(axis=0) == pytest.approx(rows.sum(axis=0), rel=0.02)
    assert set(np.unique(sums[:, 1] - sums[:, 0])) == {6.0}


def test_speakers_are_drawn_as_wholes() -> None:
    """Two speakers, one all right and one all wrong: drawing speakers, the rate is 0, 1/2 or 1."""
    rows = np.array([[1, 1]] * 50 + [[0, 1]] * 50, np.int64)
    sums = resample_sums(sum_by_group(rows, ["x"] * 50 + ["y"] * 50), 500)
    assert set(np.unique(sums[:, 0] / sums[:, 1])) == {0.0, 0.5, 1.0}
    texts = {str(i): "a" for i in range(100)}
    wrong = {str(i): "b" if i < 50 else "a" for i in range(100)}
    report = score(texts, wrong, {str(i): "x" if i < 50 else "y" for i in range(100)})
    assert report.units["words"].group_interval == (0.0, 1.0)
    by_example = report.units["words"].interval
    assert by_example is not None and 0.35 < by_example.low < 0.5 < by_example.high < 0.65


def test_calibration_by_hand() -> None:
    result = calibrate([0.05, 0.15, 0.95, 0.95, 1.0], [False, True, True, True, False])
    assert result is not None
    assert [(b.low, b.items) for b in result.bins] == [(0.0, 1), (0.1, 1), (0.9, 3)]
    expected = (1 * 0.05 + 1 * 0.85 + 3 * abs(2 / 3 - 2.9 / 3)) / 5
    assert result.expected_error == pytest.approx(expected)
    assert calibrate([], []) is None
    with pytest.raises(InputError, match="got 1.5"):
        calibrate([1.5], [True])
    assert words_correct("the cat sat", ["the", "hat", "sat", "down"]) == [True, False, True, False]


def test_confusion_matrix_counts_everything_once() -> None:
    report = score({"1": "abab c", "2": "b"}, {"1": "abba", "2": "bx"}, samples=0)
    units, matrix = report.confusions["characters"].matrix()
    assert units[-1] == ""
    counts = report.units["characters"].counts
    off_diagonal = sum(n for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j)
    assert off_diagonal == counts.errors
    for unit, row in zip(units[:-1], matrix, strict=False):
        assert sum(row) == sum(text.count(unit) for text in ("abab c", "b"))


def test_rare_pairs_are_dropped_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctcrec.scoring.confusions._MOST_PAIRS", 10)
    confusions = Confusions()
    for i in range(50):
        confusions.add([str(i), "x"], ["y", "z"], [("replace", 0, 2, 0, 2)])
    confusions.finish()
    assert confusions.substitutions == {("x", "z"): 50}
