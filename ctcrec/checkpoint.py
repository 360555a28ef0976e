"""A checkpoint is a directory of plain files that loads without running code from it:

model.safetensors    weights; its metadata holds their hash and the hashes of the two next
config.yaml          the configuration
tokenizer.json ...   the tokenizer's files
metrics.json         scores of these weights, for people
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ctcrec.config import Config, dump_config, load_config
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import CheckpointError, CtcrecError
from ctcrec.modalities import build_preprocessor
from ctcrec.models.recognition_model import RecognitionModel, build_model
from ctcrec.text import Normalizer, Tokenizer, load_tokenizer

__all__ = [
    "WEIGHTS_FILE",
    "Checkpoint",
    "build_from_config",
    "hash_weights",
    "load_checkpoint",
    "read_tensors",
    "save_checkpoint",
    "write_tensors",
]

WEIGHTS_FILE = "model.safetensors"
_FORMAT = "ctcrec-1"
_CONFIG = "config.yaml"
_METRICS = "metrics.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model with all that is needed to use it."""

    config: Config
    model: RecognitionModel
    tokenizer: Tokenizer
    normalizer: Normalizer
    preprocessor: Preprocessor
    metrics: Mapping[str, Any]


def build_from_config(config: Config, n_tokens: int) -> RecognitionModel:
    """A freshly initialized model for a configuration; weights come from torch's current seed."""
    return build_model(
        config.model,
        build_preprocessor(config.features).n_features,
        n_tokens,
        global_normalization=config.features.normalization == "global",
        intermediate_layers=config.loss.intermediate_layers,
        ctc=config.loss.ctc_weight > 0,
    )


def save_checkpoint(
    directory: Path,
    config: Config,
    tokenizer: Tokenizer,
    tensors: Mapping[str, torch.Tensor],
    metrics: Mapping[str, Any],
) -> None:
    """Write a checkpoint. Each file is replaced atomically, the weights last, so a kill leaves the old or the new one.

    Raises:
        CheckpointError: the disk is full or the directory cannot be written.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as new:
            tokenizer.save(Path(new))
            for path in sorted(Path(new).iterdir()):
                os.replace(path, directory / path.name)
        _replace(directory / _CONFIG, dump_config(config).encode())
        _replace(directory / _METRICS, (json.dumps(dict(metrics), indent=2, ensure_ascii=False) + "\n").encode())
    write_tensors(directory / WEIGHTS_FILE, tensors, {"files": _hash_files(directory)})


def load_checkpoint(directory: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint; the model is in evaluation mode.

    Raises:
        CheckpointError: a file is missing, altered, truncated or of another version; the message names it.
    """
    directory = Path(directory)
    if not (directory / WEIGHTS_FILE).is_file():
        raise CheckpointError(
            f"{directory}: no {WEIGHTS_FILE} here; give the directory that `ctcrec train` wrote (its --out), after"
            " training has finished at least one epoch"
        )
    tensors, metadata = read_tensors(directory / WEIGHTS_FILE)
    for name in (_CONFIG, "tokenizer.json"):
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory / name}: is missing; copy the whole checkpoint directory")
    if metadata.get("files") != _hash_files(directory):
        raise CheckpointError(
            f"{directory}: {_CONFIG} or the tokenizer was altered after these weights were written, so they may no"
            " longer fit; restore the files, or copy the whole directory again"
        )
    try:
        config = load_config(directory / _CONFIG)
        tokenizer = load_tokenizer(directory)
        normalizer = Normalizer.of(config.text.normalization)
    except CtcrecError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    with torch.device("meta"):  # weights that will be replaced need neither time nor random numbers
        model = build_from_config(config, len(tokenizer))
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        model.load_state_dict(wide, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{directory / WEIGHTS_FILE}: does not hold the model of {_CONFIG}: {error}") from None
    metrics: Mapping[str, Any] = {}
    if (directory / _METRICS).is_file():
        with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):  # for people only; the weights are whole
            metrics = json.loads((directory / _METRICS).read_text(encoding="utf-8"))
    return Checkpoint(
        config, model.to(device).eval(), tokenizer, normalizer, build_preprocessor(config.features), metrics
    )


def hash_weights(directory: Path) -> str:
    """SHA-256 of a checkpoint's weights' file, by which records name it."""
    return hashlib.sha256((directory / WEIGHTS_FILE).read_bytes()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors with a hash of their content, atomically.

    Raises:
        CheckpointError: the disk is full or the file cannot be written; the file that was there stays whole.
    """
    temporary = path.with_name(path.name + ".tmp")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    complete = {**metadata, "format": _FORMAT, "sha256": _hash_tensors(contiguous)}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode  # as for any new file; safetensors would let nobody else read it
            save_file(contiguous, temporary, complete)
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What `write_tensors` wrote: tensors and metadata.

    Raises:
        CheckpointError: the file is missing, truncated, altered, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged or truncated ({error}); restore it from a copy") from None
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: has format {metadata.get('format', 'unknown')!r}, this version of ctcrec reads {_FORMAT!r}"
        )
    if metadata.get("sha256") != _hash_tensors(tensors):
        raise CheckpointError(
            f"{path}: its content does not match its own hash: it was altered; restore it from a copy"
        )
    return tensors, metadata


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a CheckpointError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"{path}: cannot be written: {reason}; free space or choose another --out. What was written before is"
            " whole, and training goes on from there with --resume"
        ) from error


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hash_files(directory: Path) -> str:
    """One hash of the config and all files of the tokenizer."""
    digest = hashlib.sha256()
    for name in (_CONFIG, "tokenizer.json", "tokens.json", "tokenizer.model"):
        path = directory / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
