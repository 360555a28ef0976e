"""Starting a training from a trained model: its frontend and encoder, and of its output what both alphabets have.

The rows of the CTC head, of intermediate heads and of the attention decoder belong to tokens. A token that the old
model has too keeps its rows, wherever its id is now; the others stay as a new model has them. Everything else is
taken as it is, so features, frontend and encoder must be the same, but for the number of pixel rows or mel bands: the
layer that reads all rows of the convolutions then gets weights interpolated between those of the old rows. The new run
decodes greedily until it is tuned: language model and weights of the old one fit its own alphabet and scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctcrec.checkpoint import Checkpoint, hash_weights, load_checkpoint
from ctcrec.config import Config
from ctcrec.errors import ConfigError
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.strategies import DECODING_FILE
from ctcrec.text import Tokenizer

__all__ = ["WarmStart", "start_from"]

_SHOWN = 60  # tokens that are listed one by one
_FRAME_SIZES = {"height", "n_mels"}  # F: the keys of `features` that may differ
_TOKEN_ROWS = ("head.", "intermediate_heads.", "decoder.embedding.", "decoder.output.", "decoder.output_bias")


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What became of the old model.

    Attributes:
        directory: where it lies.
        weights: SHA-256 of its weights' file.
        kept, started, dropped: tokens that both models have, that only the new one has, and that only the old one had;
            without the blank.
        fresh: parts of the new model that the old one lacks or has in another shape.
        resized: whether the old model's frames have another number of pixel rows or mel bands.
        has_decoding: whether the old model has a `decoding.yaml`, which the new run does not take over.
    """

    directory: Path
    weights: str
    kept: tuple[str, ...]
    started: tuple[str, ...]
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]
    resized: bool
    has_decoding: bool

    def lines(self) -> Iterator[str]:
        """What there is to say of it, for people."""
        yield f"starting from {self.directory}: frontend and encoder, and {len(self.kept)} of its tokens"
        if self.started:
            yield f"tokens that start anew, {len(self.started)}: {_listed(self.started)}"
        if self.dropped:
            yield f"tokens given up, for the training texts lack them, {len(self.dropped)}: {_listed(self.dropped)}"
        if self.fresh:
            yield f"parts that start anew: {', '.join(self.fresh)}"
        if self.resized:
            yield "frames have another size than there: weights are interpolated between those of the old rows"
        if self.has_decoding:
            yield (
                f"{DECODING_FILE} of {self.directory} is not taken over: the new run decodes greedily until"
                " `ctcrec tune` gives it its own"
            )

    def facts(self) -> dict[str, Any]:
        """The same for the run's record."""
        return {
            "directory": self.directory.as_posix(),
            "weights_sha256": self.weights,
            "tokens_kept": len(self.kept),
            "tokens_started": list(self.started),
            "tokens_dropped": list(self.dropped),
            "parts_started": list(self.fresh),
            "resized": self.resized,
        }


def start_from(directory: Path, config: Config, model: RecognitionModel, tokenizer: Tokenizer) -> WarmStart:
    """Copy a checkpoint's weights into a freshly initialized `model`; its token rows by the tokens' printed form.

    Raises:
        CheckpointError: see `ctcrec.checkpoint.load_checkpoint`.
        ConfigError: features, frontend or encoder of the two models differ; the message names each key.
    """
    old = load_checkpoint(directory)
    _check_same(old.config, config, directory)
    rows = _shared_rows(old.tokenizer.tokens, tokenizer.tokens)
    theirs = _by_layer(old.model.state_dict(), old.config)
    ours = model.state_dict()
    names = _by_layer({name: name for name in ours}, config)
    fresh = set()
    resized = False
    if _decoder_of(old.config) != _decoder_of(config):
        fresh |= {"attention decoder"} if config.model.decoder is not None else set()
        theirs = {name: tensor for name, tensor in theirs.items() if not name.startswith("decoder.")}
    for name, own in names.items():
        if name not in theirs:
            fresh |= {_part(name)}
        elif name.startswith(_TOKEN_ROWS):
            for new, previous in rows:
                ours[own][new] = theirs[name][previous]
        elif ours[own].shape != theirs[name].shape:
            ours[own].copy_(_resized(theirs[name], ours[own].shape, config.model.frontend.blocks[-1].channels))
            resized = True
        else:
            ours[own].copy_(theirs[name])
    return WarmStart(
        directory,
        hash_weights(directory),
        tuple(tokenizer.tokens[new] for new, _ in rows if new != tokenizer.blank),
        *_only_one_has(tokenizer, old),
        tuple(sorted(fresh)),
        resized,
        (directory / DECODING_FILE).is_file(),
    )


def _resized(tensor: torch.Tensor, shape: torch.Size, channels: int) -> torch.Tensor:
    """What reads frames of one number of rows, for frames of another: interpolated linearly between the rows.

    Args:
        tensor: statistics of features (F,), or weights (D, rows · channels), whose sum over the rows is kept.
        shape: of the result.
    """
    if len(shape) == 1:
        return _interpolated(tensor[None, None], shape[0])[0, 0]
    by_channel = tensor.view(len(tensor), -1, channels).transpose(1, 2)
    rows = shape[1] // channels
    return (_interpolated(by_channel, rows) * (by_channel.shape[2] / rows)).transpose(1, 2).reshape(shape)


def _interpolated(values: torch.Tensor, size: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(values, size=size, mode="linear", align_corners=False)


def _check_same(old: Config, new: Config, directory: Path) -> None:
    """Raise ConfigError where frontend and encoder could not use the old weights."""
    if old.modality != new.modality:
        raise ConfigError(
            f"--from {directory}: is a model of {old.modality}, and the configuration is of {new.modality}"
        )
    differences = [
        f"{key}: {ours} here, {theirs} there" for key, ours, theirs in _differences(_fixed(new), _fixed(old))
    ]
    if differences:
        raise ConfigError(
            f"--from {directory}: its model differs from the configuration, so its weights do not fit: "
            + "; ".join(differences)
            + f". Change these keys, or copy the sections features and model from {directory / 'config.yaml'}"
        )


def _fixed(config: Config) -> dict[str, Any]:
    """What must be equal for the weights to mean the same; dropout may change, and the size of a frame."""
    frontend = config.model.frontend.model_dump(exclude={"dropout"})
    encoder = config.model.encoder.model_dump(exclude={"dropout"})
    features = config.features.model_dump(exclude=_FRAME_SIZES)
    return {"features": features, "model.frontend": frontend, "model.encoder": encoder}


def _differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for section, values in new.items():
        for key, value in values.items():
            if value != old[section][key]:
                yield f"{section}.{key}", _short(value), _short(old[section][key])


def _short(value: Any) -> str:
    """Convolutions as a list of channels and steps would be long: their number says enough."""
    return f"{len(value)} blocks with other sizes" if isinstance(value, tuple | list) else str(value)


def _shared_rows(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """(new id, old id) of every token that both have, the blank included."""
    before = {token: index for index, token in enumerate(old)}
    return [(index, before[token]) for index, token in enumerate(new) if token in before]


def _only_one_has(tokenizer: Tokenizer, old: Checkpoint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    new, before = tokenizer.tokens, old.tokenizer.tokens
    return tuple(t for t in new if t not in set(before)), tuple(t for t in before if t not in set(new))


def _by_layer(tensors: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Intermediate heads are numbered one after the other; here they get the number of their encoder layer."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("intermediate_heads."):
            _, index, rest = name.split(".", 2)
            name = f"intermediate_heads.{config.loss.intermediate_layers[int(index)]}.{rest}"
        renamed[name] = tensor
    return renamed


def _decoder_of(config: Config) -> Any:
    return config.model.decoder and config.model.decoder.model_dump(exclude={"dropout"})


def _part(name: str) -> str:
    first, _, rest = name.partition(".")
    if first == "intermediate_heads":
        return f"CTC head of encoder layer {rest.partition('.')[0]}"
    return {"head": "CTC head", "decoder": "attention decoder"}.get(first, first)


def _listed(tokens: Sequence[str]) -> str:
    shown = " ".join(repr(token) if token.isspace() or not token.isprintable() else token for token in tokens[:_SHOWN])
    return shown + (" …" if len(tokens) > _SHOWN else "")
