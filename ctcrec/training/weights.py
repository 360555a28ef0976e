"""Weights of classes, steps and sequences in the loss: from the configuration, and from the rows of the manifests.

A row's `weight` is the factor of its losses; its `token_weights` are those of its tokens, one for each and perhaps one
more for the end of the text: 0 masks a token. Examples without have 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ctcrec.config import LossConfig
from ctcrec.errors import ConfigError, ManifestError
from ctcrec.records import Batch, Example
from ctcrec.text import Tokenizer

__all__ = ["NO_WEIGHTS", "BatchWeights", "Weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Factors of a batch's losses, None where all are 1: classes (C,), steps (N, L + 1), sequences (N,)."""

    classes: torch.Tensor | None = None
    steps: torch.Tensor | None = None
    sequences: torch.Tensor | None = None


NO_WEIGHTS = Weights()


class BatchWeights:
    """Args:
    loss: the configuration.
    tokenizer: its tokens have the weights of classes.
    examples, targets: all that is trained on; their rows are checked.

    Raises:
        ConfigError: a class weight of a token that there is not, or no row has a weight.
        ManifestError: a row with weights that cannot be used; names the example.
    """

    def __init__(
        self, loss: LossConfig, tokenizer: Tokenizer, examples: Sequence[Example], targets: Sequence[Sequence[int]]
    ) -> None:
        self.loss = loss
        self.classes = _class_weights(loss, tokenizer)
        if loss.sequence_weights == "manifest":
            _need([_sequence_weight(example) for example in examples], "weight")
        if loss.step_weights == "manifest":
            rows = zip(examples, targets, strict=True)
            _need([_token_weights(example, len(target)) for example, target in rows], "token_weights")

    def of(self, batch: Batch) -> Weights:
        """The weights of one batch, on its device."""
        device = batch.targets.device
        steps = sequences = None
        if self.loss.sequence_weights == "length":
            sequences = 1.0 / batch.target_lengths.clamp(min=1)
        elif self.loss.sequence_weights == "manifest":
            given = [_sequence_weight(example) for example in batch.examples]
            sequences = torch.tensor([1.0 if weight is None else weight for weight in given], device=device)
        if self.loss.step_weights == "position":
            places = torch.arange(batch.targets.shape[1] + 1, device=device)
            steps = (self.loss.position_decay**places).expand(len(batch), -1)
        elif self.loss.step_weights == "manifest":
            steps = torch.ones(len(batch), batch.targets.shape[1] + 1)
            for row, example, length in zip(steps, batch.examples, batch.target_lengths.tolist(), strict=True):
                weights = _token_weights(example, length) or []
                row[: len(weights)] = torch.tensor(weights)
            steps = steps.to(device)
        return Weights(None if self.classes is None else self.classes.to(device), steps, sequences)


def _class_weights(loss: LossConfig, tokenizer: Tokenizer) -> torch.Tensor | None:
    if not loss.class_weights:
        return None
    weights = torch.ones(len(tokenizer))
    index = {token: place for place, token in enumerate(tokenizer.tokens)}
    unknown = [token for token in loss.class_weights if token not in index]
    if unknown:
        raise ConfigError(
            f"loss.class_weights: no such tokens: {', '.join(map(repr, unknown))}; the run's tokens.json lists them,"
            f" for example {', '.join(map(repr, tokenizer.tokens[:5]))}"
        )
    for token, weight in loss.class_weights.items():
        weights[index[token]] = weight
    return weights


def _need(weights: Sequence[object], key: str) -> None:
    if all(weight is None for weight in weights):
        raise ConfigError(
            f"loss: weights from the manifest were asked for, and no training row has a {key!r}; add it to the rows, or"
            " choose another kind of weights"
        )


def _sequence_weight(example: Example) -> float | None:
    weight = example.extra.get("weight")
    if weight is None or _is_weight(weight):
        return weight
    raise ManifestError(f"example {example.id}: weight must be a number that is not negative, not {weight!r}")


def _token_weights(example: Example, tokens: int) -> list[float] | None:
    weights = example.extra.get("token_weights")
    if weights is None:
        return None
    if isinstance(weights, list) and len(weights) in (tokens, tokens + 1) and all(map(_is_weight, weights)):
        return weights
    raise ManifestError(
        f"example {example.id}: token_weights must be a list of {tokens} numbers that are not negative, one for each"
        f" token, or {tokens + 1} with the end's; not {weights!r}"
    )


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
