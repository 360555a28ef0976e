"""Dropout whose mask costs one random byte an element: on a CPU, drawing masks one number an element takes a seventh of
a training step."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Dropout"]

_LEVELS = 256  # values of a random byte


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`; on the CPU the probability is rounded to the nearest of 256 levels, and what is kept is
    scaled by exactly that."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of any shape, some of them set to zero in training."""
        dropped = round(self.p * _LEVELS)
        if not self.training or values.device.type != "cpu" or not 0 < dropped < _LEVELS:
            return super().forward(values)
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
        kept = words.view(torch.uint8)[: values.numel()].view(values.shape) >= dropped
        return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))
