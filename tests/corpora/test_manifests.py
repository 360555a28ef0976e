"""Merging, filtering, sampling and splitting of manifests, from Python and from the command line."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command import Command
from hypothesis import given
from hypothesis import strategies as st

from ctcrec.corpora.manifests import by_group, by_text, filter_examples, merge, sample, split_by_group, within
from ctcrec.corpora.splits import by_fraction, hash_fraction, parse_fractions
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.errors import CorpusError, InputError
from ctcrec.records import Example

SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def utterance(number: int, **changes: Any) -> Example:
    fields = {"text": f"word {number}", "duration": 2.0 + number % 5, "speaker": f"s{number % 40}", **changes}
    return Example(f"u{number:04}", Path(f"wav/{number}.wav"), **fields)


MANY = [utterance(number) for number in range(400)]


def ids(examples: Sequence[Example]) -> list[str]:
    return [example.id for example in examples]


def shuffled(examples: Sequence[Example]) -> list[Example]:
    return random.Random(1).sample(list(examples), len(examples))


# --- merge ---


def test_merge_takes_equal_examples_once(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "below" / "b.jsonl"
    examples = [Example(name, tmp_path / f"{name}.wav", name, extra={"take": 1}) for name in "xyz"]
    write_manifest(first, examples[:2])
    write_manifest(second, examples[1:])
    merged = merge([first, second], "all")
    assert ids(merged.splits["all"]) == ["x", "y", "z"]
    assert [(item.what, item.reason) for item in merged.left_out] == [("y", "is there twice, with the same content")]


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"text": "other"}, "another text"),
        ({"source": Path("other.wav")}, "another source"),
        ({"start": 0.5, "end": 1.0}, "another start, end"),
        ({"speaker": None}, "another speaker"),
        ({"extra": {"take": 2}}, "another take"),
    ],
)
def test_merge_refuses_equal_ids_with_other_content(tmp_path: Path, changes: dict[str, Any], differing: str) -> None:
    fields: dict[str, Any] = {"source": Path("a.wav"), "text": "t", "speaker": "s", "extra": {"take": 1}}
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, change in zip(paths, ({}, changes), strict=True):
        values = {**fields, **change}
        write_manifest(path, [Example("x", tmp_path / values.pop("source"), **values)])
    with pytest.raises(CorpusError, match=rf"b\.jsonl: id 'x' is also in .*a\.jsonl, with {differing};"):
        merge(paths, "all")


# --- filter ---


def filtered(examples: Sequence[Example], *conditions: Any) -> tuple[list[str], dict[str, str]]:
    result = filter_examples(examples, conditions, "kept")
    return ids(result.splits["kept"]), {item.what: item.reason for item in result.left_out}


def test_filter_by_bounds() -> None:
    part = Example("part", Path("p.wav"), "abc", start=3.0, end=4.5, duration=60.0)
    rest = Example("rest", Path("r.wav"), "abcdef", start=58.0, duration=60.0)
    line = Example("line", Path("l.png"), "a", width=100, height=20)
    assert filtered([part, rest], within("duration", 1.5, 1.9)) == (["part"], {"rest": "duration is above 1.9"})
    assert filtered([part, rest], within("characters", 4, None)) == (["rest"], {"part": "characters is below 4"})
    assert filtered([line], within("width", None, 100), within("height", 20, 20)) == (["line"], {})
    with pytest.raises(CorpusError, match="example 'line': has no duration"):
        filtered([part, line], within("duration", 1, 2))
    with pytest.raises(CorpusError, match="example 'x': has no text"):
        filtered([Example("x", Path("x"))], within("characters", 1, 2))
    with pytest.raises(InputError, match="no duration is both at least 3 and at most 2"):
        within("duration", 3, 2)
    with pytest.raises(InputError, match="'loudness' cannot be filtered by; there are: duration"):
        within("loudness", 1, 2)


def test_filter_by_text_and_names() -> None:
    examples = [utterance(1, text="12 apples"), utterance(2, text="pears", speaker=None), utterance(3, text="apples")]
    assert filtered(examples, by_text(r"\d"))[0] == ["u0001"]
    assert filtered(examples, by_text(r"\d", wanted=False)) == (["u0002", "u0003"], {"u0001": r"text matches \d"})
    assert filtered(examples, by_group(["s1", "x*"]))[0] == ["u0001"]
    assert filtered(examples, by_group(["s[13]"], wanted=False))[0] == ["u0002"]
    assert filtered(examples, by_group(["*2"], True, "id"))[0] == ["u0002"]
    assert filtered(examples, by_text("apples"), by_group(["s3"], wanted=False))[0] == ["u0001"]
    with pytest.raises(InputError, match=r"'\(' is no regular expression"):
        by_text("(")
    with pytest.raises(InputError, match="nothing to filter by"):
        filtered(examples)


# --- sample ---


def test_samples_depend_on_the_seed_alone() -> None:
    ten = ids(sample(MANY, "s", count=10).splits["s"])
    assert len(ten) == 10 and ten == sorted(ten)
    assert set(ids(sample(shuffled(MANY), "s", count=10).splits["s"])) == set(ten)
    assert set(ten) < set(ids(sample(MANY, "s", count=50).splits["s"]))
    assert set(ids(sample(MANY, "s", count=10, seed=2).splits["s"])) != set(ten)


def test_samples_by_hours_do_not_exceed_them() -> None:
    chosen = sample(MANY, "s", hours=0.1).splits["s"]
    seconds = sum(example.duration or 0 for example in chosen)
    assert 360 - 6 < seconds <= 360
    whole = sum(example.duration or 0 for example in MANY)
    assert len(sample(MANY, "s", hours=whole / 3600).splits["s"]) == len(MANY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a count or hours"),
        ({"count": 1, "hours": 1.0}, "either a count or hours"),
        ({"count": 401}, "401 examples was asked for, and only 400 are there"),
        ({"hours": 9.0}, "9 hours were asked for, and only 0.444 are there"),
    ],
)
def test_impossible_samples(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(MANY, "s", **options)


def test_hours_need_durations() -> None:
    with pytest.raises(CorpusError, match="example 'l': has no duration"):
        sample([Example("l", Path("l.png"), "x", width=5, height=5)], "s", hours=1)


# --- split ---


def test_split_keeps_groups_whole_and_ignores_order() -> None:
    splits = split_by_group(MANY, SHARES).splits
    assert sum(map(len, splits.values())) == 400 and all(splits.values())
    where = {example.id: name for name, examples in splits.items() for example in examples}
    speakers = [{example.speaker for example in examples} for examples in splits.values()]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 40
    again = split_by_group(shuffled(MANY)[:300], SHARES).splits
    assert {example.id: name for name, examples in again.items() for example in examples}.items() <= where.items()
    assert all(where[example.id] == by_fraction(SHARES).assign(example.speaker or "") for example in MANY)
    other = split_by_group(MANY, SHARES, seed=3).splits
    assert {example.id: name for name, examples in other.items() for example in examples} != where


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), min_size=1, max_size=30))
def test_no_speaker_or_writer_is_ever_in_two_splits(people: list[tuple[str, str]]) -> None:
    examples = [
        Example(str(index), Path("x"), "t", speaker=speaker, writer=writer)
        for index, (speaker, writer) in enumerate(people)
    ]
    try:
        splits = split_by_group(examples, {"train": 0.5, "test": 0.5}).splits
    except CorpusError:
        return
    for kind in ("speaker", "writer"):
        groups = [{getattr(example, kind) for example in found} for found in splits.values()]
        assert not groups[0] & groups[1]


def test_split_by_other_keys() -> None:
    books = [utterance(number, extra={"book": number // 10}, speaker=None) for number in range(400)]
    splits = split_by_group(books, SHARES, "book").splits
    seen = [{example.extra["book"] for example in examples} for examples in splits.values()]
    assert sum(map(len, seen)) == 40
    pages = [Example(f"b{number // 10}/{number}", Path("x"), "t") for number in range(400)]
    splits = split_by_group(pages, SHARES, "folder").splits
    seen = [{example.id.split("/")[0] for example in examples} for examples in splits.values()]
    assert sum(map(len, seen)) == 40
    assert all(split_by_group(pages, SHARES, "id").splits.values())
    half = split_by_group(pages, {"test": 0.5}, "id")
    assert {item.reason for item in half.left_out} == {"is in no split"}


def test_split_refuses_what_would_leak() -> None:
    with pytest.raises(CorpusError, match=r"speaker 's\d+' would be in (train|valid|test) and in .*split --by speaker"):
        split_by_group(MANY, SHARES, "id")
    with pytest.raises(CorpusError, match="example 'u0000': has no book; choose with --by"):
        split_by_group(MANY, SHARES, "book")
    with pytest.raises(CorpusError, match="example 'x': has no speaker or writer"):
        split_by_group([Example("x", Path("x"), "t")], SHARES)
    with pytest.raises(CorpusError, match="no example came into .*: 1 groups are too few"):
        split_by_group(MANY[:1], SHARES)
    with pytest.raises(InputError, match="sum to at most 1"):
        split_by_group(MANY, {"train": 0.9, "test": 0.9})


def test_shares() -> None:
    assert parse_fractions("train=0.8,dev-a=.1,test=0.1") == {"train": 0.8, "dev-a": 0.1, "test": 0.1}
    for text in ("", "folders:train=1", "train=x", "train=0.5,train=0.5", "a/b=1"):
        with pytest.raises(InputError, match="expected names with shares"):
            parse_fractions(text)


def test_hashes_of_names_that_are_not_unicode() -> None:
    assert 0 <= hash_fraction("latin1-\udce4") < 1


# --- commands ---


def test_commands(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "all.jsonl"
    write_manifest(path, [utterance(number, extra={"book": number % 30}) for number in range(120)])
    done = command("prepare", "split", path, "--out", tmp_path / "split", "--split", "train=0.7,test=0.3")
    assert done.code == 0 and "train.jsonl: " in done.out and "speakers" in done.out
    train, test = (tmp_path / "split" / f"{name}.jsonl" for name in ("train", "test"))
    done = command("prepare", "merge", train, test, "--out", tmp_path / "merged.jsonl")
    assert done.code == 0
    assert sorted(ids(read_manifest(tmp_path / "merged.jsonl"))) == ids(read_manifest(path))
    done = command(
        "prepare", "filter", path, "--out", tmp_path / "short.jsonl", "--max-duration", 3, "--without-speaker", "s1*"
    )
    assert done.code == 0 and "duration is above 3" in done.out and "speaker is s1*" in done.out
    short = read_manifest(tmp_path / "short.jsonl")
    assert short and all(example.duration in (2.0, 3.0) and example.speaker != "s11" for example in short)
    done = command("prepare", "sample", path, "--out", tmp_path / "few.jsonl", "--count", 7)
    assert done.code == 0 and len(read_manifest(tmp_path / "few.jsonl")) == 7


def test_command_errors(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "all.jsonl"
    write_manifest(path, MANY[:40])
    assert "would overwrite" in command.fails("prepare", "sample", path, "--count", 1, "--out", path)
    assert "is called FILE.jsonl" in command.fails("prepare", "merge", path, "--out", tmp_path / "x")
    assert "nothing to filter by" in command.fails("prepare", "filter", path, "--out", tmp_path / "x.jsonl")
    message = command.fails("prepare", "filter", path, "--out", tmp_path / "x.jsonl", "--text", "nowhere")
    assert "no examples were found, nothing was written: 40 left out: text does not match nowhere" in message
    (tmp_path / "train.jsonl").write_bytes(path.read_bytes())
    message = command.fails("prepare", "split", tmp_path / "train.jsonl", "--out", tmp_path, "--split", "train=1")
    assert "would overwrite" in message
    (tmp_path / "file").touch()
    message = command.fails("prepare", "sample", path, "--count", 1, "--out", tmp_path / "file" / "x.jsonl")
    assert "choose another --out" in message
    assert not (tmp_path / "x.jsonl").exists()
