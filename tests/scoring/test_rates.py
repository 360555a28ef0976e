"""Counts and rates against jiwer, editdistance, all alignments, and values worked out by hand."""

import editdistance
import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.scoring import all_alignments, counts, edit_distance, sclite_pairs, weight

from ctcrec.errors import InputError
from ctcrec.scoring import (
    ErrorCounts,
    aligned_pairs,
    character_counts,
    error_counts,
    format_alignment,
    grapheme_counts,
    word_counts,
)

words = st.lists(st.sampled_from(["a", "b", "c", "ab"]), max_size=12)
short = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4)
texts = st.text(alphabet="ab é\u0301😀", max_size=12)


def as_tuple(value: ErrorCounts) -> tuple[int, int, int, int]:
    return value.hits, value.substitutions, value.deletions, value.insertions


@given(words, words)
@settings(deadline=None)
def test_word_counts_agree_with_jiwer_and_editdistance(reference: list[str], hypothesis: list[str]) -> None:
    ours = word_counts(" ".join(reference), " ".join(hypothesis))
    theirs = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert as_tuple(ours) == (theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    assert ours.errors == editdistance.eval(reference, hypothesis) == edit_distance(reference, hypothesis)
    assert ours.reference_length == len(reference)


@given(texts, texts)
@settings(deadline=None)
def test_character_counts_agree_with_jiwer_and_editdistance(reference: str, hypothesis: str) -> None:
    ours = character_counts(reference, hypothesis)
    theirs = jiwer.process_characters(reference, hypothesis)
    assert as_tuple(ours) == (theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    assert ours.errors == editdistance.eval(reference.strip(), hypothesis.strip())


@given(short, short)
@settings(deadline=None)
def test_counts_are_the_best_of_all_alignments(reference: list[str], hypothesis: list[str]) -> None:
    every = list(all_alignments(reference, hypothesis))
    minimum = word_counts(" ".join(reference), " ".join(hypothesis))
    assert minimum.errors == min(sum(weight(pair, 1, 1) for pair in pairs) for pairs in every)
    assert as_tuple(minimum) in {counts(pairs) for pairs in every}
    sclite = word_counts(" ".join(reference), " ".join(hypothesis), alignment="sclite")
    cheapest = min(sum(weight(pair, 4, 3) for pair in pairs) for pairs in every)
    assert 4 * sclite.substitutions + 3 * (sclite.deletions + sclite.insertions) == cheapest


@given(words, words)
@settings(deadline=None)
def test_sclite_alignment_is_the_oracle_s(reference: list[str], hypothesis: list[str]) -> None:
    assert aligned_pairs(reference, hypothesis, "sclite") == sclite_pairs(reference, hypothesis)


@given(words, words, st.sampled_from(["minimum", "sclite"]))
@settings(deadline=None)
def test_pairs_spell_both_sides(reference: list[str], hypothesis: list[str], alignment: str) -> None:
    pairs = aligned_pairs(reference, hypothesis, alignment)  # type: ignore[arg-type]
    assert [a for a, _ in pairs if a is not None] == reference
    assert [b for _, b in pairs if b is not None] == hypothesis
    assert counts(pairs) == as_tuple(word_counts(" ".join(reference), " ".join(hypothesis), alignment))  # type: ignore[arg-type]


def test_sclite_weights_can_give_more_errors_than_the_minimum() -> None:
    # Three substitutions cost 12; a deletion, an insertion and two hits that they make possible cost 6.
    reference, hypothesis = "a b c d e", "b x c e d"
    assert as_tuple(word_counts(reference, hypothesis)) != as_tuple(word_counts(reference, hypothesis, "sclite"))
    assert word_counts("a b", "b c").errors == word_counts("a b", "b c", "sclite").errors == 2
    assert word_counts("a b", "b c", "sclite") == ErrorCounts(1, 0, 1, 1)


def test_graphemes_are_what_a_reader_counts() -> None:
    flag, family, accent = "🇫🇷", "👨‍👩‍👧", "e\u0301"
    assert grapheme_counts(flag + family + accent, "🇩🇪" + family + "e") == ErrorCounts(1, 2, 0, 0)
    assert character_counts(flag + family + accent, "🇩🇪" + family + "e").reference_length == 2 + 5 + 2
    assert grapheme_counts("plain text", "plan text") == character_counts("plain text", "plan text")
    assert grapheme_counts("a\r\nb", "ab").reference_length == 3


def test_empty_references_count_insertions() -> None:
    assert word_counts("", "a b") == ErrorCounts(0, 0, 0, 2)
    assert word_counts("", "a b").rate == 2.0
    assert word_counts("", "").rate == 0.0
    assert word_counts("a b", "") == ErrorCounts(0, 0, 2, 0)
    assert (word_counts("", "a") + word_counts("a b c d", "a b c d")).rate == 0.25


def test_counts_add_up_and_outer_spaces_do_not_count() -> None:
    assert ErrorCounts(1, 2, 3, 4) + ErrorCounts(10, 20, 30, 40) == ErrorCounts(11, 22, 33, 44)
    assert sum([ErrorCounts(1), ErrorCounts(2)], ErrorCounts()) == ErrorCounts(3)
    assert ErrorCounts(4, 1, 1, 1).rate == 0.5
    assert character_counts(" a b ", "a b\n").errors == 0
    assert character_counts("a b", "a  b").insertions == 1


def test_published_values() -> None:
    """Morris, Maier & Green 2004, and the textbook distance of Levenshtein."""
    assert character_counts("kitten", "sitting") == ErrorCounts(4, 2, 0, 1)
    assert character_counts("sunday", "saturday").errors == 3


def test_unknown_alignment() -> None:
    with pytest.raises(InputError, match="minimum, sclite"):
        error_counts("a", "b", alignment="best")  # type: ignore[arg-type]


def test_format_alignment() -> None:
    pairs = aligned_pairs(["the", "cat", "sat", "down"], ["the", "hat", "that", "sat"])
    assert format_alignment([("the", "the"), ("cat", "hat"), (None, "that"), ("down", None)]) == (
        "REF: the cat **** down\nHYP: the hat that ****\n         S   I    D"
    )
    assert len(format_alignment(pairs * 20, width=60).splitlines()) > 6
    assert all(len(line) <= 60 for line in format_alignment(pairs * 20, width=60).splitlines())
    assert format_alignment([("漢字", "a")]) == "REF: 漢字\nHYP: a\n     S"
