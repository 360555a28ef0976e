"""Optimizer, learning-rate schedule and weight averages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

__all__ = ["WeightAverage", "build_optimizer", "learning_rate_factor", "mean_weights"]


def build_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases and normalization parameters do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-8)


def learning_rate_factor(schedule: str, step: int, warmup_steps: int, progress: float) -> float:
    """The learning rate's factor before step `step` (counted from 0).

    It rises linearly over `warmup_steps`; then "cosine" falls to zero as `progress` goes from 0 to 1 (Loshchilov &
    Hutter 2017), and the other schedules stay.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "cosine":
        return warmup * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return warmup


class WeightAverage:
    """Exponential moving average of a model's parameters; buffers (batch statistics) are copied.

    The decay rises with the steps as min(decay, (1 + step) / (10 + step)), so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights after step `step` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = {name for name, _ in model.named_parameters()}
        for name, tensor in model.state_dict().items():
            if name in parameters:
                self.weights[name].lerp_(tensor, 1.0 - decay)
            else:
                self.weights[name].copy_(tensor)


def mean_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several state dicts; integer buffers are taken from the first."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
