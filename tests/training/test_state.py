"""The state that resuming needs: everything comes back, bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from ctcrec.errors import CheckpointError
from ctcrec.training.optim import build_optimizer
from ctcrec.training.state import Progress, load_state, save_state


def made(seed: int = 0, width: int = 4) -> tuple[nn.Module, torch.optim.AdamW, torch.amp.GradScaler]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    return model, build_optimizer(model, 0.01, 0.1), torch.amp.GradScaler("cpu", enabled=False)


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()


def test_going_on_equals_never_stopping(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    model, optimizer, scaler = made()
    take_steps(model, optimizer, 3)
    progress = Progress(epoch=2, batch=3, step=11, best={"cer": 0.25, "epoch": 1}, best_epochs=[{"epoch": 1}], data="x")
    averages = {"ema": {"w": torch.randn(3)}, "best-0": {"0.weight": torch.randn(2, 2), "n": torch.tensor(3)}}
    save_state(path, progress, model, optimizer, scaler, averages)
    take_steps(model, optimizer, 4)

    other, other_optimizer, _ = made(seed=5)
    restored, restored_averages = load_state(path, other, other_optimizer, scaler)
    assert restored == progress
    take_steps(other, other_optimizer, 4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert restored_averages.keys() == averages.keys()
    for label, weights in averages.items():
        assert all(torch.equal(weights[name], restored_averages[label][name]) for name in weights)


def test_before_the_first_step(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    model, optimizer, scaler = made()
    save_state(path, Progress(), model, optimizer, scaler, {})
    other, other_optimizer, _ = made(seed=5)
    assert load_state(path, other, other_optimizer, scaler) == (Progress(), {})
    take_steps(model, optimizer, 0)
    assert torch.equal(model[0].weight, other[0].weight)


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, Progress(), *made(), {})
    with pytest.raises(CheckpointError, match=r"state\.safetensors: does not fit the model"):
        load_state(path, *made(width=5))


def test_missing_and_damaged(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(CheckpointError, match=r"state\.safetensors: no such file"):
        load_state(path, *made())
    save_state(path, Progress(), *made(), {})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"state\.safetensors: is damaged or truncated"):
        load_state(path, *made())


def test_starting_an_epoch_keeps_the_totals() -> None:
    progress = Progress(
        epoch=1, batch=4, step=20, seconds=3.0, loss=1.0, tokens=4, frames=5, padded_frames=6, skipped_batches=2,
        bad_batches_in_row=1, infeasible=3, wait_seconds=1.0, step_seconds=2.0,
    )  # fmt: skip
    progress.start_epoch(2)
    assert progress == Progress(epoch=2, step=20, seconds=3.0, bad_batches_in_row=1)
    assert {field.name for field in dataclasses.fields(progress)} >= {"best", "data"}
