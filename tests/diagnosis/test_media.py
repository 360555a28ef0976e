"""Faults of recordings and images, each provoked on real ones that are without fault before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from real import real_config, real_digits, real_examples, real_lines

from ctcrec.config import Config
from ctcrec.diagnosis.media import chosen_evenly, media_findings
from ctcrec.errors import MediaError
from ctcrec.ocr.media import load_line
from ctcrec.records import Example
from ctcrec.signals import Finding
from ctcrec.speech.media import load_audio


def findings(config: Config, train: list[Example], valid: list[Example]) -> dict[str, Finding]:
    return {finding.name: finding for finding in media_findings(config, train, valid, 40)}


def changed_media(
    examples: list[Example], folder: Path, change: Callable[[np.ndarray], np.ndarray], rate: int = 8000
) -> list[Example]:
    """Copies of the examples with other media."""
    folder.mkdir()
    copies = []
    for example in examples:
        path = folder / f"{example.id}{'.png' if example.width else '.wav'}"
        if example.width:
            Image.fromarray(change(load_line(example.source))).save(path)
        else:
            soundfile.write(path, change(load_audio(example.source, 8000)), rate, subtype="FLOAT")
        copies.append(replace(example, source=path))
    return copies


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_real_media_are_without_fault(modality: str, tmp_path: Path) -> None:
    examples = real_examples(modality, 80)
    found = findings(real_config(modality, tmp_path, examples, examples), examples[:40], examples[40:])
    assert [finding.name for finding in found.values() if finding.fault] == []


def test_a_sample_rate_that_is_not_that_of_the_recordings(tmp_path: Path) -> None:
    digits = real_digits(40)
    config = real_config("speech", tmp_path, digits, digits, features__sample_rate=16000)
    found = findings(config, digits, digits)["used bandwidth"]
    assert found.fault and found.value == pytest.approx(0.55, abs=0.1)
    assert "suits recordings of that rate; here about" in found.advice


def test_validation_recordings_of_another_rate(tmp_path: Path) -> None:
    digits = real_digits(80)
    config = real_config("speech", tmp_path, digits, digits)
    slow = changed_media(digits[40:], tmp_path / "slow", lambda wave: wave, rate=4000)  # a wrong header
    assert findings(config, digits[:40], slow)["validation unlike training"].fault


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_empty_media_are_named(modality: str, tmp_path: Path) -> None:
    examples = real_examples(modality, 10)
    config = real_config(modality, tmp_path, examples, examples)
    examples[3:4] = changed_media(examples[3:4], tmp_path / "empty", lambda source: source[..., :1] * 0 + 0 * source)
    found = findings(config, examples, examples[:3])["empty media"]
    assert found.fault and found.details == (examples[3].id,)


def test_inverted_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading finds light ink on dark paper itself, so it must be kept from that first."""
    lines = real_lines(30)
    config = real_config("ocr", tmp_path, lines, lines)
    inverted = changed_media(lines[15:], tmp_path / "inverted", lambda image: 255 - image)
    assert not findings(config, lines[:15], inverted)["validation unlike training"].fault
    monkeypatch.setattr("ctcrec.ocr.media.normalize_polarity", lambda image: image)
    found = findings(config, [*lines[:15], *inverted], lines[:15])["inverted images"]
    assert found.fault and found.value == 0.5
    assert findings(config, lines[:15], inverted)["validation unlike training"].fault


def test_missing_media_are_named(tmp_path: Path) -> None:
    lines = real_lines(3)
    config = real_config("ocr", tmp_path, lines, lines)
    with pytest.raises(MediaError, match=f"example {lines[1].id}: "):
        media_findings(config, [replace(lines[1], source=tmp_path / "none.png")], lines, 10)


def test_chosen_evenly() -> None:
    lines = real_lines(10)
    assert chosen_evenly(lines, 20) == lines
    assert chosen_evenly(lines, 5) == lines[::2]
