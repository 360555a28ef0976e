"""Tiny synthetic corpora of both modalities, and configurations that learn them in seconds.

A line is a row of four clear glyphs; an utterance is a row of four tones. Texts use the letters a to d and spaces.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from rich.console import Console

from ctcrec.config import Config, parse_config
from ctcrec.data.manifest import write_manifest
from ctcrec.records import Example
from ctcrec.training import Summary, train

ALPHABET = "abcd"
SAMPLE_RATE = 8000
_GLYPHS = np.random.default_rng(4).random((len(ALPHABET), 8, 6)) < 0.55  # (letter, rows, columns)
_TONES = (400.0, 800.0, 1500.0, 2800.0)  # Hz


def draw_text(text: str, margin: int = 4) -> np.ndarray:
    """uint8 (16, W): each letter 6 pixels wide and 2 apart, a space 8 wide."""
    image = np.full((16, 2 * margin + 8 * len(text)), 250, dtype=np.uint8)
    for position, letter in enumerate(text):
        if letter != " ":
            left = margin + 8 * position
            image[4:12, left : left + 6][_GLYPHS[ALPHABET.index(letter)]] = 10
    return image


def sound_text(text: str, seed: int = 0) -> np.ndarray:
    """float32 (S,) at 8 kHz: each letter is a tone of 80 ms with 40 ms of silence, a space 120 ms of silence."""
    time = np.arange(int(0.08 * SAMPLE_RATE)) / SAMPLE_RATE
    rest = np.zeros(int(0.04 * SAMPLE_RATE))
    parts = [rest]
    for letter in text:
        wave = 0 * time if letter == " " else 0.4 * np.sin(2 * np.pi * _TONES[ALPHABET.index(letter)] * time)
        parts += [wave, rest]
    noise = np.random.default_rng(seed).standard_normal(sum(map(len, parts))) * 0.002
    return (np.concatenate(parts) + noise).astype(np.float32)


def make_texts(count: int, seed: int = 0, shortest: int = 2, longest: int = 6) -> list[str]:
    """Texts of a to d with a space now and then, never at an end and never two together."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        letters = generator.choice(list(ALPHABET), int(generator.integers(shortest, longest + 1))).tolist()
        if len(letters) >= 4 and generator.random() < 0.6:
            letters[len(letters) // 2] = " "
        texts.append("".join(letters))
    texts[0] = "ab cd"  # so that every tokenizer has all letters and the space
    return texts


def write_corpus(folder: Path, modality: str, texts: Sequence[str], name: str = "train") -> Path:
    """Media files and the manifest of `texts`; returns the manifest."""
    media = folder / name
    media.mkdir(parents=True, exist_ok=True)
    examples = []
    for index, text in enumerate(texts):
        group = f"group{index % 2}"
        if modality == "ocr":
            image, path = draw_text(text), media / f"{index:03}.png"
            Image.fromarray(image).save(path)
            header: dict[str, Any] = {"height": image.shape[0], "width": image.shape[1], "writer": group}
        else:
            wave, path = sound_text(text, index), media / f"{index:03}.wav"
            soundfile.write(path, wave, SAMPLE_RATE)
            header = {"duration": len(wave) / SAMPLE_RATE, "speaker": group}
        examples.append(Example(f"{name}-{index:03}", path, text, **header))
    manifest = folder / f"{name}.jsonl"
    write_manifest(manifest, examples)
    return manifest


_FEATURES = {
    "ocr": {"height": 16},
    "speech": {"sample_rate": SAMPLE_RATE, "n_mels": 16, "normalization": "utterance"},
}
_FRONTENDS: dict[str, list[dict[str, Any]]] = {
    "ocr": [{"channels": 8, "pool": [2, 2]}, {"channels": 8, "stride": [1, 2], "pool": [1, 2]}],
    "speech": [{"channels": 8, "stride": [2, 2]}, {"channels": 8, "pool": [2, 2]}],
}


def config_values(modality: str, train_manifest: Path, valid_manifest: Path | None = None) -> dict[str, Any]:
    """Plain data of a tiny configuration; change it with `changed`."""
    return {
        "modality": modality,
        "seed": 3,
        "data": {"train": [str(train_manifest)], "valid": [str(valid_manifest or train_manifest)]},
        "features": _FEATURES[modality],
        "model": {
            "frontend": {"blocks": _FRONTENDS[modality]},
            "encoder": {"cell": "lstm", "layers": 1, "width": 16},
        },
        "training": {
            "epochs": 2,
            "max_batch_size": 4,
            "learning_rate": 0.02,
            "warmup_steps": 5,
            "schedule": "constant",
            "workers": 0,
        },
    }


def changed(values: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of plain data with `section__key=value` changes."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = result
        for parent in parents:
            node[parent] = dict(node.get(parent, {}))
            node = node[parent]
        node[last] = value
    return result


def tiny_config(modality: str, train_manifest: Path, valid_manifest: Path | None = None, **changes: Any) -> Config:
    """A tiny configuration with `section__key=value` changes."""
    return parse_config(changed(config_values(modality, train_manifest, valid_manifest), **changes))


class Told:
    """A console that remembers what it was told."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=400)

    @property
    def text(self) -> str:
        return self._file.getvalue()


def train_quietly(config: Config, out: Path, **options: Any) -> tuple[Summary, str]:
    """Train; returns the summary and what was printed."""
    told = Told()
    summary = train(config, out, console=told.console, **options)
    return summary, told.text
