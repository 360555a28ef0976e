"""Which weights are kept: the best epoch's, or the mean of several good ones."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ctcrec.checkpoint import save_checkpoint
from ctcrec.data.batching import plan_in_order
from ctcrec.data.dataset import BatchDataset, iterate_batches
from ctcrec.training.optim import mean_weights
from ctcrec.training.setup import Setup
from ctcrec.training.state import Progress
from ctcrec.training.validation import Validation, validate

__all__ = ["Selection"]

Weights = dict[str, torch.Tensor]
_VALIDATION_FRAMES = 40_000  # feature frames in a validation batch


class Selection:
    """Validates weights and keeps the best as the run's checkpoint.

    Args:
        setup: model and data.
        out: the run's directory.
        keep: how many weights to keep for their mean; 0 = none.
        writes: whether this process writes the checkpoint.
    """

    def __init__(self, setup: Setup, out: Path, keep: int, writes: bool = True) -> None:
        self.setup, self.out, self.keep, self.writes = setup, out, keep, writes
        self.best_weights: list[Weights] = []  # in the order of `Progress.best_epochs`

    def validate(self, weights: Weights) -> Validation:
        """Scores of the model with these weights; its own are back in place afterwards."""
        setup, training = self.setup, self.setup.config.training
        plan = plan_in_order(
            setup.valid.frames, batch_frames=_VALIDATION_FRAMES, max_batch_size=training.max_batch_size
        )
        dataset = BatchDataset(setup.valid.examples, setup.valid.targets, setup.preprocessor, plan.batches)
        batches = iterate_batches(dataset, training.workers)
        with _Borrowed(setup.model, weights):
            return validate(setup.model, batches, setup.tokenizer, setup.normalizer, setup.device)

    def consider(self, weights: Weights, row: dict[str, Any], progress: Progress) -> bool:
        """Save these weights if they are the best so far by CER, then loss; whether they were."""
        better = not progress.best or _key(row) < _key(progress.best)
        progress.epochs_since_best = 0 if better else progress.epochs_since_best + 1
        if better:
            progress.best = row
        if better and self.writes:
            save_checkpoint(self.out, self.setup.config, self.setup.tokenizer, weights, row)
        if self.keep:
            entry = {name: row[name] for name in ("epoch", "cer", "valid_loss")}
            copied = {name: tensor.detach().clone() for name, tensor in weights.items()}
            candidates = [*zip(progress.best_epochs, self.best_weights, strict=True), (entry, copied)]
            candidates = sorted(candidates, key=lambda item: _key(item[0]))[: self.keep]
            progress.best_epochs = [item[0] for item in candidates]
            self.best_weights = [item[1] for item in candidates]
        return better

    def consider_mean(self, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Replace the checkpoint by the mean of the kept weights if that scores better; what came of it, as text, and
        the best row."""
        weights = mean_weights(self.best_weights)
        result = self.validate(weights)
        epochs = [entry["epoch"] for entry in progress.best_epochs]
        scores = {"cer": result.cer, "wer": result.wer, "valid_loss": result.loss, "averaged_epochs": epochs}
        better = _key(scores) < _key(progress.best)
        if better:
            progress.best = {**progress.best, **scores}
            save_checkpoint(self.out, self.setup.config, self.setup.tokenizer, weights, progress.best)
        verdict = "kept" if better else "not better, not kept"
        return f"mean of epochs {epochs}: CER {100 * result.cer:.2f} %, {verdict}", progress.best


def _key(row: dict[str, Any]) -> tuple[float, float]:
    return row["cer"], row["valid_loss"]


class _Borrowed:
    """Run a block with other weights in a model, then put its own back."""

    def __init__(self, model: torch.nn.Module, weights: Weights) -> None:
        self.model, self.weights = model, weights

    def __enter__(self) -> None:
        self.own = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.model.load_state_dict(self.own)
