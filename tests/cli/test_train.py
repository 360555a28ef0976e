"""`ctcrec train` as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tiny import config_values, make_texts, write_corpus

from ctcrec.checkpoint import load_checkpoint
from ctcrec.config import load_config

if TYPE_CHECKING:
    from command import Command


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file of eight lines."""
    folder = tmp_path_factory.mktemp("corpus")
    values = config_values("ocr", write_corpus(folder, "ocr", make_texts(8)))
    path = folder / "lines.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_trains_with_changes_into_its_default_directory(
    config: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("train", config, "--set", "training.epochs=1", "--set", "seed=9")
    assert ended.code == 0
    assert "8 training and 8 validation examples" in ended.err
    assert "best epoch 1" in ended.err
    run = tmp_path / "runs" / "lines"
    assert load_checkpoint(run).config == load_config(config, ["training.epochs=1", "seed=9"])


def test_resumes_by_the_directory_alone(
    config: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert command("train", config, "--set", "training.epochs=1", "--out", run).code == 0
    assert "holds a run already; go on with --resume" in command.fails("train", config, "--out", run)
    ended = command("train", "--resume", run)
    assert ended.code == 0 and "going on from epoch 2" in ended.err
    assert "config.yaml differs" in command.fails("train", "--resume", run, "--set", "training.epochs=2")
    assert "leave --out away" in command.fails("train", "--resume", run, "--out", tmp_path / "other")
    assert "leave --resume away" in command.fails("train", "--resume", run, "--overfit", 2)


def test_overfit_tells_by_its_exit_code(config: Path, command: Command, tmp_path: Path) -> None:
    ended = command("train", config, "--overfit", 2, "--set", "training.epochs=1", "--out", tmp_path / "short")
    assert ended.code == 1 and "NOT near zero" in ended.err
    ended = command("train", config, "--overfit", 2, "--set", "training.epochs=100", "--out", tmp_path / "long")
    assert ended.code == 0 and "near zero: the model can learn" in ended.err
    assert command("train", config, "--overfit", 0).code == 2


def test_print_model(config: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("train", config, "--print-model")
    assert ended.code == 0
    assert "frontend.blocks.0.convolution" in ended.out
    assert "subsampling factor: 2 pixel columns" in ended.out
    assert "receptive field of the frontend: 8 pixel columns" in ended.out
    assert "parameters" in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epoch=3", "training.epoch: unknown key; did you mean epochs?"),
        ("training.epochs=many", "training.epochs: "),
        ("training.learning_rate=-1", "training.learning_rate: "),
        ("data.train=[]", "data.train: no manifest is named"),
        ("data.train=[none.jsonl]", "none.jsonl: no such manifest"),
        ("training.epochs", "expected key=value"),
        ("model.frontend.blocks=[{channels: 4, pool: [1, 32]}]", "use fewer or smaller feature pools"),
    ],
)
def test_mistakes_are_one_line(config: Path, command: Command, tmp_path: Path, override: str, expected: str) -> None:
    assert expected in command.fails("train", config, "--set", override, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_config(command: Command, tmp_path: Path) -> None:
    assert "none.yaml: no such file" in command.fails("train", tmp_path / "none.yaml")
    assert "give a configuration" in command.fails("train")
    assert "no config.yaml there; give the directory of a run" in command.fails("train", "--resume", tmp_path)


def test_a_bad_row_is_named(config: Path, command: Command, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.jsonl"
    manifest.write_text('{"id": "a", "source": "a.png", "text": "x"}\n{"id": "b"\n', encoding="utf-8")
    message = command.fails("train", config, "--set", f"data.train=[{manifest}]", "--out", tmp_path / "run")
    assert message.startswith(f"{manifest}:2: is not valid JSON")


def test_out_that_cannot_be_written(config: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = command.fails("train", config, "--out", tmp_path / "file" / "run")
    assert "cannot be written" in message


def test_text_that_is_empty_is_an_error(config: Path, command: Command, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", ["ab", "cd"])
    manifest.write_text(manifest.read_text().replace('"ab"', '""').replace('"cd"', '""'))
    message = command.fails("train", config, "--set", f"data.train=[{manifest}]", "--out", tmp_path / "run")
    assert "empty" in message
