"""`ctcrec prepare` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from oracles.lines import draw_line
from PIL import Image
from typer.testing import CliRunner

from ctcrec.cli.prepare import app
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError, InputError

runner = CliRunner()


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    folder = tmp_path / "lines"
    for book in ("a", "b", "c"):
        (folder / book).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(draw_line(f"{book} {number}")).save(folder / book / f"{number}.png")
            (folder / book / f"{number}.gt.txt").write_text(f"{book} {number}\n")
    (folder / "a" / "9.gt.txt").write_text("no image")
    return folder


def write_clip(path: Path, seconds: float = 0.4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(int(8000 * seconds)) / 7) * 0.3, 8000)


def test_pairs(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifests" / "lines"
    done = runner.invoke(app, ["pairs", str(lines), "--out", str(out), "--split", "folders:test=b,train=*"])
    assert done.exit_code == 0, done.output
    assert "train.jsonl: 8 lines, 2 writers, 24 characters (7 distinct)" in done.output
    assert "left out 1: has a text and no image (a/9)" in done.output
    train, test = read_manifest(out / "train.jsonl"), read_manifest(out / "test.jsonl")
    assert [example.id for example in test] == [f"b/{number}" for number in range(4)]
    assert {example.writer for example in train} == {"a", "c"}
    assert all(example.source.is_file() and example.width and example.height for example in train + test)


def test_pairs_can_be_moved_with_their_manifests(lines: Path, tmp_path: Path) -> None:
    assert runner.invoke(app, ["pairs", str(lines), "--out", str(tmp_path), "--split", "train=1"]).exit_code == 0
    rows = [json.loads(row) for row in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert rows[0]["source"] == "lines/a/0.png"


@pytest.mark.parametrize(
    ("arguments", "error"), [(["--split", "half"], InputError), (["--kind", "utterances"], CorpusError)]
)
def test_errors_reach_main(lines: Path, tmp_path: Path, arguments: list[str], error: type[Exception]) -> None:
    done = runner.invoke(app, ["pairs", str(lines), "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(done.exception, error)
    assert not (tmp_path / "out").exists()


def test_out_that_cannot_be_written(lines: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = runner.invoke(app, ["pairs", str(lines), "--out", str(tmp_path / "file")])
    assert isinstance(done.exception, CorpusError)
    assert "choose another --out" in str(done.exception)


def test_usage_errors(lines: Path) -> None:
    assert runner.invoke(app, ["pairs", str(lines)]).exit_code == 2
    assert runner.invoke(app, ["pairs", str(lines), "--out", "x", "--kind", "videos"]).exit_code == 2


def test_librispeech(tmp_path: Path) -> None:
    for subset in ("dev-clean", "test-clean"):
        chapter = tmp_path / "LibriSpeech" / subset / "84" / "121123"
        write_clip(chapter / "84-121123-0000.flac")
        (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n")
    done = runner.invoke(
        app, ["librispeech", str(tmp_path / "LibriSpeech"), "--out", str(tmp_path / "out"), "--subset", "dev-clean"]
    )
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dev-clean.jsonl"]
    assert read_manifest(tmp_path / "out" / "dev-clean.jsonl")[0].text == "GO DO YOU HEAR"


def test_librispeech_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctcrec.corpora import librispeech

    def fetch(subset: str, target: Path) -> Path:
        chapter = target / "LibriSpeech" / subset / "1" / "2"
        write_clip(chapter / "1-2-0000.flac")
        (chapter / "1-2.trans.txt").write_text("1-2-0000 HELLO\n")
        return target / "LibriSpeech"

    monkeypatch.setattr(librispeech, "download", fetch)
    done = runner.invoke(
        app, ["librispeech", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--download", "dev-other"]
    )
    assert done.exit_code == 0, done.output
    assert [example.id for example in read_manifest(tmp_path / "out" / "dev-other.jsonl")] == ["1-2-0000"]


def test_fsdd(tmp_path: Path) -> None:
    for digit in range(3):
        for index in range(8):
            write_clip(tmp_path / "recordings" / f"{digit}_eva_{index}.wav")
    arguments = ["fsdd", str(tmp_path), "--out", str(tmp_path / "out"), "--test-strings", "2", "--lengths", "1", "2"]
    done = runner.invoke(app, [*arguments, "--strings", "5"])
    assert done.exit_code == 0, done.output
    train = read_manifest(tmp_path / "out" / "train.jsonl")
    assert len(train) == 5 and all(1 <= len((example.text or "").split()) <= 2 for example in train)
    isolated = runner.invoke(app, [*arguments, "--strings", "0"])
    assert isolated.exit_code == 0, isolated.output
    assert {example.text for example in read_manifest(tmp_path / "out" / "test.jsonl")} == {"zero", "one", "two"}


def test_help_is_light() -> None:
    code = (
        "import sys, ctcrec.cli.prepare;"
        "print([m for m in ('torch', 'numpy', 'PIL', 'torchaudio', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
