"""One torch thread a test process: tests run two at a time on two cores. And one tiny trained model a modality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from command import Command

    from ctcrec.config import Config
    from ctcrec.training import Summary

torch.set_num_threads(1)
settings.register_profile("ctcrec", deadline=None)  # a busy machine is no failure
settings.load_profile("ctcrec")


@dataclass(frozen=True)
class Trained:
    """A finished overfit run, what it printed, and the manifests it was trained and can be tested on."""

    run: Path
    config: Config
    train: Path
    test: Path
    summary: Summary
    told: str


def _trained(modality: str, folder: Path) -> Trained:
    from tiny import make_texts, tiny_config, train_quietly, write_corpus

    texts = make_texts(24, seed=1)
    train = write_corpus(folder, modality, texts)
    test = write_corpus(folder, modality, make_texts(6, seed=2), name="test")
    config = tiny_config(modality, train, training__epochs=60, training__max_batch_size=8)
    summary, told = train_quietly(config, folder / "run", overfit=len(texts))
    return Trained(folder / "run", config, train, test, summary, told)


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A tiny model of each modality that makes no errors on its training set. Tests must not change its files."""
    return {modality: _trained(modality, tmp_path_factory.mktemp(modality)) for modality in ("ocr", "speech")}


@pytest.fixture(params=["ocr", "speech"])
def trained(request: pytest.FixtureRequest, trained_models: dict[str, Trained]) -> Trained:
    """Each of `trained_models` in turn."""
    return trained_models[request.param]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `ctcrec` commands."""
    from command import Command

    return Command(monkeypatch, capsys)
