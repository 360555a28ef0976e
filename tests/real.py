"""Real examples of both modalities from the project's samples, and tiny configurations for them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import soundfile
from PIL import Image
from tiny import changed, config_values

from ctcrec.config import Config, parse_config
from ctcrec.data.manifest import write_manifest
from ctcrec.records import Example

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def real_lines(count: int, skip: int = 0) -> list[Example]:
    """Printed lines of many books, in an order that depends on nothing but their names."""
    files = sorted((SAMPLES / "lines/train").rglob("*.png"), key=lambda path: hashlib.md5(path.stem.encode()).digest())
    examples = []
    for path in files[skip : skip + count]:
        text = path.with_suffix("").with_suffix(".gt.txt").read_text(encoding="utf-8").strip()
        width, height = Image.open(path).size
        examples.append(Example(path.stem, path, text, width=width, height=height, writer=path.parent.name))
    return examples


def real_digits(count: int, skip: int = 0) -> list[Example]:
    """Spoken digits of all speakers, none so short that its letters do not fit."""
    folder = SAMPLES / "digits/recordings"
    files = sorted(folder.glob("*.flac"), key=lambda path: hashlib.md5(path.stem.encode()).digest())
    examples = []
    for path in files:
        duration = soundfile.info(path).duration
        digit, speaker, _ = path.stem.split("_")
        if duration >= 0.35:
            examples.append(Example(path.stem, path, _DIGITS[int(digit)], duration=duration, speaker=speaker))
    return examples[skip : skip + count]


def real_examples(modality: str, count: int, skip: int = 0) -> list[Example]:
    """`real_lines` or `real_digits`."""
    return real_lines(count, skip) if modality == "ocr" else real_digits(count, skip)


def real_config(modality: str, folder: Path, train: list[Example], valid: list[Example], **changes: Any) -> Config:
    """A tiny configuration, with manifests in `folder`, and `section__key=value` changes."""
    paths = {"train": folder / "train.jsonl", "valid": folder / "valid.jsonl"}
    write_manifest(paths["train"], train)
    write_manifest(paths["valid"], valid)
    values = config_values(modality, paths["train"], paths["valid"])
    if modality == "ocr":
        values["features"] = {"height": 48}
        values["model"]["frontend"]["blocks"] = [{"channels": 8, "stride": [2, 2]}] * 3
    return parse_config(changed(values, **changes))
