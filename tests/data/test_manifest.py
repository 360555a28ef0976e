"""Manifests: round trip, and an error that starts with file and line for every kind of bad row."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctcrec.data.manifest import iterate_manifest, read_manifest, read_manifests, write_manifest
from ctcrec.errors import ManifestError
from ctcrec.records import Example

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SECONDS = st.floats(0, 1e6, allow_nan=False) | st.none()
PIXELS = st.integers(0, 10**6) | st.none()


def row(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "source": "a.wav", "text": "b", **changes}


def manifest(folder: Path, *rows: Any) -> Path:
    path = folder / "train.jsonl"
    lines = [item if isinstance(item, str) else json.dumps(item) for item in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=TEXT | st.none(), start=SECONDS, end=SECONDS, width=PIXELS, speaker=TEXT | st.none(),
    extra=st.dictionaries(TEXT.map(lambda key: f"x-{key}"), TEXT | st.integers() | st.booleans(), max_size=3),
)  # fmt: skip
def test_round_trip(tmp_path: Path, **fields: Any) -> None:
    media = tmp_path / "media" / "ä b.wav"
    example = Example("id 1", media, **fields)
    path = tmp_path / "lists" / "train.jsonl"
    assert write_manifest(path, [example]) == 1
    [read] = read_manifest(path)
    assert read.source.resolve() == media.resolve()
    for name in ("id", "text", "start", "end", "width", "speaker", "extra"):
        assert getattr(read, name) == getattr(example, name)


def test_sources_are_relative_to_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write_manifest(folder / "train.jsonl", [Example("a", folder / "wav" / "a.wav"), Example("b", tmp_path / "b.wav")])
    written = [json.loads(line)["source"] for line in (folder / "train.jsonl").read_text().splitlines()]
    assert written == ["wav/a.wav", "../b.wav"]
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert read_manifest(moved / "train.jsonl")[0].source == moved / "wav" / "a.wav"


def test_absolute_sources_stay(tmp_path: Path) -> None:
    absolute = tmp_path / "far" / "a.wav"
    assert read_manifest(manifest(tmp_path, row(source=str(absolute))))[0].source == absolute


def test_empty_lines_and_nulls_are_no_rows(tmp_path: Path) -> None:
    [example] = read_manifest(manifest(tmp_path, "", row(speaker=None, note="kept"), "   "))
    assert example.speaker is None
    assert example.extra == {"note": "kept"}


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"id": ' + "1" * 5000 + "}", "is not valid JSON"),
        (row(width=10**400), "width must be a whole number ≥ 0, got 1000000"),
        ("[1]", "expected a JSON object with id and source, got list"),
        ({"source": "a.wav"}, "the key 'id' is missing"),
        ({"id": "a"}, "the key 'source' is missing"),
        ({"id": "a", "source": "b"}, "the key 'text' is missing"),
        (row(id=""), "must not be empty"),
        (row(source="a\ud800b"), "must not be empty, and source must be a file name"),
        (row(source="a\0b"), "must not be empty, and source must be a file name"),
        (row(id=3), "id must be a string, got 3"),
        (row(source=["x"]), "source must be a string"),
        (row(text=1.5), "text must be a string"),
        (row(duration="3"), "duration must be a number ≥ 0, got '3'"),
        (row(duration=-1), "duration must be a number ≥ 0, got -1"),
        (row(start=True), "start must be a number ≥ 0"),
        ('{"id": "a", "source": "b", "text": "c", "end": NaN}', "end must be a number ≥ 0, got nan"),
        (row(width=3.5), "width must be a whole number ≥ 0, got 3.5"),
        (row(height=-2), "height must be a whole number ≥ 0"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, bad: Any, expected: str) -> None:
    path = manifest(tmp_path, row(id="first"), "", bad)
    with pytest.raises(ManifestError) as raised:
        read_manifest(path, require_text=True)
    assert str(raised.value).startswith(f"{path}:3: {expected}" if "must not" not in expected else f"{path}:3: ")
    assert expected in str(raised.value)


def test_text_may_be_missing_where_it_is_not_needed(tmp_path: Path) -> None:
    assert read_manifest(manifest(tmp_path, {"id": "a", "source": "a.wav"}))[0].text is None


def test_ids_are_unique_over_all_manifests(tmp_path: Path) -> None:
    first = manifest(tmp_path, row(id="a"), row(id="b"))
    second = tmp_path / "second.jsonl"
    second.write_text(json.dumps(row(id="b")), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"second\.jsonl: id 'b' occurs twice \(first in .*train\.jsonl\)"):
        read_manifests([first, second])
    with pytest.raises(ManifestError, match="occurs twice"):
        read_manifest(manifest(tmp_path, row(), row()))


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: no such manifest"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no examples"):
        read_manifest(manifest(tmp_path))
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"id": "\xe4"}\n')
    with pytest.raises(ManifestError, match="is not UTF-8 text"):
        read_manifest(path)


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_manifest(path, [Example("old", tmp_path / "a.wav")])

    def broken() -> Any:
        yield Example("new", tmp_path / "a.wav")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_manifest(path, broken())
    assert [example.id for example in read_manifest(path)] == ["old"]


def test_rows_come_one_at_a_time(tmp_path: Path) -> None:
    rows = iterate_manifest(manifest(tmp_path, row(), "{"))
    assert next(rows).id == "a"
    with pytest.raises(ManifestError):
        next(rows)


@pytest.mark.slow
def test_fuzz(tmp_path: Path) -> None:
    """10,000 damaged manifests: bytes changed, cut out, doubled; keys with other values. Only ManifestError comes."""
    generator = random.Random(0)
    keys = ["source", "text", "start", "end", "duration", "width", "speaker", "x"]
    values = [None, True, -1, 0, 1.5, 1e308, 10**30, "", "a", "\0", "\ud800", "../../x", [], {}, [[1]], {"a": None}]
    path = tmp_path / "train.jsonl"
    read = 0
    for _ in range(10_000):
        rows = [row(id=name) for name in "abc"]
        rows[0][generator.choice(keys)] = generator.choice(values)
        data = bytearray("\n".join(map(json.dumps, rows)).encode())
        for _ in range(generator.choice([0, 0, 1, 2, 3])):
            place, length = generator.randrange(len(data)), generator.randrange(1, 6)
            data[place : place + length] = generator.choice(
                [
                    generator.randbytes(length),
                    b"",
                    b"{[" * length,
                    data[place : place + length] * 2,
                    b"NaN",
                    b"\n",
                    b"1" * 40,
                ]
            )
            data = data or bytearray(b"{")
        path.write_bytes(data)
        try:
            examples = read_manifest(path)
        except ManifestError as error:
            assert str(error).startswith(str(path))
        else:
            read += 1
            write_manifest(tmp_path / "again.jsonl", examples)
            assert read_manifest(tmp_path / "again.jsonl") == [
                dataclasses.replace(example, source=tmp_path / os.path.relpath(example.source.resolve(), tmp_path))
                for example in examples
            ]
    assert 1000 < read < 9000


def test_links_to_media_keep_their_names(tmp_path: Path) -> None:
    """Also links that lead nowhere, and folders that are links."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "8f2a").touch()
    (tmp_path / "media").symlink_to(tmp_path / "store")
    (tmp_path / "a.wav").symlink_to(tmp_path / "store" / "8f2a")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    sources = [tmp_path / "a.wav", tmp_path / "loop.wav", tmp_path / "media" / "8f2a"]
    path = tmp_path / "media" / "lists" / "train.jsonl"
    write_manifest(path, [Example(str(number), source) for number, source in enumerate(sources)])
    written = [json.loads(line)["source"] for line in path.read_text().splitlines()]
    assert written == ["../../a.wav", "../../loop.wav", "../8f2a"]
    assert read_manifest(path)[0].source.samefile(sources[0])


def test_malformed_rows_can_be_handed_over(tmp_path: Path) -> None:
    errors: list[ManifestError] = []
    path = manifest(tmp_path, row(id="a"), "{", row(id=""), row(id="b"))
    assert [example.id for example in iterate_manifest(path, malformed=errors.append)] == ["a", "b"]
    assert [str(error).partition(": ")[0] for error in errors] == [f"{path}:2", f"{path}:3"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_and_texts_that_are_not_unicode_are_written_and_read(tmp_path: Path) -> None:
    media = tmp_path / os.fsdecode(b"latin1-\xe4.wav")
    write_manifest(tmp_path / "train.jsonl", [Example("a", media, "half \ud83d a pair"), Example("b", media, "ä")])
    first, second = read_manifest(tmp_path / "train.jsonl")
    assert (first.source, first.text, second.text) == (media, "half \ud83d a pair", "ä")
