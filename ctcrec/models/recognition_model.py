"""The recognition model, the same for speech and for lines: frontend → encoder → linear CTC head, attention decoder,
or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ctcrec.config import DecodingConfig, ModelConfig
from ctcrec.errors import ConfigError
from ctcrec.models.attention_decoder import AttentionDecoder, DecoderOutput
from ctcrec.models.encoder import BidirectionalEncoder
from ctcrec.models.frontends import Convolution, ConvolutionFrontend

__all__ = ["ModelOutput", "RecognitionModel", "build_model", "check_heads", "describe_model"]


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What the model says of a batch.

    Attributes:
        logits: (N, T', C) of the CTC head; C is 0 where there is none.
        lengths: (N,) their true lengths.
        intermediate: logits of the chosen encoder layers, in training.
        frames: (N, T', D) of the encoder, which the decoder looks at.
        attention: the decoder's output for the targets, if targets were given.
    """

    logits: torch.Tensor
    lengths: torch.Tensor
    intermediate: tuple[torch.Tensor, ...] = ()
    frames: torch.Tensor | None = None
    attention: DecoderOutput | None = None


class RecognitionModel(nn.Module):
    """Features (N, T, F) with their lengths → logits over tokens, blank at index 0.

    Args:
        frontend, encoder: the two parts.
        n_tokens: C, blank included.
        intermediate_layers: encoder layers (1 = first) that also predict tokens in training, each through a head of its
            own, for InterCTC (Lee & Watanabe 2021, arXiv 2102.03216).
        decoder: the attention decoder, if there is one.
        ctc: whether there is a CTC head.
    """

    def __init__(
        self,
        frontend: ConvolutionFrontend,
        encoder: BidirectionalEncoder,
        n_tokens: int,
        intermediate_layers: Sequence[int] = (),
        decoder: AttentionDecoder | None = None,
        ctc: bool = True,
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, n_tokens) if ctc else None
        if self.head is not None:
            nn.init.xavier_uniform_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.intermediate_layers = tuple(intermediate_layers)
        self.intermediate_heads = nn.ModuleList(
            nn.Linear(encoder.layer_sizes[layer - 1], n_tokens) for layer in self.intermediate_layers
        )
        self.decoder = decoder

    @property
    def subsampling_factor(self) -> int:
        """Input frames per output frame."""
        return self.frontend.subsampling_factor

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        """(N,) feature frames → (N,) logit frames."""
        return self.frontend.output_lengths(lengths)

    def forward(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor | None = None,
        sampling_ratio: float = 0.0,
    ) -> ModelOutput:
        """(N, T, F), (N,) → ModelOutput. With a decoder and targets (N, L), also what the decoder says of them; for
        `sampling_ratio` see `AttentionDecoder.forward`."""
        frames, lengths = self.frontend(features, lengths)
        outputs = self.encoder(frames, lengths)
        intermediate: tuple[torch.Tensor, ...] = ()
        if self.training:
            intermediate = tuple(
                head(outputs[layer - 1])
                for layer, head in zip(self.intermediate_layers, self.intermediate_heads, strict=True)
            )
        encoded = outputs[-1]
        with torch.autocast(encoded.device.type, enabled=False):  # two digits are too few for log-probabilities
            logits = self.head(encoded.float()) if self.head is not None else encoded[:, :, :0]
        attention = None
        if self.decoder is not None and targets is not None:
            attention = self.decoder(encoded, lengths, targets, sampling_ratio)
        return ModelOutput(logits, lengths, intermediate, encoded, attention)


def build_model(
    config: ModelConfig,
    n_features: int,
    n_tokens: int,
    *,
    global_normalization: bool = False,
    intermediate_layers: Sequence[int] = (),
    ctc: bool = True,
) -> RecognitionModel:
    """A freshly initialized model; weights come from torch's current seed. `ctc`: whether it has a CTC head.

    Raises:
        ConfigError: the pooling leaves nothing of a frame.
    """
    blocks = [Convolution(block.channels, block.kernel, block.stride, block.pool) for block in config.frontend.blocks]
    try:
        frontend = ConvolutionFrontend(
            n_features,
            blocks,
            normalization=config.frontend.normalization,
            dropout=config.frontend.dropout,
            projection=config.frontend.projection,
            global_normalization=global_normalization,
        )
    except ValueError as error:
        raise ConfigError(f"model.frontend.blocks: {error}; use fewer or smaller feature pools") from None
    encoder = BidirectionalEncoder(
        frontend.output_size,
        cell=config.encoder.cell,
        layers=config.encoder.layers,
        width=config.encoder.width,
        dropout=config.encoder.dropout,
        projection=config.encoder.projection,
    )
    decoder = None
    if config.decoder is not None:
        decoder = AttentionDecoder(n_tokens, encoder.output_size, **config.decoder.model_dump())
    return RecognitionModel(frontend, encoder, n_tokens, intermediate_layers, decoder, ctc)


def describe_model(model: RecognitionModel, frame_name: str = "frames") -> str:
    """Layers, parameters, receptive field and subsampling factor, as text for people."""
    lines = []
    for name, module in model.named_modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if own:
            lines.append(f"{name:<48} {str(module).splitlines()[0]:<72} {own:>10,}")
    total = sum(parameter.numel() for parameter in model.parameters())
    lines.append(f"{'parameters':<48} {'':<72} {total:>10,}")
    lines.append(f"subsampling factor: {model.subsampling_factor} {frame_name} for each output frame")
    lines.append(
        f"receptive field of the frontend: {model.frontend.receptive_field} {frame_name};"
        " of the whole model: the entire example (bidirectional encoder)"
    )
    return "\n".join(lines)


def check_heads(config: DecodingConfig, model: RecognitionModel) -> None:
    """Raise ConfigError where a strategy needs a head that the model was trained without."""
    if config.strategy not in ("greedy", "beam") and model.decoder is None:
        raise ConfigError(
            f"decoding: {config.strategy} needs an attention decoder, and this model has none; use greedy or beam, or"
            " train with model.decoder and a loss.ctc_weight below 1"
        )
    if config.strategy not in ("attention", "sample") and model.head is None:
        raise ConfigError(
            f"decoding: {config.strategy} needs a CTC head, and this model was trained with loss.ctc_weight = 0; use"
            " attention or sample"
        )
    if config.safeguard and model.head is None:
        raise ConfigError("decoding: safeguard has no effect without a CTC head; this model has none")
    if config.coverage_weight and model.decoder is not None and model.decoder.attention is None:
        raise ConfigError("decoding: coverage_weight has no effect on this model, whose decoder has attention: none")
