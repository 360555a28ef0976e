"""The mean of several models' weights: what is in it, what its record says, and what has no mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CheckpointError
from ctcrec.evaluation import evaluate
from ctcrec.packing import pack
from ctcrec.provenance import RUN_FILE, read_run
from ctcrec.recognizer import Recognizer
from ctcrec.training.averaging import average_runs

if TYPE_CHECKING:
    from command import Command


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


def trained(folder: Path, name: str, *, start: Path | None = None, texts: Sequence[str] = (), **changes: Any) -> Path:
    """One epoch of a tiny model on lines of its own."""
    manifest = write_corpus(folder / f"{name}-lines", "ocr", texts or make_texts(6, seed=ord(name[0])))
    train_quietly(tiny_config("ocr", manifest, training__epochs=1, **changes), folder / name, start=start)
    return folder / name


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and one that went on from it with other lines and more dropout."""
    first = trained(tmp_path, "first")
    changes = {"model__frontend__dropout": 0.2, "training__learning_rate": 0.05}
    return first, trained(tmp_path, "later", start=first, **changes)


def test_each_weight_is_the_mean(pair: tuple[Path, Path], tmp_path: Path) -> None:
    average_runs([pair[0], pair[1], pair[1]], tmp_path / "mean")
    first, later, mean = (load_checkpoint(run).model.state_dict() for run in (*pair, tmp_path / "mean"))
    assert any(not torch.equal(first[name], later[name]) for name in first)
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (first[name] + 2 * later[name]) / 3)
        else:
            assert torch.equal(tensor, first[name])


def test_the_record_holds_data_and_sessions_of_all(pair: tuple[Path, Path], tmp_path: Path) -> None:
    average_runs(pair, tmp_path / "mean")
    average_runs([tmp_path / "mean", pair[0]], tmp_path / "again")
    first, later, mean, again = (read_run(run) for run in (*pair, tmp_path / "mean", tmp_path / "again"))
    assert mean["data"]["train"] == [*first["data"]["train"], *later["data"]["train"]]
    assert mean["sessions"][:-1] == [*first["sessions"], *later["sessions"]]
    assert [item["directory"] for item in mean["sessions"][-1]["mean_of"]] == [run.as_posix() for run in pair]
    assert again["sessions"][:-1] == mean["sessions"] and again["data"] == mean["data"]
    assert "best" not in mean["sessions"][-1]


def test_it_is_a_run_like_others(pair: tuple[Path, Path], tmp_path: Path) -> None:
    average_runs(pair, tmp_path / "mean")
    examples = read_manifest(tmp_path / "first-lines/train.jsonl")
    evaluate(Recognizer.load(tmp_path / "mean"), examples)
    packed = pack(tmp_path / "mean", tmp_path / "models/mean", task="rows of glyphs", license="CC BY 4.0")
    card = (packed.folder / "card.md").read_text()
    assert "mean of the weights of `first` (weights `" in card and "best epoch" not in card
    assert tmp_path.as_posix() not in card


def test_a_model_without_record_takes_part(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (pair[0] / RUN_FILE).unlink()
    average_runs(pair, tmp_path / "mean")
    assert read_run(tmp_path / "mean")["data"] == read_run(pair[1])["data"]
    (pair[1] / RUN_FILE).unlink()
    with pytest.raises(CheckpointError, match="none has a run.json"):
        average_runs(pair, tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__encoder": {"layers": 1, "width": 6}}, "differs from .* in model;"),
        ({"text__normalization": ["nfc", "lowercase"]}, "differs from .* in text;"),
        (
            {"model__encoder": {"layers": 2, "width": 8}, "loss__intermediate_layers": [1]},
            "differs from .* in model, CTC heads;",
        ),
        ({"texts": ["ab", "ba"]}, "differs from .* in tokens;"),
    ],
)
def test_what_differs_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    runs = [trained(tmp_path, "first"), trained(tmp_path, "other one", **changes)]
    with pytest.raises(CheckpointError, match=f"other one: {message}"):
        average_runs(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_command(command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "mean"
    assert "a mean wants two models or more, not 1" in command.fails("average", pair[0], "--out", out)
    assert command("average", *pair, "--out", out).out == f"mean of 2 models: {out}\n"
    assert "holds a model already" in command.fails("average", *pair, "--out", out)
