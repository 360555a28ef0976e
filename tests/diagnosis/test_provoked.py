"""Failures provoked on real trainings of spoken digits: the doctor must name each, and nothing on the healthy one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from real import real_config, real_digits
from tiny import train_quietly

from ctcrec.data.manifest import write_manifest
from ctcrec.diagnosis import diagnose_run
from ctcrec.models.encoder import BidirectionalEncoder
from ctcrec.records import Example
from ctcrec.training.objective import LossSum, loss_sum

pytestmark = pytest.mark.slow

MODEL = {
    "features__n_mels": 24,
    "model__frontend__blocks": [{"channels": 16, "stride": [2, 2]}, {"channels": 16, "stride": [2, 2]}],
    "model__encoder": {"cell": "lstm", "layers": 1, "width": 48},
    "training__max_batch_size": 16,
    "training__learning_rate": 0.005,
    "training__warmup_steps": 50,
    "training__schedule": "cosine",
    "training__epochs": 16,
}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


def faults(folder: Path, train: Sequence[Example], valid: Sequence[Example], **changes: Any) -> set[str]:
    """What the doctor finds wrong with a run on these examples."""
    config = real_config("speech", folder, list(train), list(valid), **{**MODEL, **changes})
    train_quietly(config, folder / "run")
    diagnosis = diagnose_run(folder / "run", folder / "doctor")
    print(diagnosis.text())
    return {finding.name for finding in diagnosis.faults} - {"waiting for data"}  # that depends on the machine


@pytest.fixture(scope="module")
def digits() -> tuple[list[Example], list[Example]]:
    examples = real_digits(480)
    return examples[:400], examples[400:]


Digits = tuple[list[Example], list[Example]]


@pytest.fixture(scope="module")
def healthy(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("healthy")
    train_quietly(real_config("speech", folder, *digits, **MODEL), folder / "run")
    return folder / "run"


def faults_on(run: Path, examples: Sequence[Example]) -> set[str]:
    """What the doctor finds wrong with a run on other examples than it was trained with."""
    manifest = run.parent / "others.jsonl"
    write_manifest(manifest, examples)
    diagnosis = diagnose_run(run, run.parent / "doctor", manifests=[manifest])
    print(diagnosis.text())
    return {finding.name for finding in diagnosis.faults} - {"waiting for data"}


def test_healthy(healthy: Path, digits: Digits) -> None:
    assert faults_on(healthy, digits[1]) == set()


def test_texts_with_more_than_was_said(healthy: Path, digits: Digits) -> None:
    examples = [replace(e, text=f"{e.text}ux") for e in digits[1] if (e.duration or 0) > 0.45]
    assert "loss by position" in faults_on(healthy, examples)


def test_a_few_wrong_texts(healthy: Path, digits: Digits) -> None:
    """Of examples that the model knows, the four longest get a text that is longer still."""
    *others, a, b, c, d = sorted(digits[0][:80], key=lambda example: example.duration or 0.0)
    texts = ["nine zero two" if example.text[:1] in ("s", "f") else "six four" for example in (a, b, c, d)]
    wrong = [replace(example, text=text) for example, text in zip((a, b, c, d), texts, strict=True)]
    assert "hardest examples" in faults_on(healthy, [*others, *wrong])


def test_rare_letters(digits: Digits, tmp_path: Path) -> None:
    """Only two of the recordings trained on hold a "six", whose last letter is in no other digit."""
    sixes = [example for example in [*digits[0], *digits[1]] if example.text == "six"]
    train = [example for example in digits[0] if example.text != "six"]
    assert "loss by token" in faults(tmp_path, [*train, *sixes[:2]], sixes[2:], training__epochs=8)


def test_long_silences(healthy: Path, digits: Digits, tmp_path: Path) -> None:
    """Two digits with twelve seconds between them: almost all frames from the first letter to the last are blanks."""
    examples = []
    for number, (first, second) in enumerate(zip(digits[1][:12], digits[1][12:24], strict=True)):
        (begin, rate), (end, _) = soundfile.read(first.source), soundfile.read(second.source)
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.concatenate([begin, np.zeros(12 * rate), end]), rate)
        duration = 12.0 + (len(begin) + len(end)) / rate
        examples.append(Example(path.stem, path, f"{first.text} {second.text}", duration=duration, speaker="two"))
    assert "peaky output" in faults_on(healthy, examples)


def test_a_loss_that_is_not_a_number(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers refuse media that could give one, so the second batch's is put in."""
    calls = iter(range(1000))

    def sometimes_nan(*arguments: Any, **options: Any) -> LossSum:
        sums = loss_sum(*arguments, **options)
        return replace(sums, ctc=sums.ctc * math.nan) if next(calls) == 1 else sums

    monkeypatch.setattr("ctcrec.training.loop.loss_sum", sometimes_nan)
    assert "skipped batches" in faults(tmp_path, digits[0][:40], digits[1][:10], training__epochs=1)


def test_learning_rate_too_high(digits: Digits, tmp_path: Path) -> None:
    found = faults(tmp_path, *digits, training__learning_rate=2.0, training__epochs=6)
    assert found & {"divergence", "clipped gradients", "weights blown up"}


def test_learning_rate_too_low(digits: Digits, tmp_path: Path) -> None:
    found = faults(tmp_path, *digits, training__learning_rate=1e-7, training__epochs=6)
    assert found >= {"weights hardly moved", "plateau"}


def with_texts(examples: Sequence[Example], choose: Callable[[int], int]) -> list[Example]:
    return [replace(example, text=examples[choose(index)].text) for index, example in enumerate(examples)]


def test_shuffled_texts(digits: Digits, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(480)
    shuffled = with_texts([*digits[0], *digits[1]], lambda index: int(order[index]))
    found = faults(tmp_path, shuffled[:400], shuffled[400:])
    assert "texts unrelated to media" in found
    assert not found & {"weights hardly moved", "weights blown up", "frozen layers"}


def test_wrong_texts(digits: Digits, tmp_path: Path) -> None:
    """One text in twenty is that of another recording."""
    train = with_texts(digits[0], lambda index: (index + 7) % 400 if index % 20 == 3 else index)
    found = faults(tmp_path, train, digits[1], training__epochs=12)
    assert found - {"over-fitting"} == {"suspected label errors"}  # wrong texts can only be learned by heart


def test_texts_too_long(digits: Digits, tmp_path: Path) -> None:
    """Half of the validation texts hold the digit four times; in training they would be left out."""
    valid = [replace(e, text=f"{e.text} " * 3 + str(e.text)) if i % 2 else e for i, e in enumerate(digits[1])]
    assert "infeasible targets" in faults(tmp_path, digits[0], valid, training__epochs=4)


def test_frozen_encoder(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = BidirectionalEncoder.__init__

    def frozen(self: BidirectionalEncoder, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self.requires_grad_(False)

    monkeypatch.setattr(BidirectionalEncoder, "__init__", frozen)
    assert "frozen layers" in faults(tmp_path, *digits, training__epochs=4)


def test_over_fitting(digits: Digits, tmp_path: Path) -> None:
    found = faults(tmp_path, digits[0][:20], digits[1], training__epochs=120)
    assert "over-fitting" in found


def test_wrong_sample_rate(digits: Digits, tmp_path: Path) -> None:
    found = faults(tmp_path, *digits, features__sample_rate=16000, training__epochs=4)
    assert "used bandwidth" in found


def test_nothing_in_the_doctor_disturbs_randomness(digits: Digits, tmp_path: Path) -> None:
    faults(tmp_path, digits[0][:40], digits[1][:10], training__epochs=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    diagnose_run(tmp_path / "run", tmp_path / "doctor")
    assert torch.equal(torch.get_rng_state(), state)
