"""The bidirectional recurrent encoder.

PyTorch's packed sequences are several times slower on a CPU than padded ones. The same result comes from two
one-directional layers on padded sequences: one reads frames forwards; the other reads each sequence reversed *within
its own length*, so that padding always comes last and never reaches a true frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ctcrec.models.dropout import Dropout

__all__ = ["BidirectionalEncoder", "initialize_recurrent", "reverse_sequences"]


class ReverseSequences(torch.autograd.Function):
    """See `reverse_sequences`; being its own inverse, it is its own gradient too. Frames (T, N, D) are moved whole."""

    @staticmethod
    def forward(ctx: Any, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(lengths)
        time, count, size = frames.shape
        place = torch.arange(time, device=frames.device)[:, None]
        source = lengths - 1 - place
        rows = torch.where(source >= 0, source, place) * count + torch.arange(count, device=frames.device)
        return frames.reshape(-1, size).index_select(0, rows.flatten()).view(time, count, size)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        [lengths] = ctx.saved_tensors
        return ReverseSequences.apply(gradient, lengths), None


def reverse_sequences(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse each sequence of (T, N, D) within its length; padding stays where it is. Its own inverse."""
    return ReverseSequences.apply(frames, lengths)


def initialize_recurrent(layer: nn.LSTM | nn.GRU) -> None:
    """Xavier input weights, an orthogonal recurrent matrix for each gate, zero biases, LSTM forget-gate bias 1."""
    size = layer.hidden_size
    for name, parameter in layer.named_parameters():
        if "weight" in name:
            initialize = nn.init.xavier_uniform_ if "_ih_" in name else nn.init.orthogonal_
            for gate in torch.split(parameter.data, size):
                initialize(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(layer, nn.LSTM) and "_ih_" in name:
                nn.init.ones_(parameter.data[size : 2 * size])  # gates are stored input, forget, cell, output


class BidirectionalLayer(nn.Module):
    """One forward and one backward LSTM or GRU, (T, N, D) → (T, N, 2 width)."""

    def __init__(self, cell: str, input_size: int, width: int) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.forwards = layer(input_size, width)
        self.backwards = layer(input_size, width)
        initialize_recurrent(self.forwards)
        initialize_recurrent(self.backwards)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        forwards, _ = self.forwards(frames)
        backwards, _ = self.backwards(reverse_sequences(frames, lengths))
        return torch.cat([forwards, reverse_sequences(backwards, lengths)], dim=2)


class BidirectionalEncoder(nn.Module):
    """A stack of bidirectional layers with dropout, and a linear projection after each layer but the last if wanted.

    Args:
        input_size: D of the incoming frames.
        cell: "lstm" or "gru".
        layers: how many.
        width: units of each direction.
        dropout: on the input of every layer and on the output of the last.
        projection: width of the linear layers in between, or None.
    """

    def __init__(
        self,
        input_size: int,
        *,
        cell: str = "lstm",
        layers: int = 2,
        width: int = 160,
        dropout: float = 0.0,
        projection: int | None = None,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.layer_sizes: list[int] = []
        self.layers = nn.ModuleList()
        self.projections = nn.ModuleList()
        for index in range(layers):
            self.layers.append(BidirectionalLayer(cell, input_size, width))
            project = projection is not None and index < layers - 1
            self.projections.append(nn.Linear(2 * width, projection or 0) if project else nn.Identity())
            input_size = projection if project and projection else 2 * width
            self.layer_sizes.append(input_size)
        self.output_size = input_size

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """(N, T, D), (N,) → the output of every layer, first to last, (N, T, D') each."""
        outputs = []
        frames = frames.transpose(0, 1)  # recurrent layers want time first
        for layer, projection in zip(self.layers, self.projections, strict=True):
            frames = projection(layer(self.dropout(frames), lengths))
            outputs.append((self.dropout(frames) if layer is self.layers[-1] else frames).transpose(0, 1))
        return outputs
