"""The first stage without texts: it learns, resumes exactly, and a training starts from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint, read_tensors
from ctcrec.config import Config, dump_config
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.training.pretraining import ContrastiveOptions, pretrain

OPTIONS = ContrastiveOptions(mask_share=0.3, mask_frames=2, size=8)


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module", params=["ocr", "speech"])
def unlabelled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Modality, a manifest without texts, and the same with."""
    folder = tmp_path_factory.mktemp(request.param)
    manifest = write_corpus(folder, request.param, make_texts(12, shortest=4, longest=9))
    bare = folder / "bare.jsonl"
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["text"]
    bare.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return request.param, bare, manifest


def config_of(modality: str, manifest: Path, **changes: Any) -> Config:
    return tiny_config(modality, manifest, training__epochs=12, training__max_batch_size=6, **changes)


def told_apart(run: Path, kind: str = "epoch") -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["told_apart"] for row in rows if row["kind"] == kind]


def test_learns_and_a_training_starts_from_it(unlabelled: tuple[str, Path, Path], tmp_path: Path) -> None:
    modality, bare, labelled = unlabelled
    last = pretrain(config_of(modality, bare), tmp_path / "first", OPTIONS)
    shares = told_apart(tmp_path / "first")
    assert max(shares) > shares[0] and last["valid_loss"] < 3.0
    before = load_checkpoint(tmp_path / "first")
    assert before.tokenizer.tokens == ["<blank>"]
    config = tiny_config(modality, labelled, training__epochs=1, training__learning_rate=1e-9)
    _, told = train_quietly(config, tmp_path / "second", start=tmp_path / "first")
    assert "frontend and encoder, and 0 of its tokens" in told
    after = read_tensors(tmp_path / "second/model.safetensors")[0]
    for name, tensor in before.model.named_parameters():
        if name.startswith(("frontend", "encoder")):
            torch.testing.assert_close(after[name], tensor.detach(), atol=1e-5, rtol=1e-4)


def test_resuming_equals_never_stopping(unlabelled: tuple[str, Path, Path], tmp_path: Path) -> None:
    modality, bare, _ = unlabelled
    config = config_of(modality, bare, model__encoder__dropout=0.2)
    pretrain(config, tmp_path / "whole", OPTIONS)
    for steps, resume in ((5, False), (4, True)):
        with pytest.raises(TrainingError, match="go on with --resume"):
            pretrain(config, tmp_path / "parts", None if resume else OPTIONS, resume=resume, stop_after_steps=steps)
    pretrain(config, tmp_path / "parts", resume=True)
    for name in ("model.safetensors", "state.safetensors"):
        ours, theirs = (read_tensors(tmp_path / run / name)[0] for run in ("whole", "parts"))
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert told_apart(tmp_path / "whole", "step") == told_apart(tmp_path / "parts", "step")


def test_command(unlabelled: tuple[str, Path, Path], command: Command, tmp_path: Path) -> None:
    modality, bare, _ = unlabelled
    path = tmp_path / "model.yaml"
    path.write_text(dump_config(tiny_config(modality, bare)), encoding="utf-8")
    assert command("pretrain", path, "--out", tmp_path / "run", "--mask-frames", 2).code == 0
    assert json.loads((tmp_path / "run/pretraining.json").read_text())["mask_frames"] == 2
    assert command("pretrain", "--resume", tmp_path / "run").code == 0  # nothing left to do
    message = command.fails("pretrain", "--resume", tmp_path / "run", "--mask-frames", 3)
    assert "leave all else away" in message
    assert "holds a run already" in command.fails("pretrain", path, "--out", tmp_path / "run")


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ContrastiveOptions(mask_share=1.0)
    with pytest.raises(ConfigError, match="need at least 1"):
        ContrastiveOptions(mask_frames=0)
    with pytest.raises(ConfigError, match=r"data\.train: no manifest is named"):
        pretrain(tiny_config("ocr", Path("x"), data={"train": []}), "nowhere")
