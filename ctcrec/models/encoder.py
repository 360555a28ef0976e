"""The bidirectional recurrent encoder.

PyTorch's packed sequences are several times slower on a CPU than padded ones. The same result comes from two
one-directional layers on padded sequences: one reads frames forwards; the other reads each sequence reversed *within
its own length*, so that padding always comes last and never reaches a true frame.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["BidirectionalEncoder", "initialize_recurrent", "reverse_sequences"]


def reverse_sequences(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse each sequence of (N, T, D) within its length; padding stays where it is. Its own inverse."""
    time = torch.arange(frames.shape[1], device=frames.device)
    index = lengths[:, None] - 1 - time
    index = torch.where(index >= 0, index, time)
    return frames.gather(1, index[:, :, None].expand_as(frames))


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
    """One forward and one backward LSTM or GRU, (N, T, D) → (N, T, 2 width)."""

    def __init__(self, cell: str, input_size: int, width: int) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.forwards = layer(input_size, width, batch_first=True)
        self.backwards = layer(input_size, width, batch_first=True)
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
        self.dropout = nn.Dropout(dropout)
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
        for layer, projection in zip(self.layers, self.projections, strict=True):
            frames = projection(layer(self.dropout(frames), lengths))
            outputs.append(self.dropout(frames) if layer is self.layers[-1] else frames)
        return outputs
