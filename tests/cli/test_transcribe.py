"""`ctcrec transcribe` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ctcrec.data.manifest import read_manifest
from ctcrec.records import Example

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


@pytest.fixture
def examples(trained: Trained) -> list[Example]:
    return read_manifest(trained.train)[:3]


@pytest.fixture
def folder(examples: list[Example], tmp_path: Path) -> Path:
    """A tree of two media, and a file that is none."""
    (tmp_path / "media" / "deep").mkdir(parents=True)
    suffix = examples[0].source.suffix
    shutil.copy(examples[0].source, tmp_path / "media" / f"one{suffix}")
    shutil.copy(examples[1].source, tmp_path / "media" / "deep" / f"two{suffix.upper()}")
    (tmp_path / "media" / "notes.txt").write_text("neither sound nor image")
    return tmp_path / "media"


def test_one_file_is_its_text_alone(command: Command, trained: Trained, examples: list[Example]) -> None:
    ended = command("transcribe", examples[0].source, "--run", trained.run)
    assert (ended.code, ended.out, ended.err) == (0, f"{examples[0].text}\n", "")


def test_standard_input(command: Command, trained: Trained, examples: list[Example]) -> None:
    ended = command("transcribe", "-", "--run", trained.run, stdin=examples[1].source.read_bytes())
    assert (ended.code, ended.out) == (0, f"{examples[1].text}\n")
    broken = command("transcribe", "-", "--run", trained.run, stdin=b"no medium")
    assert broken.code == 1 and broken.out == ""
    assert broken.err.startswith("ctcrec: standard input: ") and "Traceback" not in broken.err
    assert command("transcribe", "-", "--run", trained.run, stdin=b"").code == 1


def test_a_folder_and_files_in_order(command: Command, trained: Trained, examples: list[Example], folder: Path) -> None:
    last = examples[2].source
    ended = command("transcribe", last, folder, "-", "--run", trained.run, stdin=examples[0].source.read_bytes())
    two = next((folder / "deep").iterdir())
    one = next(folder.glob("one.*"))
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"{last}\t{examples[2].text}",
        f"{two}\t{examples[1].text}",
        f"{one}\t{examples[0].text}",
        f"-\t{examples[0].text}",
    ]


def test_json(command: Command, trained: Trained, examples: list[Example]) -> None:
    sources = [example.source for example in examples]
    ended = command("transcribe", *sources, "--run", trained.run, "--format", "json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["source"] for row in rows] == [str(source) for source in sources]
    assert [row["text"] for row in rows] == [example.text for example in examples]
    for row in rows:
        assert [word["word"] for word in row["words"]] == row["text"].split()
        assert "".join(token["token"] for token in row["tokens"]) == row["text"]
        assert all(0 <= token["start"] < token["end"] for token in row["tokens"])
        assert row["unit"] == {"ocr": "pixels", "speech": "seconds"}[trained.config.modality]


@pytest.mark.parametrize("form", ["text", "json"])
def test_out(
    command: Command, trained: Trained, examples: list[Example], folder: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    ended = command("transcribe", folder, "--run", trained.run, "--format", form, "--out", out)
    assert (ended.code, ended.out) == (0, "")
    suffix = {"text": "txt", "json": "json"}[form]
    written = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert written.keys() == {f"one.{suffix}", f"deep/two.{suffix}"}
    if form == "text":
        assert written["one.txt"] == f"{examples[0].text}\n"
    else:
        assert json.loads(written["deep/two.json"])["text"] == examples[1].text


def test_bad_files_are_named_and_the_others_go_on(
    command: Command, trained: Trained, examples: list[Example], tmp_path: Path
) -> None:
    suffix = examples[0].source.suffix
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"nothing of the kind")
    other = tmp_path / {".png": "x.wav", ".wav": "x.png"}[suffix]
    other.write_bytes(b"")
    missing = tmp_path / f"missing{suffix}"
    ended = command("transcribe", broken, examples[0].source, other, missing, "--run", trained.run)
    assert ended.code == 1
    assert ended.out == f"{examples[0].source}\t{examples[0].text}\n"
    lines = ended.err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [str(broken), str(other), str(missing)]
    assert "and this model recognizes" in lines[1] and "no such file" in lines[2]


def test_a_folder_of_the_wrong_kind(command: Command, trained_models: dict[str, Trained], tmp_path: Path) -> None:
    folder = read_manifest(trained_models["speech"].test)[0].source.parent
    ended = command("transcribe", folder, "--run", trained_models["ocr"].run)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("is an audio file, and this model recognizes image files") == 6
    message = command.fails("transcribe", tmp_path, "--run", trained_models["ocr"].run)
    assert "no file in this folder ends in one of .3gp" in message


def test_two_transcripts_never_share_a_file(
    command: Command, trained: Trained, examples: list[Example], tmp_path: Path
) -> None:
    copies = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        copies.append(tmp_path / name / f"same{examples[0].source.suffix}")
        shutil.copy(examples[0].source, copies[-1])
    message = command.fails("transcribe", *copies, "--run", trained.run, "--out", tmp_path / "out")
    assert str(copies[0]) in message and str(copies[1]) in message
    assert not (tmp_path / "out").exists()
    assert command("transcribe", *copies, "--run", trained.run).code == 0


def test_out_that_cannot_be_written(
    command: Command, trained: Trained, examples: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    message = command.fails("transcribe", examples[0].source, "--run", trained.run, "--out", tmp_path / "file")
    assert "cannot be written" in message and "choose another --out" in message


def test_no_run(command: Command, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = command.fails("transcribe", examples[0].source, "--run", tmp_path)
    assert "give the directory that `ctcrec train` wrote" in message
    monkeypatch.setattr("ctcrec.pretrained.catalogue.__file__", str(tmp_path / "nothing" / "catalogue.py"))
    assert "comes with ctcrec (there are: none)" in command.fails("transcribe", examples[0].source)


def test_an_altered_checkpoint(command: Command, trained: Trained, examples: list[Example], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("tensorboard"))
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "it was altered" in command.fails("transcribe", examples[0].source, "--run", run)
