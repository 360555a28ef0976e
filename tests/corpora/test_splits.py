"""Splits: decided by the id alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcrec.corpora.splits import (
    by_folder_name,
    by_fraction,
    by_list,
    by_top_folder,
    group_of,
    hash_fraction,
    parse_split,
)
from ctcrec.errors import CorpusError, InputError

IDS = [f"book{number // 20}/{number:05d}" for number in range(4000)]


def test_hash_fraction_is_fixed_forever() -> None:
    """Manifests made with another version, machine or Python must agree."""
    assert hash_fraction("a") == 0.2537936105758485
    assert hash_fraction("Mu\u0308ller") == hash_fraction("M\u00fcller")  # file systems differ in NFC and NFD


@given(st.text())
def test_hash_fraction_is_below_one(key: str) -> None:
    assert 0 <= hash_fraction(key) < 1


def test_fractions_are_met_on_average() -> None:
    split = by_fraction({"train": 0.7, "valid": 0.1, "test": 0.1})
    names = [split.assign(identifier) for identifier in IDS]
    assert split.names == ("train", "valid", "test")
    for name, share in (("train", 0.7), ("valid", 0.1), ("test", 0.1), (None, 0.1)):
        assert names.count(name) / len(IDS) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("fractions", [{"a": 1.0}, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.1, "c": 0.8}])
def test_fractions_that_sum_to_one_leave_nothing_over(fractions: dict[str, float]) -> None:
    split = by_fraction(fractions)
    assert all(split.assign(identifier) is not None for identifier in IDS)


def test_whole_folders_stay_together() -> None:
    split = by_fraction({"train": 0.5, "test": 0.5}, whole_folders=True)
    by_group: dict[str | None, set[str | None]] = {}
    for identifier in IDS:
        by_group.setdefault(group_of(identifier), set()).add(split.assign(identifier))
    assert all(len(names) == 1 for names in by_group.values())
    assert {"train", "test"} == set().union(*by_group.values())
    assert split.assign("a/x/1") == split.assign("a/y/2")  # the book, not its page
    assert split.assign("lonely") is None


@pytest.mark.parametrize("fractions", [{}, {"a": 0.0}, {"a": -0.1, "b": 0.5}, {"a": 0.8, "b": 0.3}])
def test_impossible_fractions(fractions: dict[str, float]) -> None:
    with pytest.raises(InputError, match="sum to at most 1"):
        by_fraction(fractions)


def test_folders_by_name() -> None:
    split = by_folder_name({"test": ["1801_*", "x"], "train": ["*"]})
    assert [split.assign(name) for name in ("1801_a/1", "x/1", "xx/1", "1")] == ["test", "test", "train", None]


def test_top_folders() -> None:
    split = by_top_folder()
    assert split.assign("train/book/1") == "train"
    assert group_of("train/book/1", split.levels) == "book"
    assert group_of("train/1", split.levels) is None
    assert split.assign("1") is None


def test_lists(tmp_path: Path) -> None:
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("\ufeffa/1\n./a/2.png  # a comment\n\n# another\na\\3.gt.txt\n", encoding="utf-8")
    test.write_text("b/1.v2\r\nb/2.nrm.png\r\n")
    split = by_list({"train": train, "test": test}, (".png", ".nrm.png", ".gt.txt"))
    assert split.names == ("train", "test")
    assert split.listed == {"a/1": train, "a/2": train, "a/3": train, "b/1.v2": test, "b/2": test}
    assert [split.assign(name) for name in ("a/3", "b/1.v2", "c")] == ["train", "test", None]


def test_bad_lists(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("a\nb\n")
    second.write_text("b\n")
    with pytest.raises(CorpusError, match=r"second\.txt: b is also in .*first\.txt"):
        by_list({"train": first, "test": second})
    with pytest.raises(CorpusError, match="no such file"):
        by_list({"train": tmp_path / "none.txt"})
    with pytest.raises(CorpusError, match="cannot be read"):
        by_list({"train": tmp_path})
    second.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorpusError, match="is not UTF-8"):
        by_list({"train": second})
    second.write_text("# nothing\n")
    with pytest.raises(CorpusError, match="names no example"):
        by_list({"train": second})


@pytest.mark.parametrize(
    ("text", "identifier", "name"),
    [
        ("all=1", "x", "all"),
        ("train=1.0", "x", "train"),
        ("folders:train=1", "b/x", "train"),
        ("folders:test=a+b*,train=*", "bc/x", "test"),
        ("folders:year=2020", "2020/x", "year"),
        ("folders", "dev/x", "dev"),
    ],
)
def test_parsing(text: str, identifier: str, name: str) -> None:
    assert parse_split(text).assign(identifier) == name


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=", "=0.5", "train=0.5,", "train=0.5,train=0.5", "train=x", "folders:", "folders:a=0.5,b=x*",
     "list:", "list:train", "file:train=0.5", "a/b=0.5", "train=0.5;test=0.5", "train=2", "train=nan"],
)  # fmt: skip
def test_unknown_forms_say_which_there_are(text: str) -> None:
    with pytest.raises(InputError, match="split"):
        parse_split(text)
