"""Distillation from a trained run: what it minimizes, what it does, and which teachers are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint, read_tensors
from ctcrec.config import Distillation
from ctcrec.ctc import ctc_loss
from ctcrec.decoding import BeamDecoder
from ctcrec.errors import CheckpointError, ConfigError, TrainingError
from ctcrec.records import Batch, Example
from ctcrec.training.teacher import Teacher

DECODER = {"width": 24, "embedding": 8, "attention_size": 16, "location_kernel": 7, "location_channels": 4}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has learned something, and its manifest."""
    folder = tmp_path_factory.mktemp("taught")
    manifest = write_corpus(folder, "ocr", make_texts(10))
    config = tiny_config("ocr", manifest, training__epochs=15, training__max_batch_size=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        train_quietly(config, folder / "run")
    return folder / "run", manifest


def student(manifest: Path, **changes: Any) -> Any:
    return tiny_config("ocr", manifest, training__max_batch_size=5, **changes)


def losses_of(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["distillation_loss"] for row in rows if row["kind"] == "step"]


@pytest.mark.parametrize("kind", ["kl", "mse", "nbest"])
def test_the_distance_falls_and_resuming_equals_never_stopping(
    kind: str, taught: tuple[Path, Path], tmp_path: Path
) -> None:
    run, manifest = taught
    config = student(
        manifest, training__epochs=6, loss__distillation={"teacher": str(run), "kind": kind, "weight": 1.0}, seed=9
    )
    train_quietly(config, tmp_path / "whole")
    losses = losses_of(tmp_path / "whole")
    assert losses[-1] < 0.8 * losses[0]
    with pytest.raises(TrainingError, match="go on with --resume"):
        train_quietly(config, tmp_path / "parts", stop_after_steps=3)
    train_quietly(config, tmp_path / "parts", resume=True)
    ours, theirs = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_decoder_learns_from_the_teachers_texts(taught: tuple[Path, Path], tmp_path: Path) -> None:
    run, manifest = taught
    options = {"teacher": str(run), "kind": "nbest", "weight": 1.0, "nbest": 2}
    config = student(
        manifest, training__epochs=6, loss__ctc_weight=0.0, loss__distillation=options, model__decoder=DECODER
    )
    train_quietly(config, tmp_path / "run")
    losses = losses_of(tmp_path / "run")
    assert losses[-1] < 0.8 * losses[0]


def batch_of(frames: int = 48) -> Batch:
    torch.manual_seed(4)
    features = torch.rand(2, frames, 16)
    examples = tuple(Example(str(n), Path("x"), "ab") for n in range(2))
    return Batch(features, torch.tensor([frames, frames - 12]), torch.ones(2, 2).long(), torch.tensor([2, 2]), examples)


def test_values_by_hand(taught: tuple[Path, Path]) -> None:
    run, manifest = taught
    teacher = load_checkpoint(run)
    teacher.model.requires_grad_(False)
    torch.manual_seed(1)
    own = load_checkpoint(run).model.requires_grad_(False)
    assert own.head is not None
    torch.nn.init.normal_(own.head.weight)  # another output than the teacher's
    batch = batch_of()
    output, theirs = own(batch.features, batch.feature_lengths), teacher.model(batch.features, batch.feature_lengths)
    loss = {}
    for kind in ("kl", "mse", "nbest"):
        config = student(manifest, loss__distillation={"teacher": str(run), "kind": kind})
        options = config.loss.distillation
        assert isinstance(options, Distillation)
        loss[kind] = Teacher(options, config, own, teacher.tokenizer, torch.device("cpu"))(output, batch)[1]
    ours, said = output.logits.log_softmax(2), theirs.logits.log_softmax(2)
    kl = mse = nbest = 0.0
    for n, length in enumerate(output.lengths.tolist()):
        for t in range(length):
            kl += float((said[n, t].exp() * (said[n, t] - ours[n, t])).sum())
            mse += float((output.logits[n, t] - theirs.logits[n, t]).square().mean())
        [texts] = BeamDecoder(teacher.tokenizer.tokens, beam_size=10)([said[n, :length].detach()], nbest=4)
        weights = [math.exp(item.score) for item in texts]
        for item, weight in zip(texts, weights, strict=True):
            target = torch.tensor([item.tokens], dtype=torch.int64)
            sizes = torch.tensor([length]), torch.tensor([len(item.tokens)])
            value = float(ctc_loss(ours[n, :length, None].detach(), target, *sizes, reduction="sum"))
            nbest += weight / sum(weights) * value
    assert loss["kl"] == pytest.approx(kl, rel=1e-3)
    assert loss["mse"] == pytest.approx(mse, rel=1e-4)
    assert loss["nbest"] == pytest.approx(nbest, rel=1e-3)


def test_teachers_that_are_refused(taught: tuple[Path, Path], tmp_path: Path) -> None:
    run, manifest = taught
    other = write_corpus(tmp_path, "ocr", ["ab cd"] * 3, "fewer")
    blocks = [{"channels": 8, "pool": [4, 2]}, {"channels": 8, "stride": [1, 2], "pool": [1, 2]}]
    options = {"teacher": str(run)}
    short = write_corpus(tmp_path, "ocr", ["ab", "ba"], "short")
    for config, message in (
        (student(short, loss__distillation=options), "tokens that are not the"),
        (student(manifest, loss__distillation=options, features__height=24), "it was trained on other features"),
        (
            student(other, loss__distillation=options, model__frontend={"blocks": blocks}),
            "kl compares frames, and it gives one for 2 feature frames, this model one for 4",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            train_quietly(config, tmp_path / "run")
    config = student(manifest, loss__distillation={"teacher": str(tmp_path / "none")})
    with pytest.raises(CheckpointError, match=r"no model\.safetensors here"):
        train_quietly(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("distillation", "message"),
    [
        ({"teacher": "x", "kind": "mse", "temperature": 2.0}, "temperature: no effect without kind: kl"),
        ({"teacher": "x", "nbest": 5}, "nbest: no effect without kind: nbest"),
        ({"kind": "kl"}, "teacher: Field required"),
    ],
)
def test_wrong_configurations(distillation: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tiny_config("ocr", Path("train.jsonl"), loss__distillation=distillation)
    assert message in str(raised.value)


def test_frames_cannot_be_compared_without_a_ctc_head() -> None:
    with pytest.raises(ConfigError, match="kl compares CTC heads; use kind: nbest"):
        tiny_config(
            "ocr", Path("x.jsonl"), loss__ctc_weight=0.0, loss__distillation={"teacher": "x"}, model__decoder={}
        )
