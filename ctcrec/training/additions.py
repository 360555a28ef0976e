"""What may be added to the loss of the heads: a teacher to learn from, and the risk of whole texts."""

from __future__ import annotations

from typing import Protocol

import torch

from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch
from ctcrec.training.sequence_risk import SequenceRisk
from ctcrec.training.setup import Setup
from ctcrec.training.teacher import Teacher

__all__ = ["Addition", "build_additions"]


class Addition(Protocol):
    """A further loss l; with it, training minimizes (1 − weight) · what it did without + weight · l."""

    @property
    def name(self) -> str:
        """What its number is called in `metrics.jsonl`, where it is per target token."""

    @property
    def weight(self) -> float:
        """From 0 to 1."""

    def __call__(self, output: ModelOutput, batch: Batch) -> tuple[torch.Tensor, float]:
        """The loss summed over the batch, and the number that is logged, summed too."""


def build_additions(setup: Setup) -> list[Addition]:
    """What the configuration asks for, in the order in which it is added.

    Raises:
        ConfigError, CheckpointError: see `ctcrec.training.teacher`.
    """
    loss, additions = setup.config.loss, list[Addition]()
    if loss.distillation is not None:
        additions.append(Teacher(loss.distillation, setup.config, setup.model, setup.tokenizer, setup.device))
    if loss.sequence_training is not None:
        additions.append(SequenceRisk(loss.sequence_training, setup.model, setup.tokenizer))
    return additions
