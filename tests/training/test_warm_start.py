"""Training that starts from a trained model: what is kept, what starts anew, and what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from rich.console import Console
from tiny import changed, config_values, make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint, read_tensors, save_checkpoint
from ctcrec.config import Config, parse_config
from ctcrec.data.manifest import write_manifest
from ctcrec.errors import CheckpointError, ConfigError, TrainingError
from ctcrec.evaluation import evaluate
from ctcrec.pretrained import find_model
from ctcrec.provenance import read_run
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.setup import Setup, prepare
from ctcrec.training.warm_start import start_from

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained

SAMPLES = Path(__file__).parents[2] / "samples/lines/test"
DECODER = {"width": 12, "embedding": 6, "attention_size": 8, "location_kernel": 3, "location_channels": 2}
RICH: dict[str, Any] = {  # every kind of tensor that has a row for each token
    "model__encoder": {"layers": 3, "width": 8},
    "loss": {"ctc_weight": 0.5, "intermediate_layers": [1, 2]},
    "model__decoder": DECODER,
}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten lines of a to d."""
    return write_corpus(tmp_path_factory.mktemp("lines"), "ocr", make_texts(10))


@pytest.fixture(scope="module")
def others(lines: Path) -> Path:
    """The same lines with é in place of a and without b: another alphabet in another order."""
    manifest = lines.with_name("others.jsonl")
    rows = [json.loads(row) for row in lines.read_text().splitlines()]
    for row in rows:
        row["text"] = row["text"].replace("a", "é").replace("b", "")
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows if row["text"].strip() == row["text"] != ""))
    return manifest


def prepared(config: Config, start: Path | None = None) -> Setup:
    return prepare(config, Path("unused"), False, None, TrainingDisplay(Console(quiet=True)), start)


def saved(config: Config, folder: Path) -> Path:
    """An untrained model of a configuration as a checkpoint."""
    setup = prepared(config)
    for tensor in setup.model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.05, 0.5)  # a running variance is positive
    save_checkpoint(folder, config, setup.tokenizer, setup.model.state_dict(), {})
    return folder


def rows_by_token(tensor: torch.Tensor, tokens: list[str]) -> dict[str, torch.Tensor]:
    return dict(zip(tokens, tensor, strict=True))


def test_the_same_alphabet_keeps_everything(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, features__normalization="global", **RICH)
    old = load_checkpoint(saved(config, tmp_path / "old"))
    changed = tiny_config("ocr", lines, features__normalization="global", seed=9, **RICH)
    setup = prepared(changed, tmp_path / "old")
    ours, theirs = setup.model.state_dict(), old.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []  # statistics of features too
    assert setup.warm_start is not None
    assert (setup.warm_start.started, setup.warm_start.dropped, setup.warm_start.fresh) == ((), (), ())
    assert setup.warm_start.kept == (" ", "a", "b", "c", "d")


def test_another_alphabet_keeps_the_rows_of_shared_tokens(lines: Path, others: Path, tmp_path: Path) -> None:
    old = load_checkpoint(saved(tiny_config("ocr", lines, **RICH), tmp_path / "old"))
    config = tiny_config("ocr", others, **RICH)
    fresh, setup = prepared(config), prepared(config, tmp_path / "old")
    tokens, before = setup.tokenizer.tokens, old.tokenizer.tokens
    assert tokens == ["<blank>", " ", "c", "d", "é"] and before == ["<blank>", " ", "a", "b", "c", "d"]
    names = [
        name for name, tensor in old.model.state_dict().items() if len(tensor.shape) and len(tensor) == len(before)
    ]
    assert len(names) == 2 + 2 * 2 + 3  # head, two intermediate heads, embedding, output and its bias
    ours, theirs, new = (model.state_dict() for model in (setup.model, old.model, fresh.model))
    for name, tensor in ours.items():
        if name not in names:
            assert torch.equal(tensor, theirs[name]), name
            continue
        mine, old_rows, new_rows = (
            rows_by_token(tensor, tokens),
            rows_by_token(theirs[name], before),
            rows_by_token(new[name], tokens),
        )
        for token in ("<blank>", " ", "c", "d"):
            assert torch.equal(mine[token], old_rows[token]), (name, token)
        assert torch.equal(mine["é"], new_rows["é"]), name
    start = setup.warm_start
    assert start is not None
    assert (start.kept, start.started, start.dropped) == ((" ", "c", "d"), ("é",), ("a", "b"))
    told = " ".join(start.lines())
    assert "tokens that start anew, 1: é" in told and "lack them, 2: a b" in told


def test_parts_that_the_old_model_lacks_start_anew(lines: Path, tmp_path: Path) -> None:
    plain = saved(tiny_config("ocr", lines, model__encoder={"layers": 3, "width": 8}), tmp_path / "plain")
    start = prepared(tiny_config("ocr", lines, **RICH), plain).warm_start
    assert start is not None
    assert start.fresh == ("CTC head of encoder layer 1", "CTC head of encoder layer 2", "attention decoder")
    other = {**RICH, "model__decoder": {**DECODER, "width": 10}}
    start = prepared(tiny_config("ocr", lines, **other), saved(tiny_config("ocr", lines, **RICH), tmp_path / "rich"))
    assert start.warm_start is not None and start.warm_start.fresh == ("attention decoder",)


def test_intermediate_heads_are_told_by_their_layer(lines: Path, tmp_path: Path) -> None:
    sizes = {"model__encoder": {"layers": 3, "width": 8}}
    old = load_checkpoint(saved(tiny_config("ocr", lines, **sizes, loss__intermediate_layers=[1, 2]), tmp_path / "old"))
    setup = prepared(tiny_config("ocr", lines, **sizes, loss__intermediate_layers=[2]), tmp_path / "old")
    ours, theirs = setup.model.intermediate_heads[0], old.model.intermediate_heads[1]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("projection", [None, 6])
def test_frames_of_another_size_get_interpolated_weights(lines: Path, tmp_path: Path, projection: int | None) -> None:
    frontend = {"blocks": [{"channels": 4, "pool": [1, 2]}], "projection": projection}
    rest = {"model__frontend": frontend, "features__normalization": "global"}
    saved(tiny_config("ocr", lines, **rest, features__height=16), tmp_path / "old")
    old = load_checkpoint(tmp_path / "old").model.state_dict()
    setup = prepared(tiny_config("ocr", lines, **rest, features__height=24), tmp_path / "old")
    new = setup.model.state_dict()
    changed = [name for name in new if new[name].shape != old[name].shape]
    readers = ["frontend.projection.weight"] if projection else [n for n in new if "layers.0" in n and "_ih_" in n]
    readers = [name for name in readers if name.endswith(("weight", "weight_ih_l0"))]
    statistics = [f"frontend.feature_normalization.{name}" for name in ("mean", "std")]
    assert sorted(changed) == sorted([*statistics, *readers]) and len(readers) == (1 if projection else 2)
    assert [name for name in new if name not in changed and not torch.equal(new[name], old[name])] == []
    for name in readers:
        before, after = old[name].view(-1, 8, 4), new[name].view(-1, 12, 4)  # output, row, channel
        torch.testing.assert_close(before.sum(1), after.sum(1))  # what evenly inked paper gives
        torch.testing.assert_close(after[:, 1], before[:, :2].lerp(before[:, 1:3], 0.5)[:, 0] * 8 / 12)  # 1.5 / 12
    for name in statistics:
        torch.testing.assert_close(new[name][[0, 23]], old[name][[0, 15]])
        torch.testing.assert_close(new[name][1], old[name][0].lerp(old[name][1], 0.5))  # between two rows
    assert setup.warm_start is not None and setup.warm_start.facts()["resized"]
    assert "interpolated" in " ".join(setup.warm_start.lines())


def test_a_model_reads_at_another_height_before_any_training(tmp_path: Path) -> None:
    folder = find_model("print-de-fraktur")
    files = sorted(SAMPLES.glob("*/*.png"))[:12]
    examples = [Example(file.stem, file, file.with_suffix(".gt.txt").read_text().strip()) for file in files]
    write_manifest(tmp_path / "lines.jsonl", examples)
    values = load_checkpoint(folder).config.model_dump(mode="json", exclude_unset=True)
    height, data = values["features"]["height"] + 8, [str(tmp_path / "lines.jsonl")]
    config = parse_config(changed(values, features__height=height, data__train=data, data__valid=data))
    setup = prepared(config, folder)
    save_checkpoint(tmp_path / "taller", config, setup.tokenizer, setup.model.state_dict(), {})
    assert evaluate(Recognizer.load(tmp_path / "taller", "cpu"), examples).report.cer < 0.2  # untrained ones have 1.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model__encoder": {"layers": 1, "width": 8}}, "model.encoder.width: 8 here, 16 there"),
        ({"model__encoder": {"layers": 2, "width": 16}}, "model.encoder.layers: 2 here, 1 there"),
        ({"features": {"normalization": "global"}}, "features.normalization: global here, none there"),
        ({"model__frontend": {"blocks": [{"channels": 8, "pool": [2, 4]}]}}, "model.frontend.blocks: 1 blocks"),
    ],
)
def test_models_that_differ_are_refused(lines: Path, tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    old = saved(tiny_config("ocr", lines), tmp_path / "old")
    with pytest.raises(ConfigError, match=expected):
        prepared(tiny_config("ocr", lines, **changes), old)


def test_the_other_modality_and_no_model_are_refused(trained_models: dict[str, Trained], lines: Path) -> None:
    with pytest.raises(ConfigError, match="is a model of speech, and the configuration is of ocr"):
        prepared(tiny_config("ocr", lines), trained_models["speech"].run)
    config, setup = tiny_config("ocr", lines), prepared(tiny_config("ocr", lines))
    with pytest.raises(CheckpointError, match="no model.safetensors here"):
        start_from(lines.parent, config, setup.model, setup.tokenizer)


def test_training_goes_on_from_what_was_learned(trained: Trained, tmp_path: Path) -> None:
    config = tiny_config(trained.config.modality, trained.train, training__learning_rate=1e-9, training__epochs=1)
    summary, told = train_quietly(config, tmp_path / "run", start=trained.run)
    assert summary.cer == 0.0  # the model knows its training set by heart
    assert f"starting from {trained.run}: frontend and encoder, and 5 of its tokens" in told
    assert "NOT as expected" not in told
    record = read_run(tmp_path / "run")["sessions"][-1]["started_from"]
    assert record["directory"] == trained.run.as_posix() and record["tokens_kept"] == 5


def test_the_decoding_of_the_old_model_is_not_inherited(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=1)
    (saved(config, tmp_path / "old") / "decoding.yaml").write_text("strategy: beam\n")
    _, told = train_quietly(config, tmp_path / "run", start=tmp_path / "old")
    assert "decoding.yaml of" in told and "is not taken over" in told
    assert not (tmp_path / "run" / "decoding.yaml").exists()


# ── a frozen frontend ────────────────────────────────────────────────────────────────────────────────────────────────


def frontend(run: Path, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    tensors, _ = read_tensors(run / file)
    return {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith(("frontend", "model/fr"))}


def test_a_frozen_frontend_stays_and_then_learns(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__freeze_frontend_steps=2, training__epochs=1)
    old = frontend(saved(config, tmp_path / "old"))
    for steps, frozen in ((2, True), (3, False)):
        run = tmp_path / f"run{steps}"
        with pytest.raises(TrainingError, match="stopped after step"):
            train_quietly(config, run, start=tmp_path / "old", stop_after_steps=steps)
        now = frontend(run, "state.safetensors")
        assert now.keys() == old.keys() and len(now) > 6  # batch statistics among them
        same = [torch.equal(now[name], old[name]) for name in old]
        assert all(same) if frozen else not any(same)


def test_resuming_equals_never_stopping(lines: Path, others: Path, tmp_path: Path) -> None:
    config = tiny_config(
        "ocr", others, training__freeze_frontend_steps=3, training__epochs=3, model__frontend__dropout=0.2
    )
    old = saved(tiny_config("ocr", lines), tmp_path / "old")
    train_quietly(config, tmp_path / "whole", start=old)
    with pytest.raises(TrainingError, match="stopped after step 2"):
        train_quietly(config, tmp_path / "parts", start=old, stop_after_steps=2)
    shutil.rmtree(old)  # what a run started from is not needed any more
    with pytest.raises(TrainingError, match="stopped after step 4"):
        train_quietly(config, tmp_path / "parts", resume=True, stop_after_steps=2)
    train_quietly(config, tmp_path / "parts", resume=True)
    for name in ("model.safetensors", "state.safetensors"):
        (ours, _), (theirs, _) = read_tensors(tmp_path / "whole" / name), read_tensors(tmp_path / "parts" / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)


def test_freezing_needs_a_model_to_start_from(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__freeze_frontend_steps=2)
    with pytest.raises(ConfigError, match="freeze_frontend_steps: no effect without a model to start from"):
        train_quietly(config, tmp_path / "run")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def config_file(lines: Path, tmp_path: Path) -> Path:
    path = tmp_path / "lines.yaml"
    path.write_text(yaml.safe_dump(config_values("ocr", lines)))
    return path


def test_the_command_starts_from_names_and_directories(
    command: Command, config_file: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tiny_config("ocr", lines), tmp_path / "models" / "tiny-lines")
    monkeypatch.setenv("CTCREC_MODELS", str(tmp_path / "models"))
    options = ("--set", "training.epochs=1", "--out")
    for number, start in enumerate(("tiny-lines", tmp_path / "models" / "tiny-lines")):
        ended = command("train", config_file, "--from", start, *options, tmp_path / f"run{number}")
        assert ended.code == 0 and "starting from" in ended.err and "5 of its tokens" in ended.err


def test_mistakes_of_the_command(
    command: Command, config_file: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tiny_config("ocr", lines), tmp_path / "models" / "tiny-lines")
    monkeypatch.setenv("CTCREC_MODELS", str(tmp_path / "models"))
    message = command.fails("train", config_file, "--from", "tiny-line")
    assert "neither the name of a model" in message and "tiny-lines" in message
    (tmp_path / "config.yaml").write_text(config_file.read_text())
    message = command.fails("train", "--resume", tmp_path, "--from", "tiny-lines")
    assert "--from starts a new run; leave --resume away" in message
    assert "has no effect" in command.fails("train", config_file, "--print-model", "--from", "tiny-lines")
