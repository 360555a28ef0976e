"""Faults of manifests and texts, each provoked on real lines and recordings that are without fault before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from real import real_digits, real_examples, real_lines

from ctcrec.config import LineFeatures, SpeechFeatures
from ctcrec.diagnosis.data import data_findings, duplicate_findings, medium_keys
from ctcrec.errors import MediaError
from ctcrec.modalities import build_preprocessor
from ctcrec.records import Example
from ctcrec.signals import Finding
from ctcrec.text import train_tokenizer
from ctcrec.training.corpus import encode_examples

FEATURES = {"ocr": LineFeatures(), "speech": SpeechFeatures(sample_rate=8000, n_mels=40)}


def findings(
    train: Sequence[Example], valid: Sequence[Example] = (), modality: str = "ocr", padding: float = 0.1
) -> dict[str, Finding]:
    tokenizer = train_tokenizer("char", [example.text or "" for example in train])
    preprocessor = build_preprocessor(FEATURES[modality])
    corpora = [encode_examples(list(examples), tokenizer, preprocessor) for examples in (train, valid)]
    found = data_findings(corpora[0], {}, corpora[1], tokenizer, padding)
    return {finding.name: finding for finding in [*found, *duplicate_findings(train, valid)]}


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_real_data_are_without_fault(modality: str) -> None:
    examples = real_examples(modality, 240)
    found = findings(examples[:200], [e for e in examples[200:] if e.id != "x"], modality)
    assert [finding.name for finding in found.values() if finding.fault] == []
    assert ("length correlation" in found) == (modality == "ocr")  # single digits are too short for it


def test_shuffled_texts(tmp_path: Path) -> None:
    lines = real_lines(120)
    order = np.random.default_rng(0).permutation(len(lines))
    shuffled = [replace(line, text=lines[other].text) for line, other in zip(lines, order, strict=True)]
    assert findings(lines)["length correlation"].value > 0.8
    assert findings(shuffled)["length correlation"].fault


def test_left_out_examples_are_named() -> None:
    lines = real_lines(20)
    tokenizer = train_tokenizer("char", [line.text or "" for line in lines])
    corpus = encode_examples(lines, tokenizer, build_preprocessor(FEATURES["ocr"]))
    [finding] = [
        finding
        for finding in data_findings(corpus, {"too long": ["a", "b"]}, corpus, tokenizer, 0.0)
        if finding.name == "infeasible examples"
    ]
    assert finding.fault and finding.value == 0.1 and finding.details == ("2: too long: a, b",)


def test_extreme_lengths() -> None:
    lines = real_lines(50)
    lines[3] = replace(lines[3], text="ab")
    found = findings(lines)["extreme lengths"]
    assert found.fault and found.value == 0.02 and lines[3].id in found.details[0]


def test_duplicates_by_content(tmp_path: Path) -> None:
    digits = real_digits(20)
    copied = tmp_path / "other name.flac"
    shutil.copy(digits[4].source, copied)
    train = [*digits[:10], replace(digits[4], id="copy", source=copied)]
    found = findings(train, [*digits[10:], replace(digits[2], id="leaked")], "speech")
    assert found["duplicated examples"].fault
    assert found["duplicated examples"].details == (f"copy = {digits[4].id}",)
    assert found["validation examples in training"].fault
    assert found["validation examples in training"].details == (f"leaked = {digits[2].id} of training",)


def test_parts_of_one_recording_are_no_duplicates(tmp_path: Path) -> None:
    digit = real_digits(1)[0]
    parts = [replace(digit, start=0.0, end=0.1), replace(digit, start=0.1, end=0.2), replace(digit, start=0.1, end=0.2)]
    first, second, third = medium_keys(parts)
    assert first != second and second == third
    with pytest.raises(MediaError, match="none.flac: cannot be read"):
        medium_keys([replace(digit, source=tmp_path / "none.flac")])


def test_tokens_and_characters() -> None:
    lines = real_lines(40)
    tokenizer = train_tokenizer("char", [*(line.text or "" for line in lines), "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟ"])
    corpus = encode_examples(lines, tokenizer, build_preprocessor(FEATURES["ocr"]))
    found = {finding.name: finding for finding in data_findings(corpus, {}, corpus, tokenizer, 0.0)}
    assert found["tokens never seen"].fault and "'Ω'" not in found["tokens never seen"].details[0]
    assert "never: 'Α'" in found["tokens never seen"].details[0]
    greek = [replace(line, text="λόγος") for line in lines[:5]]
    unseen = findings(lines, [*lines[5:], *greek])["characters unseen in training"]
    assert unseen.fault and "'λ' 5 times" in unseen.details[0]
    assert not findings(lines, lines)["characters unseen in training"].fault


def test_padding() -> None:
    assert findings(real_lines(10), padding=0.4)["padding"].fault
