"""One torch thread a test process: tests run two at a time on two cores. And one tiny trained model a modality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from ctcrec.config import Config

torch.set_num_threads(1)


@dataclass(frozen=True)
class Trained:
    """A finished run, its configuration, and the manifests it was trained and can be tested on."""

    run: Path
    config: Config
    train: Path
    test: Path


def _trained(modality: str, folder: Path) -> Trained:
    from tiny import make_texts, tiny_config, train_quietly, write_corpus

    train = write_corpus(folder, modality, make_texts(32, seed=1))
    test = write_corpus(folder, modality, make_texts(6, seed=2), name="test")
    config = tiny_config(modality, train, training__epochs=40, training__max_batch_size=8, training__early_stopping=8)
    train_quietly(config, folder / "run")
    return Trained(folder / "run", config, train, test)


@pytest.fixture(scope="session")
def trained_lines(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A line model without errors on its training set. Tests must not change its files."""
    return _trained("ocr", tmp_path_factory.mktemp("lines"))


@pytest.fixture(scope="session")
def trained_speech(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A speech model without errors on its training set. Tests must not change its files."""
    return _trained("speech", tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="session")
def trained_models(trained_lines: Trained, trained_speech: Trained) -> dict[str, Trained]:
    """Both, by modality."""
    return {"ocr": trained_lines, "speech": trained_speech}
