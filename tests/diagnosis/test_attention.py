"""The doctor and `inspect` on models with an attention decoder, beside a CTC head or alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint
from ctcrec.data.manifest import read_manifest
from ctcrec.diagnosis import diagnose_run
from ctcrec.diagnosis.outputs import compute_outputs
from ctcrec.diagnosis.picture import draw_example
from ctcrec.diagnosis.trials import gradient_findings, overfit_finding, sample_batches, sweep_learning_rates
from ctcrec.recognizer import Recognizer
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.setup import prepare

WEIGHTS = {"alone": 0.0, "joint": 0.5}


@pytest.fixture(scope="module", params=WEIGHTS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained for a moment only."""
    folder = tmp_path_factory.mktemp(request.param)
    manifest = write_corpus(folder, "ocr", make_texts(24))
    decoder = {"width": 16, "embedding": 8, "attention": "location", "attention_size": 8, "location_kernel": 5}
    config = tiny_config("ocr", manifest, model__decoder=decoder, loss__ctc_weight=WEIGHTS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        train_quietly(config, folder / "run")
    return folder / "run"


def test_a_run_is_diagnosed(run: Path, tmp_path: Path) -> None:
    diagnosis = diagnose_run(run, tmp_path)
    names = {finding.name for finding in diagnosis.findings}
    assert {"frozen layers", "texts unrelated to media", "loss by position", "loss by token"} <= names
    assert all(math.isfinite(finding.value) for finding in diagnosis.findings)
    moved = next(finding for finding in diagnosis.findings if finding.name == "weights hardly moved")
    assert any(detail.startswith("decoder.attention.location: ") for detail in moved.details)
    assert len((tmp_path / "review.jsonl").read_text().splitlines()) == 24


def test_losses_of_the_decoder(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    recognizer, model = Recognizer(checkpoint), checkpoint.model
    if model.head is not None:
        return  # with a CTC head, losses are its own; see test_outputs.py
    examples = read_manifest(Path(checkpoint.config.data.train[0]))
    for output, example in zip(compute_outputs(recognizer, examples), examples, strict=True):
        [encoded] = recognizer.encode([checkpoint.preprocessor.features(checkpoint.preprocessor.load(example.source))])
        steps = model.decoder(encoded.frames[None], torch.tensor([len(encoded.frames)]), torch.tensor([output.target]))
        expected = torch.nn.functional.cross_entropy(
            steps.logits[0], torch.tensor([*output.target, 0]), reduction="none"
        )
        assert output.loss == pytest.approx(float(expected.detach().sum()), abs=1e-3)
        assert output.costs[:-1] == pytest.approx(expected[:-2].tolist(), abs=1e-4)
        assert sum(output.costs) == pytest.approx(output.loss)
        assert output.frames == 0 and math.isnan(output.inner_blanks)


def test_trials(run: Path) -> None:
    config = load_checkpoint(run).config
    setup = prepare(config, run / "none", resume=False, overfit=None, display=TrainingDisplay(Console(quiet=True)))
    batches = sample_batches(setup)
    [without, _] = gradient_findings(setup.model, batches, config.loss.ctc_weight)
    assert not without.fault, without.details
    sweep = sweep_learning_rates(setup.model, batches, config, steps=20)
    assert min(sweep.losses) < sweep.losses[0]
    found = overfit_finding(setup, sweep)
    assert not found.fault, found.text()


def test_the_picture_shows_attention(run: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(load_checkpoint(run))
    source = read_manifest(Path(recognizer.checkpoint.config.data.train[0]))[0].source
    picture = tmp_path / "p.png"
    draw_example(recognizer, source, picture, "ab")
    # features, attention; and probabilities, best path and alignment of the CTC head
    assert Image.open(picture).size[1] == (600 if recognizer.model.head is None else 1300)
    if recognizer.model.head is None:  # its decoder may write any length: a row for each token
        draw_example(recognizer, source, picture, "abcd" * 6)
        assert Image.open(picture).size[1] == 400 + 16 * 25
