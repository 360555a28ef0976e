"""All that training needs to go on exactly where it stopped, in one file that is replaced atomically."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ctcrec.checkpoint import read_tensors, write_tensors
from ctcrec.errors import CheckpointError
from ctcrec.training.validation import Validation

__all__ = ["Progress", "load_state", "random_state", "save_state"]


@dataclass
class Progress:
    """Where training is. Counters of the running epoch start again with each epoch."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0
    seconds: float = 0.0
    bad_batches_in_row: int = 0
    learning_rate: float = 0.0  # of the last step
    plateau_factor: float = 1.0
    plateau_epochs: int = 0
    epochs_since_best: int = 0
    last: dict[str, Any] = field(default_factory=dict)  # row of the last epoch
    best: dict[str, Any] = field(default_factory=dict)  # row of the epoch whose weights are the checkpoint
    best_epochs: list[dict[str, Any]] = field(default_factory=list)  # of `average: best`, best first
    # sums over the running epoch
    loss: float = 0.0
    tokens: int = 0
    frames: int = 0
    padded_frames: int = 0
    wait_seconds: float = 0.0
    step_seconds: float = 0.0
    skipped_batches: int = 0
    infeasible: int = 0
    data: str = ""  # fingerprint of the training data
    processes: int = 1  # that train together

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch with empty sums."""
        self.epoch, self.batch = epoch, 0
        self.loss, self.tokens, self.frames, self.padded_frames = 0.0, 0, 0, 0
        self.wait_seconds = self.step_seconds = 0.0
        self.skipped_batches = self.infeasible = 0

    def epoch_row(self, validation: Validation) -> dict[str, Any]:
        """What `metrics.jsonl` says of the epoch that ends."""
        seconds = max(self.step_seconds, 1e-9)
        attention_loss = validation.attention_loss
        return {
            "epoch": self.epoch + 1,
            "train_loss": self.loss / max(self.tokens, 1),
            "valid_loss": validation.loss,
            **({} if attention_loss is None else {"valid_attention_loss": attention_loss}),
            "cer": validation.cer,
            "wer": validation.wer,
            "blank_rate": validation.blank_rate,
            "distinct_outputs": validation.distinct_outputs,
            "learning_rate": self.learning_rate,
            "frames_per_second": self.frames / seconds,
            "padding": 1.0 - self.frames / max(self.padded_frames, 1),
            "data_wait": self.wait_seconds / seconds,
            "skipped_batches": self.skipped_batches,
            "infeasible": self.infeasible + validation.infeasible,
            "seconds": self.seconds,
        }


def random_state() -> dict[str, torch.Tensor]:
    """The states of this process's random generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def save_state(
    path: Path,
    progress: Progress,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    averages: dict[str, dict[str, torch.Tensor]],
    random_states: Sequence[dict[str, torch.Tensor]] | None = None,
) -> None:
    """Write everything; see `ctcrec.checkpoint.write_tensors` for what happens when the disk is full.

    `random_states` are those of all processes, by rank; this one's alone if not given.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
    for label, weights in averages.items():
        tensors |= {f"average/{label}/{name}": tensor for name, tensor in weights.items()}
    for rank, states in enumerate(random_states or [random_state()]):
        tensors |= {f"random/{_of_rank(name, rank)}": state for name, state in states.items()}
    copied = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(dataclasses.asdict(progress)), "scaler": json.dumps(scaler.state_dict())}
    write_tensors(path, copied, metadata)


def _of_rank(name: str, rank: int) -> str:
    return f"{name}-{rank}" if rank else name


def load_state(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, rank: int = 0
) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]]:
    """Restore model, optimizer, scaler and random generators in place; returns progress and weight averages.

    Raises:
        CheckpointError: the file is missing, altered, or of another model.
    """
    tensors, metadata = read_tensors(path)
    grouped: dict[str, dict[str, torch.Tensor]] = {"model": {}, "optimizer": {}, "average": {}, "random": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        grouped[kind][rest] = tensor
    try:
        model.load_state_dict(grouped["model"])
    except RuntimeError as error:
        raise CheckpointError(f"{path}: does not fit the model of the configuration: {error}") from None
    state = optimizer.state_dict()
    state["state"] = {}
    for name, tensor in grouped["optimizer"].items():
        index, _, key = name.partition("/")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
    averages: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in grouped["average"].items():
        label, _, key = name.partition("/")
        averages.setdefault(label, {})[key] = tensor
    on_cpu, on_gpu = (grouped["random"].get(_of_rank(name, rank)) for name in ("cpu", "cuda"))
    if on_cpu is not None:  # else there were fewer processes, which the caller tells from `processes`
        torch.set_rng_state(on_cpu)
    if on_gpu is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(on_gpu)
    scaler.load_state_dict(json.loads(metadata["scaler"]))
    return Progress(**json.loads(metadata["progress"])), averages
