"""Checkpoints: what comes back is what went in; anything missing, altered or cut is found and named."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_config

import ctcrec.checkpoint
from ctcrec.checkpoint import build_from_config, load_checkpoint, read_tensors, save_checkpoint, write_tensors
from ctcrec.errors import CheckpointError
from ctcrec.text import CharTokenizer, train_tokenizer

if TYPE_CHECKING:
    from conftest import Trained

FILES = ("model.safetensors", "config.yaml", "tokenizer.json", "tokens.json", "metrics.json")


@pytest.fixture
def run(trained_models: dict[str, Trained], tmp_path: Path) -> Path:
    """A copy of the checkpoint of the line model."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in FILES:
        shutil.copy(trained_models["ocr"].run / name, folder / name)
    return folder


def message_of(run: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(run)
    return str(raised.value)


@pytest.mark.parametrize(
    ("modality", "text"),
    [("ocr", {"tokenizer": "char"}), ("speech", {"tokenizer": "bpe", "vocab_size": 12, "normalization": ["nfc"]})],
)
def test_round_trip_of_logits(modality: str, text: dict[str, Any], tmp_path: Path) -> None:
    config = tiny_config(modality, Path("train.jsonl"), text=text, features__normalization="global")
    tokenizer = train_tokenizer(config.text.tokenizer, ["ab cd", "dc ba", "abab cdcd"] * 3, config.text.vocab_size)
    torch.manual_seed(0)
    model = build_from_config(config, len(tokenizer))
    features, lengths = torch.randn(2, 40, 16), torch.tensor([40, 31])
    model.frontend.set_statistics(torch.randn(16), torch.rand(16) + 0.5)
    model(features, lengths)  # batch statistics other than 0 and 1
    model.eval()
    save_checkpoint(tmp_path / "run", config, tokenizer, model.state_dict(), {"cer": 0.5, "epoch": 3})
    checkpoint = load_checkpoint(tmp_path / "run")
    assert torch.equal(checkpoint.model(features, lengths).logits, model(features, lengths).logits)
    assert not checkpoint.model.training
    assert checkpoint.config == config
    assert checkpoint.tokenizer.tokens == tokenizer.tokens
    assert checkpoint.tokenizer.decode(checkpoint.tokenizer.encode("ab dc")) == "ab dc"
    assert checkpoint.metrics == {"cer": 0.5, "epoch": 3}
    assert checkpoint.preprocessor.n_features == 16
    assert not list((tmp_path / "run").glob("*.tmp")) and not list((tmp_path / "run").glob(".new-*"))


def test_others_may_read_what_they_may_read_elsewhere(run: Path) -> None:
    assert (run / "model.safetensors").stat().st_mode == (run / "config.yaml").stat().st_mode


def test_loading_draws_no_random_numbers(run: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(run)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    doubled = {k: v * 2 if v.is_floating_point() else v for k, v in checkpoint.model.state_dict().items()}
    save_checkpoint(run, checkpoint.config, checkpoint.tokenizer, doubled, {"cer": 0.1})
    again = load_checkpoint(run)
    assert torch.equal(again.model.head.weight, 2 * checkpoint.model.head.weight)
    assert again.metrics == {"cer": 0.1}


@pytest.mark.parametrize("name", FILES)
def test_missing_files(run: Path, name: str) -> None:
    (run / name).unlink()
    if name == "metrics.json":  # for people only
        assert load_checkpoint(run).metrics == {}
        return
    message = message_of(run)
    assert str(run) in message
    if name == "model.safetensors":
        assert "no model.safetensors here; give the directory that `ctcrec train` wrote" in message
    elif name == "tokens.json":
        assert "tokenizer was altered" in message
    else:
        assert f"{run / name}: is missing; copy the whole checkpoint directory" in message


def test_not_a_directory(tmp_path: Path) -> None:
    assert "no model.safetensors here" in message_of(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "no model.safetensors here" in message_of(tmp_path / "file")


@pytest.mark.parametrize("where", [-1, -1000, 0.5])
def test_one_altered_byte_of_the_weights(run: Path, where: float) -> None:
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[int(where * len(content)) if isinstance(where, float) else where] ^= 1
    path.write_bytes(content)
    assert f"{path}: its content does not match its own hash: it was altered; restore it from a copy" in message_of(run)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_weights(run: Path, keep: float) -> None:
    path = run / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    assert f"{path}: is damaged or truncated" in message_of(run)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.yaml", lambda text: text.replace("width: 16", "width: 17")),
        ("config.yaml", lambda text: text + "\n# a comment\n"),
        ("tokens.json", lambda text: text.replace('"a"', '"e"')),
        ("tokenizer.json", lambda text: text.replace("char", "bpe")),
    ],
)
def test_altered_config_or_tokenizer(run: Path, name: str, change: Callable[[str], str]) -> None:
    before = (run / name).read_text(encoding="utf-8")
    (run / name).write_text(change(before), encoding="utf-8")
    assert (run / name).read_text(encoding="utf-8") != before
    assert f"{run}: config.yaml or the tokenizer was altered after these weights were written" in message_of(run)


def test_damaged_metrics_are_no_reason_to_refuse_the_weights(run: Path) -> None:
    (run / "metrics.json").write_text("{", encoding="utf-8")
    assert load_checkpoint(run).metrics == {}


def test_other_formats(run: Path) -> None:
    path = run / "model.safetensors"
    tensors, metadata = read_tensors(path)
    save_file(tensors, path, {**metadata, "format": "ctcrec-99"})
    assert f"{path}: has format 'ctcrec-99', this version of ctcrec reads 'ctcrec-1'" in message_of(run)
    save_file(tensors, path)
    assert "has format 'unknown'" in message_of(run)


def test_weights_of_another_model(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    tensors = {name: tensor for name, tensor in checkpoint.model.state_dict().items() if name != "head.bias"}
    save_checkpoint(run, checkpoint.config, checkpoint.tokenizer, tensors, {})
    message = message_of(run)
    assert f"{run / 'model.safetensors'}: does not hold the model of config.yaml" in message
    assert "head.bias" in message


def test_a_config_of_another_version(run: Path) -> None:
    """The hashes fit, but this version does not know a key."""
    checkpoint = load_checkpoint(run)
    path = run / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "novelty: 3\n", encoding="utf-8")
    write_tensors(
        run / "model.safetensors",
        checkpoint.model.state_dict(),
        {"files": ctcrec.checkpoint._hash_files(run)},  # as the other version would have written it
    )
    assert "novelty: unknown key" in message_of(run)


def test_no_code_is_run_from_a_checkpoint(run: Path, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harm",)

    for name in ("model.safetensors", "state.safetensors"):
        (run / name).write_bytes(pickle.dumps(Harmful()))
        with pytest.raises(CheckpointError, match="damaged or truncated"):
            read_tensors(run / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([True, False]),
        torch.randn(3).bfloat16(),
        torch.tensor([float("nan"), float("inf")]),
    ],
    ids=["scalar", "empty", "transposed", "bool", "bfloat16", "nan"],
)
def test_tensors_of_any_kind_round_trip(tensor: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    write_tensors(path, {"x": tensor, "one": torch.ones(1)}, {"note": "ä"})
    tensors, metadata = read_tensors(path)
    torch.testing.assert_close(tensors["x"], tensor, rtol=0, atol=0, equal_nan=True)
    assert metadata["note"] == "ä"


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("target", ["save_file", "replace", "fsync"])
def test_a_full_disk_leaves_the_old_file_whole(target: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = load_checkpoint(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(ctcrec.checkpoint if target == "save_file" else os, target, full_disk)
        with pytest.raises(CheckpointError, match=r"cannot be written: No space left on device; free space or choose"):
            save_checkpoint(run, checkpoint.config, checkpoint.tokenizer, checkpoint.model.state_dict(), {"cer": 9})
    names = {path.name for path in run.iterdir()}
    assert names == before.keys()  # nothing half written lies about
    assert (run / "model.safetensors").read_bytes() == before["model.safetensors"]
    load_checkpoint(run)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = tiny_config("ocr", Path("train.jsonl"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "run", config, CharTokenizer.train(["ab"]), {}, {})


def test_metrics_are_for_people(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert {"epoch", "cer", "wer", "valid_loss"} <= metrics.keys()
