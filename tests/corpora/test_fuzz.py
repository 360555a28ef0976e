"""Readers of corpora on damaged and hostile files: they give examples or raise errors of ctcrec, nothing else.

Each target is a small valid corpus; a file of it is damaged by random edits, or replaced by random text or bytes. What
comes through must be written to a manifest and read back identically.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_files import ALTO_NAMESPACES, DrawnLine, DrawnPage, alto_xml, page_xml
from PIL import Image

from ctcrec.corpora import (
    Prepared,
    alto,
    commonvoice,
    fsdd,
    huggingface,
    iam,
    kaldi,
    lhotse,
    librispeech,
    ljspeech,
    nemo,
    page,
    pairs,
    tsv,
)
from ctcrec.corpora.markup import read_xml
from ctcrec.corpora.splits import by_list
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.errors import CtcrecError

LONG = 10_000  # inputs of each target in the slow test


@dataclasses.dataclass(frozen=True)
class Target:
    """A valid corpus, which of its files are damaged, and how it is read."""

    files: dict[str, bytes]
    damaged: tuple[str, ...]
    read: Callable[[Path, Path], Prepared]  # (source, out)
    tokens: tuple[bytes, ...] = ()  # pieces that edits put in


def sound() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.sin(np.arange(800) / 5) * 0.3, 8000, format="WAV")
    return stream.getvalue()


def picture(width: int = 40, height: int = 12) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 200).save(stream, "PNG")
    return stream.getvalue()


def rows(*values: dict[str, Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def parquet_and_arrow() -> tuple[bytes, bytes]:
    cells = [{"bytes": sound(), "path": "a.wav"}, {"bytes": None, "path": "a.wav"}]
    medium = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"audio": pa.array(cells, medium), "text": ["a", "b"], "id": ["x", "y"]})
    first, second = io.BytesIO(), io.BytesIO()
    pq.write_table(table, first)
    with pa.ipc.new_stream(second, table.schema) as writer:
        writer.write_table(table)
    return first.getvalue(), second.getvalue()


PAGE = DrawnPage(Image.new("L", (120, 60), 220))
PAGE.lines = [
    DrawnLine("l1", "one", [(5, 5), (110, 8), (110, 28), (5, 25)], [(5, 20), (60, 21), (110, 23)]),
    DrawnLine("l2", "two words", [(5, 30), (110, 30), (110, 55), (5, 55)], None),
]
PARQUET, ARROW = parquet_and_arrow()
NUMBERS = (b"0", b"-1", b"1e309", b"nan", b"9" * 400, b"1.5")
XML = (b"<", b">", b'"', b"&", b"&amp;", b"&#55296;", b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>", b"&x;")
JSON = (b'"', b"{", b"}", b"[", b"]", b"null", b"NaN", b"true", b"\\ud800", b"\\u0000", b'"id": 3,', b",")
PATHS = (b"../", b"/", b"\0", b"|", b"://", b"x" * 300)

TARGETS = {
    "iam ascii": Target(
        {
            "ascii/lines.txt": b"# x\na01-000u-00 ok 154 19 408 746 1661 89 A|B B C|.\n",
            "ascii/forms.txt": b"a01-000u 000 2 prt 7 5 52 36\n",
            "train.lst": b"a01-000u\n",
            "va.lst": b"b01-000-00\n",
            "te.lst": b"c01-000.png\n",
            "lines/a01/a01-000u/a01-000u-00.png": picture(),
        },
        ("ascii/lines.txt", "ascii/forms.txt", "train.lst", "va.lst"),
        lambda source, out: iam.prepare(source, "rwth", struck_out="drop"),
        (b"#", b"|", b" ", b"\n", b"err", b"-00", b"a01-000u-00 ", *NUMBERS, *PATHS),
    ),
    "iam xml": Target(
        {
            "xml/a01-000u.xml": b'<form id="a01-000u" writer-id="0"><handwritten-part><line id="a01-000u-00" text="A'
            b' &amp;quot;B&quot;"/></handwritten-part></form>',
            "tr.lst": b"a01-000u\n",
            "va.lst": b"b01-000\n",
            "te.lst": b"c01-000\n",
            "lines/a01/a01-000u/a01-000u-00.png": picture(),
        },
        ("xml/a01-000u.xml",),
        lambda source, out: iam.prepare(source, "rwth", "xml"),
        XML,
    ),
    "kaldi": Target(
        {
            "wav.scp": b"r a.wav\n",
            "segments": b"u r 0.01 0.09\n",
            "text": b"u ONE TWO\n",
            "utt2spk": b"u s\n",
            "a.wav": sound(),
        },
        ("wav.scp", "segments", "text", "utt2spk"),
        lambda source, out: kaldi.prepare(source),
        (b" ", b"\t", b"\n", b"u ", b"r ", b".ark:3", *NUMBERS, *PATHS),
    ),
    "nemo": Target(
        {"m.json": rows({"audio_filepath": "a.wav", "duration": 0.1, "offset": 0, "text": "x"}), "a.wav": sound()},
        ("m.json",),
        lambda source, out: nemo.prepare(source),
        (*JSON, *NUMBERS, *PATHS),
    ),
    "lhotse": Target(
        {
            "recordings.jsonl": rows({"id": "r", "sources": [{"type": "file", "source": "a.wav", "channels": [0]}]}),
            "supervisions.jsonl": rows({"id": "s", "recording_id": "r", "start": 0, "duration": 0.1, "text": "x"}),
            "a.wav": sound(),
        },
        ("recordings.jsonl", "supervisions.jsonl"),
        lambda source, out: lhotse.prepare(source),
        (*JSON, *NUMBERS, *PATHS),
    ),
    "gzip": Target(
        {
            "recordings.jsonl.gz": gzip.compress(rows({"id": "r", "sources": [{"source": "a.wav"}]})),
            "supervisions.jsonl.gz": gzip.compress(rows({"id": "s", "recording_id": "r", "text": "x"})),
            "a.wav": sound(),
        },
        ("recordings.jsonl.gz", "supervisions.jsonl.gz"),
        lambda source, out: lhotse.prepare(source),
    ),
    "ljspeech": Target(
        {"metadata.csv": "a|Größe 1|Größe eins\n".encode(), "wavs/a.wav": sound()},
        ("metadata.csv",),
        lambda source, out: ljspeech.prepare(source),
        (b"|", b"\n", b"a|", b"\xff", *PATHS),
    ),
    "commonvoice": Target(
        {"train.tsv": b"client_id\tpath\tsentence\tlocale\nme\ta.wav\thello\teo\n", "clips/a.wav": sound()},
        ("train.tsv",),
        lambda source, out: commonvoice.prepare(source),
        (b"\t", b"\n", b"path", b"\xff", *PATHS),
    ),
    "tsv": Target(
        {
            "t.tsv": b"path\ttext\tstart\tend\tid\tx\na.wav\thello\t0.01\t0.05\ti\ty\nb.png\tline\t\t\tj\t\n",
            "a.wav": sound(),
            "b.png": picture(),
        },
        ("t.tsv",),
        lambda source, out: tsv.prepare(source / "t.tsv"),
        (b"\t", b"\n", b"path", b"text", b".png", b"\xff", *NUMBERS, *PATHS),
    ),
    "page": Target(
        {"p1.xml": page_xml(PAGE, "p1.png").encode(), "p1.png": picture(120, 60)},
        ("p1.xml",),
        lambda source, out: page.prepare(source, out),
        (*XML, *NUMBERS, *PATHS, b"<Word>", b'index="7"', b"<TextRegion>", b",", b" "),
    ),
    "alto": Target(
        {"p1.xml": alto_xml(PAGE, "p1.png", ALTO_NAMESPACES[-1]).encode(), "p1.png": picture(120, 60)},
        ("p1.xml",),
        lambda source, out: alto.prepare(source, out),
        (*XML, *NUMBERS, *PATHS, b"mm10", b'IDNEXT="b1"', b"<SP/>", b",", b" "),
    ),
    "pairs": Target(
        {"b/a.png": picture(), "b/a.gt.txt": b"a line\n", "train.lst": b"b/a.png\n"},
        ("b/a.gt.txt", "train.lst"),
        lambda source, out: pairs.prepare(source, by_list({"train": source / "train.lst"}, pairs.ENDINGS)),
        (b"\n", b"#", b"b/a", b".gt.txt", b"\xff", *PATHS),
    ),
    "fsdd": Target(
        {f"0_anna_{index}.wav": sound() for index in (0, 5, 10, 11)},
        ("0_anna_0.wav", "0_anna_10.wav"),
        lambda source, out: fsdd.prepare(source, out, strings=1, test_strings=1, lengths=(2, 3)),
        (b"RIFF", b"WAVE", b"data", b"fmt ", b"\xff\xff\xff\xff", b"\0\0\0\0"),
    ),
    "librispeech": Target(
        {
            "SPEAKERS.TXT": b"; x\n84 | F | dev | 1.0 | Anna\n",
            "dev/84/121/84-121.trans.txt": b"84-121-0000 HELLO\n",
            "dev/84/121/84-121-0000.wav": sound(),
        },
        ("SPEAKERS.TXT", "dev/84/121/84-121.trans.txt"),
        lambda source, out: librispeech.prepare(source),
        (b"|", b"\n", b"84-121-0000 ", b" ", b"\xff", *PATHS),
    ),
    "parquet": Target(
        {"train-00000-of-00001.parquet": PARQUET, "a.wav": sound()},
        ("train-00000-of-00001.parquet",),
        lambda source, out: huggingface.prepare(source, out),
    ),
    "arrow": Target(
        {"state.json": b'{"_data_files": [{"filename": "d.arrow"}]}', "d.arrow": ARROW, "a.wav": sound()},
        ("state.json", "d.arrow"),
        lambda source, out: huggingface.prepare(source, out),
        JSON,
    ),
}


def edits(data: bytes, tokens: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """`data` with up to 6 pieces replaced by tokens, random bytes or nothing; or something else altogether."""
    piece = st.one_of(st.sampled_from([b"", *tokens]), st.binary(max_size=8), st.text(max_size=4).map(encoded))
    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 12), piece)

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        result = data
        for position, length, new in changes:
            result = result[:position] + new + result[position + length :]
        return result

    anything = st.one_of(st.binary(max_size=200), st.text(max_size=100).map(encoded), st.lists(piece).map(b"".join))
    cut = st.integers(0, len(data)).map(lambda size: data[:size])
    changed = st.lists(edit, min_size=1, max_size=6).map(apply)
    return st.one_of(changed, changed, changed, cut, anything)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def run(name: str, folder: Path, inputs: int) -> None:
    """Read `inputs` damaged copies of a target."""
    target = TARGETS[name]
    source, out = folder / "source", folder / "out"
    for file, data in target.files.items():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes(data)
    intact = target.read(source, out)
    assert any(intact.splits.values()), "the target must be valid before it is damaged"

    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=inputs < LONG,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of([st.tuples(st.just(file), edits(target.files[file], target.tokens)) for file in target.damaged]))
    def damage(damaged: tuple[str, bytes]) -> None:
        file, content = damaged
        (source / file).write_bytes(content)
        try:
            prepared = target.read(source, out)
        except CtcrecError:
            return
        finally:
            (source / file).write_bytes(target.files[file])
        examples = [example for split in prepared.splits.values() for example in split]
        if examples:
            write_manifest(folder / "back.jsonl", examples)
            back = list(read_manifest(folder / "back.jsonl"))
            resolved = [dataclasses.replace(example, source=example.source.resolve()) for example in examples]
            assert [dataclasses.replace(example, source=example.source.resolve()) for example in back] == resolved
            inside = [path.resolve() for path in (source, out)]
            assert all(any(item.source.is_relative_to(root) for root in inside) for item in resolved)

    damage()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_corpora(name: str, tmp_path: Path) -> None:
    run(name, tmp_path / "x", 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_corpora_at_length(name: str, tmp_path: Path) -> None:
    run(name, tmp_path / "x", LONG)


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from([*XML, b"<a", b"/>", b"</a>", b" b=", b"'", b"\n", b"<?x?>", b"<![CDATA["])).map(b"".join)
)
def test_odd_xml(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.xml").write_bytes(data)
    try:
        read_xml(tmp_path / "x.xml")
    except CtcrecError as error:
        assert "x.xml: " in str(error) and "root:" not in str(error)
