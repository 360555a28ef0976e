"""The convolutional frontend: (N, T, F) features → (N, T', D) frames, the same code for spectra and pixel columns.

Every layer keeps two promises, so that an example's frames do not depend on what it is batched with:
frames beyond an example's length are zero when they enter a convolution, exactly as its own zero padding would be;
and batch statistics are taken over true frames only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
from torch import nn

from ctcrec.models.dropout import Dropout

_Size = TypeVar("_Size", int, torch.Tensor)

__all__ = ["Convolution", "ConvolutionFrontend", "FeatureNormalization", "frame_mask"]


def frame_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """(N,) lengths → (N, size) bool, true at frames before each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One block: conv (centred) → max-pool → batch norm → ReLU → dropout. Sizes are (time, feature)."""

    channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)

    @property
    def subsampling(self) -> tuple[int, int]:
        """Input frames for each output frame, and features for each feature."""
        return self.stride[0] * self.pool[0], self.stride[1] * self.pool[1]

    def output_size(self, size: _Size, axis: int) -> _Size:
        """Exact output size along an axis (0 time, 1 feature): ceil(size / stride), then floor by the pool."""
        return ((size - 1) // self.stride[axis] + 1) // self.pool[axis]


class FeatureNormalization(nn.Module):
    """(x − mean) / std with fixed statistics of the training set, kept in the checkpoint as buffers (F,)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.std


class ConvolutionBlock(nn.Module):
    """See `Convolution`; (N, C, T, F) → (N, C', T', F'), with zeros beyond each length."""

    def __init__(self, in_channels: int, block: Convolution, normalization: str, dropout: float) -> None:
        super().__init__()
        padding = (block.kernel[0] // 2, block.kernel[1] // 2)
        self.convolution = nn.Conv2d(in_channels, block.channels, block.kernel, block.stride, padding)
        self.pool = nn.MaxPool2d(block.pool) if block.pool != (1, 1) else nn.Identity()
        self.normalization = nn.BatchNorm1d(block.channels) if normalization == "batch" else nn.Identity()
        self.dropout = Dropout(dropout)
        self.block = block

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = self.block.output_size(lengths, 0)
        if not self.training and isinstance(self.pool, nn.Identity):
            return self._at_once(frames, lengths), lengths
        frames = self.pool(self.convolution(frames))
        n, channels, time, bands = frames.shape
        rows = frames.permute(0, 2, 3, 1).reshape(n * time, bands * channels)  # a view under channels_last
        true = frame_mask(lengths, time).flatten().nonzero().squeeze(1)
        kept = rows.index_select(0, true).view(-1, channels)  # batch statistics and ReLU see no padding
        kept = self.dropout(torch.relu(self.normalization(kept))).view(-1, bands * channels)
        rows = kept.new_zeros(n * time, bands * channels).index_copy(0, true, kept)
        return rows.view(n, time, bands, channels).permute(0, 3, 1, 2), lengths

    def _at_once(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """With fixed statistics, taken into the convolution's weights: w' = γ w / σ and b' = γ (b − μ) / σ + β."""
        weight, bias, statistics = self.convolution.weight, self.convolution.bias, self.normalization
        if isinstance(statistics, nn.BatchNorm1d):
            mean, variance = statistics.running_mean, statistics.running_var
            assert bias is not None and mean is not None and variance is not None
            scale = statistics.weight * torch.rsqrt(variance + statistics.eps)
            weight, bias = weight * scale[:, None, None, None], (bias - mean) * scale + statistics.bias
        frames = nn.functional.conv2d(frames, weight, bias, self.convolution.stride, self.convolution.padding)
        n, channels, time, bands = frames.shape
        padded = (~frame_mask(lengths, time)).flatten().nonzero().squeeze(1)
        rows = frames.permute(0, 2, 3, 1).reshape(n * time, bands * channels).index_fill_(0, padded, 0.0)
        return rows.relu_().view(n, time, bands, channels).permute(0, 3, 1, 2)


class ConvolutionFrontend(nn.Module):
    """Convolution blocks, then all channels of a frame in one vector, optionally projected.

    Args:
        n_features: F, the size of an input frame.
        blocks: the convolutions, first to last.
        normalization: "batch" or "none".
        dropout: after each block.
        projection: width of a linear layer at the end, or None.
        global_normalization: whether features are first normalized with statistics of the training set
            (`set_statistics`).
    """

    def __init__(
        self,
        n_features: int,
        blocks: Sequence[Convolution],
        *,
        normalization: str = "batch",
        dropout: float = 0.0,
        projection: int | None = None,
        global_normalization: bool = False,
    ) -> None:
        super().__init__()
        self.feature_normalization = FeatureNormalization(n_features) if global_normalization else nn.Identity()
        channels = [1, *(block.channels for block in blocks)]
        self.convolutions = tuple(blocks)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(size, block, normalization, dropout) for size, block in zip(channels, blocks, strict=False)
        )
        self.subsampling_factor = prod(block.subsampling[0] for block in blocks)
        self.receptive_field = _receptive_field(blocks)
        bands = n_features
        for block in blocks:
            bands = block.output_size(bands, 1)
        if bands < 1:
            raise ValueError(
                f"strides and pools {[b.subsampling[1] for b in blocks]} leave nothing of {n_features} features"
            )
        flat = bands * channels[-1]
        self.projection = nn.Linear(flat, projection) if projection else nn.Identity()
        self.output_size = projection or flat

    def set_statistics(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set the training set's feature statistics, (F,) each; only with global_normalization."""
        assert isinstance(self.feature_normalization, FeatureNormalization)
        self.feature_normalization.mean.copy_(mean)
        self.feature_normalization.std.copy_(std.clamp(min=1e-5))

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        """Frames after subsampling; an input shorter than one output frame is padded to one."""
        lengths = lengths.clamp(min=self.subsampling_factor)
        for block in self.convolutions:
            lengths = block.output_size(lengths, 0)
        return lengths

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, T, F), (N,) → (N, T', D), (N,)."""
        features = self.feature_normalization(features)
        features = features * frame_mask(lengths, features.shape[1])[:, :, None]
        missing = self.subsampling_factor - features.shape[1]
        if missing > 0:
            features = nn.functional.pad(features, (0, 0, 0, missing))
        lengths = lengths.clamp(min=self.subsampling_factor)
        frames = features[..., None].permute(0, 3, 1, 2)  # one channel, channels last
        for block in self.blocks:
            frames, lengths = block(frames, lengths)
        return self.projection(frames.permute(0, 2, 3, 1).flatten(2)), lengths


def _receptive_field(blocks: Sequence[Convolution]) -> int:
    """Input frames that one output frame of the convolutions sees."""
    field, stride = 1, 1
    for block in blocks:
        field += (block.kernel[0] - 1) * stride
        stride *= block.stride[0]
        field += (block.pool[0] - 1) * stride
        stride *= block.pool[0]
    return field
