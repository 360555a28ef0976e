"""From a run's directory to a model that can be shipped: float16 weights, `about.yaml`, card and licence, and nothing
of the machine that it was trained on."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ctcrec.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, writing
from ctcrec.config import DataConfig, DecodingConfig, load_decoding
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CheckpointError
from ctcrec.evaluation import Evaluation, evaluate
from ctcrec.model_card import CARD_FILE, model_card
from ctcrec.pretrained import ABOUT_FILE, About, Score, write_about
from ctcrec.provenance import read_run
from ctcrec.recognizer import Recognizer
from ctcrec.strategies import DECODING_FILE, FILES
from ctcrec.writers import write_atomically

__all__ = ["LICENSE_FILE", "Packed", "pack"]

LICENSE_FILE = "LICENSE"
_LOW_QUANTILE = 0.01
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/`'\"\[\],=]+/)+")  # of absolute paths; not of addresses
_LICENSES = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "GPL-3.0": "https://www.gnu.org/licenses/gpl-3.0.html",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A model that was packed: its folder, its size, and what is in its `about.yaml`."""

    folder: Path
    size: int
    about: About


def pack(
    run: Path,
    folder: Path,
    *,
    task: str,
    license: str,
    license_text: str | None = None,
    data: Sequence[str] = (),
    languages: Sequence[str] = (),
    default: bool = False,
    manifests: Mapping[str, Path] | None = None,
    done: Callable[[int], None] | None = None,
) -> Packed:
    """Write a run's model into `folder`, which must not be there yet or hold an earlier packing of it.

    Args:
        run: the directory that `ctcrec train` wrote.
        folder: of the model; its name is the model's.
        task: what it recognizes, for people.
        license: of the weights.
        license_text: the whole text, if there is more to say than the name and the attributions of the data.
        data: corpora, for people; those of the attributions in the training manifests if empty.
        languages: codes; those of the training manifests if empty.
        default: whether it is to be the default of its modality.
        manifests: dev sets by name, on which the shipped weights are evaluated; as the model decodes by default, and
            greedily where that is not the same.
        done: called with the number of examples evaluated.

    Raises:
        CheckpointError: the run has no model or no record, or `folder` cannot be written.
        DataError: a manifest cannot be read.
    """
    checkpoint, record = load_checkpoint(run), read_run(run)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT_FILE).is_file():
        raise CheckpointError(f"{folder}: holds other files than those of a model; choose another name or folder")
    said = _said(record)
    _write_weights(checkpoint, folder)
    _copy_decoding(run, folder)
    about = About(
        checkpoint.config.modality,
        task,
        tuple(languages or sorted(said["languages"])),
        tuple(data or sorted(said["attributions"])),
        license,
        sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        default,
    )
    scores, confidences = _evaluate(folder, manifests or {}, done)
    low = float(np.quantile(confidences, _LOW_QUANTILE)) if confidences else None
    rounded = None if low is None else math.floor(1000 * low) / 1000
    about = About(**{**_fields(about), "low_confidence": rounded, "scores": tuple(scores)})
    write_about(folder, about)
    write_atomically(folder / LICENSE_FILE, license_text or _notice(folder.name, license, about.data))
    # absolute folders mean nothing on another machine
    write_atomically(folder / CARD_FILE, _FOLDERS.sub("", model_card(run, folder.name, about)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Packed(folder, size, about)


def _write_weights(checkpoint: Checkpoint, folder: Path) -> None:
    """Parameters in float16; buffers (batch statistics) as they are. The config loses the names of its manifests."""
    parameters = {name for name, _ in checkpoint.model.named_parameters()}
    tensors = {
        name: tensor.half() if name in parameters else tensor for name, tensor in checkpoint.model.state_dict().items()
    }
    overflown = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if overflown:
        raise CheckpointError(f"weights beyond the range of float16 (65504): {', '.join(overflown)}; not packed")
    config = checkpoint.config.model_copy(update={"data": DataConfig()})
    save_checkpoint(folder, config, checkpoint.tokenizer, tensors, checkpoint.metrics)


def _copy_decoding(run: Path, folder: Path) -> None:
    """The run's decoding, with its files beside it."""
    if not (run / DECODING_FILE).is_file():
        (folder / DECODING_FILE).unlink(missing_ok=True)
        return
    values = load_decoding(run / DECODING_FILE, {}).model_dump(exclude_none=True)
    for key in FILES:
        if key in values:
            source = run / values[key]
            values[key] = source.name
            with writing(folder / source.name):
                shutil.copyfile(source, folder / source.name)
    write_atomically(folder / DECODING_FILE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _evaluate(
    folder: Path, manifests: Mapping[str, Path], done: Callable[[int], None] | None
) -> tuple[list[Score], list[float]]:
    """Scores of the packed weights, and the confidences of its default decoding."""
    own = load_decoding(folder / DECODING_FILE, {})
    decodings = [own] if own.strategy == "greedy" else [own, DecodingConfig()]
    scores, confidences, count = [], [], 0
    for decoding in decodings:
        recognizer = Recognizer.load(folder, decoding=None if decoding is own else decoding)
        for name, manifest in manifests.items():
            examples = read_manifest(manifest, require_text=True)
            result = evaluate(recognizer, examples, done=_after(count, done))
            count += len(examples)
            scores.append(_score(name, result, decoding))
            if decoding is own:
                confidences += [h.confidence for h in result.hypotheses.values() if h.confidence is not None]
    return scores, confidences


def _after(count: int, done: Callable[[int], None] | None) -> Callable[[int], None] | None:
    return None if done is None else lambda more: done(count + more)


def _score(name: str, result: Evaluation, decoding: DecodingConfig) -> Score:
    report = result.report
    what = f"{decoding.strategy} with language model" if decoding.lm else decoding.strategy
    return Score(name, report.examples, what, round(report.wer, 5), round(report.cer, 5))


def _said(record: Mapping[str, Any]) -> dict[str, set[str]]:
    """Languages and attributions that the training manifests stated."""
    manifests = record["data"]["train"]
    return {key: {said for item in manifests for said in item.get(key, {})} for key in ("languages", "attributions")}


def _fields(about: About) -> dict[str, Any]:
    return {name: getattr(about, name) for name in About.__dataclass_fields__}


def _notice(name: str, license: str, data: Sequence[str]) -> str:
    address = f" ({_LICENSES[license]})" if license in _LICENSES else ""
    sources = "".join(f"- {item}\n" for item in data)
    return f"The weights of {name} are licensed under {license}{address}.\n\nThey were trained on:\n{sources}"
