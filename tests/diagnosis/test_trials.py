"""The short trainings before training, on real digits with a small model, and each fault provoked on it."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real import real_config, real_digits
from rich.console import Console

from ctcrec.diagnosis.before import diagnose_setup
from ctcrec.diagnosis.data import data_findings
from ctcrec.diagnosis.trials import (
    Sweep,
    gradient_findings,
    loading_finding,
    overfit_finding,
    sample_batches,
    sweep_findings,
    sweep_learning_rates,
)
from ctcrec.diagnosis.weights import movement_findings, unit_finding
from ctcrec.signals import Finding
from ctcrec.speech.preprocessor import SpeechPreprocessor
from ctcrec.training.corpus import encode_examples, leave_out
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.setup import Setup, plan_epoch, prepare

PLAIN = {"model__frontend__normalization": "none"}
SMALL = {"training__learning_rate": 0.01, "model__encoder__width": 48}


def make_setup(folder: Path, **changes: Any) -> Setup:
    digits = real_digits(64)
    config = real_config("speech", folder, digits[:48], digits[48:], **{**SMALL, **changes})
    return prepare(config, folder, resume=False, overfit=None, display=TrainingDisplay(Console(quiet=True)))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def sweep(setup: Setup) -> Sweep:
    return sweep_learning_rates(setup.model, sample_batches(setup), setup.config)


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def faults(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if finding.fault]


def test_a_sound_configuration_has_no_faults(setup: Setup, tmp_path: Path, sweep: Sweep) -> None:
    weights = copy.deepcopy(setup.model.state_dict())
    diagnosis = diagnose_setup(setup, tmp_path, media=20, say=lambda line: None)
    unexpected = [finding.text() for finding in diagnosis.faults if finding.name != "waiting for data"]
    assert unexpected == [], "waiting for data depends on the machine"
    assert {path.name for path in diagnosis.files} == {"learning_rates.png"} and diagnosis.files[
        0
    ].stat().st_size > 5000
    for name, tensor in setup.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize(("rate", "fault"), [(2.0, "learning rate too high"), (1e-6, "learning rate too low")])
def test_learning_rates(sweep: Sweep, rate: float, fault: str) -> None:
    assert faults(sweep_findings(sweep, rate)) == [fault]
    assert f"{rate:g} over the rate" in named(sweep_findings(sweep, rate))[fault].meaning


def test_the_sweep_stops_where_the_loss_blows_up(sweep: Sweep) -> None:
    assert 1e-3 < sweep.blown_up <= 1.0
    assert min(sweep.losses) < 0.9 * sweep.losses[0]
    assert list(sweep.rates) == sorted(sweep.rates) and len(sweep.rates) == len(sweep.losses)


def test_a_frozen_model_learns_nothing(setup: Setup) -> None:
    frozen = copy.deepcopy(setup.model)
    frozen.encoder.requires_grad_(False)
    found = named(gradient_findings(frozen, sample_batches(setup)))["layers without gradient"]
    assert found.fault and set(found.details) == {"encoder.layers.0.forwards", "encoder.layers.0.backwards"}
    head = frozen.requires_grad_(False).head.requires_grad_(True)
    torch.nn.init.zeros_(head.weight).requires_grad_(False)
    head.bias.requires_grad_(True)
    still = sweep_learning_rates(frozen, sample_batches(setup), setup.config, steps=12)
    assert "learning at all" in faults(sweep_findings(replace(still, losses=still.losses[:4]), 0.01))


def test_vanishing_gradients(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, **PLAIN)
    batches = sample_batches(setup)
    assert faults(gradient_findings(setup.model, batches)) == []
    with torch.no_grad():
        setup.model.frontend.blocks[0].convolution.weight *= 1e-6
        setup.model.frontend.blocks[0].convolution.bias.zero_()
    found = named(gradient_findings(setup.model, batches))["vanishing gradients"]
    assert found.fault and found.details[0].startswith("frontend.blocks.1.convolution: ")


def test_dead_units(setup: Setup, tmp_path: Path) -> None:
    batches = sample_batches(setup)
    assert not unit_finding(copy.deepcopy(setup.model).train(), batches).fault
    plain = make_setup(tmp_path, **PLAIN).model
    with torch.no_grad():
        plain.frontend.blocks[1].convolution.bias[:] = -100.0
    found = unit_finding(plain, batches)
    assert found.fault and found.value == 1.0 and "frontend.blocks.1: 100 %" in found.details


def test_recurrent_units_that_never_change(setup: Setup) -> None:
    model = copy.deepcopy(setup.model).eval()
    with torch.no_grad():
        for layer in (model.encoder.layers[0].forwards, model.encoder.layers[0].backwards):
            for parameter in layer.parameters():
                parameter.zero_()
    found = unit_finding(model, sample_batches(setup))
    assert found.value == 1.0 and "encoder.layers.0: 100 %" in found.details


def test_texts_too_long_and_padding(tmp_path: Path) -> None:
    """A third of the texts say the digit eight times, and one recording in a batch of all is twice as long."""
    digits = sorted(real_digits(64), key=lambda example: example.duration or 0.0)
    train = [replace(e, text=" ".join([e.text or ""] * 8)) if i % 3 == 1 else e for i, e in enumerate(digits[:36])]
    config = real_config("speech", tmp_path, [*train, digits[-1]], digits[40:50], training__max_batch_size=64, **SMALL)
    setup = prepare(config, tmp_path, resume=False, overfit=None, display=TrainingDisplay(Console(quiet=True)))
    everything = encode_examples([*train, digits[-1]], setup.tokenizer, setup.preprocessor)
    _, left_out = leave_out(everything, setup.model, 1, None)
    found = named(data_findings(everything, left_out, setup.valid, setup.tokenizer, plan_epoch(setup, 0).padding))
    infeasible = found["infeasible examples"]
    assert infeasible.fault and infeasible.value == pytest.approx(12 / 37) and train[1].id in infeasible.details[0]
    assert found["padding"].fault, found["padding"].text()


def test_a_wrong_initial_loss(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    with torch.no_grad():
        setup.model.head.weight *= 100
    diagnosis = diagnose_setup(setup, tmp_path, media=5, say=lambda line: None)
    assert "initial loss" in {finding.name for finding in diagnosis.faults}


def test_overfitting_a_few_examples(setup: Setup, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = overfit_finding(setup, sweep)
    assert not sound.fault and len(sound.details) == 4
    monkeypatch.setattr(SpeechPreprocessor, "features", lambda self, source: torch.zeros(40, 16))
    assert overfit_finding(setup, sweep, steps=60).fault  # all examples look the same


def test_waiting_for_data(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    load = SpeechPreprocessor.load

    def slow(self: SpeechPreprocessor, *arguments: Any) -> np.ndarray:
        time.sleep(0.2)
        return load(self, *arguments)

    monkeypatch.setattr(SpeechPreprocessor, "load", slow)
    found = loading_finding(setup)
    assert found.fault and "to load" in found.details[0]


def test_how_far_weights_moved(setup: Setup) -> None:
    trained = copy.deepcopy(setup.model)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.3 * parameter.std() * torch.randn_like(parameter) + 1e-3
    assert faults(movement_findings(setup.model, trained)) == []
    trained.encoder.load_state_dict(setup.model.encoder.state_dict())
    frozen = named(movement_findings(setup.model, trained))["frozen layers"]
    assert frozen.fault and set(frozen.details) == {"encoder.layers.0.forwards", "encoder.layers.0.backwards"}
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter *= 30.0
    assert faults(movement_findings(setup.model, trained)) == ["weights blown up"]
    assert "weights hardly moved" in faults(movement_findings(setup.model, setup.model))
