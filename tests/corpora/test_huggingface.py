"""Local Hugging Face datasets: folders of save_to_disk and Parquet files, media inside and beside the tables."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from oracles.lines import draw_line
from PIL import Image

from ctcrec.corpora import Prepared, huggingface, write_prepared
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError

if TYPE_CHECKING:
    from command import Command

MEDIUM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def audio_bytes(seconds: float = 0.5, form: str = "WAV") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.sin(np.arange(int(8000 * seconds)) / 5) * 0.3, 8000, format=form)
    return stream.getvalue()


def image_bytes(text: str = "ab") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(draw_line(text)).save(stream, "PNG")
    return stream.getvalue()


def medium(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def audio_table(**columns: list[Any]) -> pa.Table:
    """Two utterances, with changed or further columns."""
    values = {"audio": [medium(audio_bytes(0.5), "x.wav"), medium(audio_bytes(0.75, "FLAC"))], "text": ["one", "two"]}
    values |= columns
    types = {"audio": MEDIUM}
    return pa.table({name: pa.array(column, types.get(name)) for name, column in values.items()})


def save_to_disk(folder: Path, table: pa.Table, shards: int = 1) -> None:
    """As `datasets.Dataset.save_to_disk` writes it: Arrow streams, and their names in state.json."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{shards:05d}.arrow" for number in range(shards)]
    size = -(-table.num_rows // shards)
    for number, name in enumerate(names):
        part = table.slice(number * size, size)
        with pa.OSFile(str(folder / name), "wb") as stream, pa.ipc.new_stream(stream, part.schema) as writer:
            writer.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def reasons(prepared: Prepared) -> dict[str, str]:
    return {item.what: item.reason for item in prepared.left_out}


def test_a_dataset_of_several_splits(tmp_path: Path) -> None:
    source = tmp_path / "dataset"
    for split, shards in (("train", 2), ("test", 1)):
        save_to_disk(source / split, audio_table(id=[f"{split}-a", f"{split}-b"], speaker_id=[7, 8]), shards)
    (source / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    prepared = huggingface.prepare(source, tmp_path / "out")
    assert [(item.id, item.text, item.speaker, item.duration) for item in prepared.splits["train"]] == [
        ("train-a", "one", "7", 0.5),
        ("train-b", "two", "8", 0.75),
    ]
    sources = [item.source for item in prepared.splits["train"]]
    assert sources == [tmp_path / "out/media/train/000000.wav", tmp_path / "out/media/train/000001.flac"]
    assert sources[0].read_bytes() == audio_bytes(0.5)
    assert len(prepared.splits["test"]) == 2
    write_prepared(prepared, tmp_path / "out", say=lambda text: None)
    assert read_manifest(tmp_path / "out/train.jsonl") == prepared.splits["train"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {"train": 4}),
        (["default/train/0000.parquet", "default/test/0000.parquet"], {"train": 2, "test": 2}),
        (["validation.parquet"], {"validation": 2}),
    ],
)
def test_parquet_files(tmp_path: Path, names: list[str], splits: dict[str, int]) -> None:
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(audio_table(), tmp_path / "data" / name)
    prepared = huggingface.prepare(tmp_path / "data", tmp_path / "out")
    assert {name: len(examples) for name, examples in prepared.splits.items()} == splits
    first = next(iter(splits))
    assert [item.id for item in prepared.splits[first]] == [f"{first}-{row:06d}" for row in range(splits[first])]


def test_lines_and_paths(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/c.png").write_bytes(image_bytes("c"))
    (tmp_path / "outside.png").write_bytes(image_bytes("d"))
    cells = [
        medium(image_bytes("a")),
        medium(None, "c.png"),
        medium(None, "../outside.png"),
        medium(None, None),
        medium(b"", "x"),
        medium(b"no image"),
        medium(image_bytes("g")),
    ]
    table = pa.table({"image": pa.array(cells, MEDIUM), "label": [*"abcdef", None], "writer": ["w"] * 7})
    pq.write_table(table, tmp_path / "images/lines.parquet")
    prepared = huggingface.prepare(tmp_path / "images/lines.parquet", tmp_path / "out")
    assert [(item.id, item.text) for item in prepared.splits["lines"]] == [("lines-000000", "a"), ("lines-000001", "b")]
    assert prepared.splits["lines"][1].source == tmp_path / "images/c.png"
    why = reasons(prepared)
    assert "leads out of" in why["lines-000002 (../outside.png)"]
    assert why["lines-000003"] == "has neither bytes nor a path of a medium"
    assert why["lines-000004"] == "its medium is empty (0 bytes)"
    assert "is not an image" in why["lines-000005"]
    assert why["lines-000006"] == "its text is empty"


def test_columns_are_chosen(tmp_path: Path) -> None:
    table = audio_table(other=["x", "y"]).append_column(
        "image", pa.array([medium(image_bytes()), medium(image_bytes())], MEDIUM)
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    with pytest.raises(CorpusError, match="expected one audio or image column, found audio, image .* --media-column"):
        huggingface.prepare(path, tmp_path / "out")
    prepared = huggingface.prepare(path, tmp_path / "out", "other", "image")
    assert [(item.text, item.height is not None) for item in prepared.splits["t"]] == [("x", True), ("y", True)]
    with pytest.raises(CorpusError, match="no text column 'nothing'; choose one of text, other with --text-column"):
        huggingface.prepare(path, tmp_path / "out", "nothing", "image")
    features = {"info": {"features": {"sound": {"_type": "Audio"}, "text": {"_type": "Value"}}}}
    renamed = audio_table().rename_columns(["sound", "text"])
    pq.write_table(renamed.replace_schema_metadata({b"huggingface": json.dumps(features).encode()}), path)
    assert len(huggingface.prepare(path, tmp_path / "out").splits["t"]) == 2


def test_damaged_and_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder or file"):
        huggingface.prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(CorpusError, match="neither a dataset of save_to_disk"):
        huggingface.prepare(tmp_path, tmp_path / "out")
    save_to_disk(tmp_path / "d", audio_table())
    (tmp_path / "d/data-00000-of-00001.arrow").write_bytes(b"not arrow")
    with pytest.raises(CorpusError, match=r"data-00000-of-00001\.arrow: is damaged or no Parquet or Arrow data"):
        huggingface.prepare(tmp_path / "d", tmp_path / "out")
    (tmp_path / "d/state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}')
    with pytest.raises(CorpusError, match=r"state\.json: '../../secret' leads out of"):
        huggingface.prepare(tmp_path / "d", tmp_path / "out")
    (tmp_path / "d/dataset_dict.json").write_text('{"splits": ["../../x"]}')
    with pytest.raises(CorpusError, match="cannot name a split"):
        huggingface.prepare(tmp_path / "d", tmp_path / "out")


def test_command(tmp_path: Path, command: Command) -> None:
    pq.write_table(audio_table(), tmp_path / "train.parquet")
    finished = command("prepare", "huggingface", tmp_path / "train.parquet", "--out", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert [example.text for example in read_manifest(tmp_path / "out/train.jsonl")] == ["one", "two"]
