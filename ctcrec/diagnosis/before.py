"""Before training: everything that a configuration and its data show within a minute or two."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from ctcrec.checkpoint import writing
from ctcrec.config import Config
from ctcrec.diagnosis.data import data_findings, duplicate_findings
from ctcrec.diagnosis.media import media_findings
from ctcrec.diagnosis.result import Diagnosis
from ctcrec.diagnosis.trials import (
    gradient_findings,
    loading_finding,
    overfit_finding,
    sample_batches,
    sweep_findings,
    sweep_learning_rates,
)
from ctcrec.diagnosis.weights import unit_finding
from ctcrec.signals import Finding
from ctcrec.training.corpus import encode_examples, leave_out, read_texts
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.setup import InitialLoss, Setup, initial_loss, plan_epoch, prepare

__all__ = ["SWEEP_FILE", "diagnose_config"]

SWEEP_FILE = "learning_rates.png"


def diagnose_config(
    config: Config, out: Path, *, media: int = 100, say: Callable[[str], None] = lambda line: None
) -> Diagnosis:
    """Look at a configuration and its data as training would begin with them; nothing is trained but copies.

    Args:
        config: with `data.train` and `data.valid`.
        out: folder for the picture of the learning-rate sweep.
        media: how many recordings or images of each part to look at.
        say: told what is being looked at.

    Raises:
        ConfigError, ManifestError, MediaError, TextError, TrainingError: as training itself.
        CheckpointError: `out` cannot be written.
    """
    say("reading manifests")
    # What `prepare` prints is among the findings.
    setup = prepare(config, out, resume=False, overfit=None, display=TrainingDisplay(Console(quiet=True)))
    return diagnose_setup(setup, out, media=media, say=say)


def diagnose_setup(setup: Setup, out: Path, *, media: int, say: Callable[[str], None]) -> Diagnosis:
    """`diagnose_config` of a model and data that are already made."""
    config = setup.config
    examples = read_texts(config.data.train, setup.normalizer, "data.train")
    everything = encode_examples(examples, setup.tokenizer, setup.preprocessor)
    _, left_out = leave_out(everything, setup.model, config.data.min_frames, config.data.max_frames)
    plan = plan_epoch(setup, 0)
    findings = data_findings(everything, left_out, setup.valid, setup.tokenizer, plan.padding)
    say("looking for media that occur twice")
    findings += duplicate_findings(setup.corpus.examples, setup.valid.examples)
    say("looking at media")
    findings += media_findings(config, setup.corpus.examples, setup.valid.examples, media)
    say("trying the model on a few batches")
    findings.append(_initial_loss_finding(initial_loss(setup, plan.batches[0])))
    batches = sample_batches(setup)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        findings += gradient_findings(setup.model, batches, config.loss.ctc_weight)
        findings.append(unit_finding(copy.deepcopy(setup.model).train(), batches))
        say("learning-rate sweep")
        sweep = sweep_learning_rates(setup.model, batches, config)
        findings += sweep_findings(sweep, config.training.learning_rate)
        say("overfit test")
        findings.append(overfit_finding(setup, sweep))
        say("timing batches")
        findings.append(loading_finding(setup))
    picture = out / SWEEP_FILE
    with writing(picture):
        out.mkdir(parents=True, exist_ok=True)
        sweep.draw(picture, config.training.learning_rate)
    return Diagnosis("configuration", tuple(findings), (picture,))


def _initial_loss_finding(loss: InitialLoss) -> Finding:
    low, high = loss.bounds
    above = loss.measured > loss.expected
    return Finding(
        "initial loss",
        loss.measured,
        high if above else low,
        "above" if above else "below",
        f"nats per token of the untrained model; {loss.expected:.2f} if its output were uniform",
        "random logits are a little worse than uniform ones; far off, features or targets are not what they seem",
        "check features.normalization (values of about 1), the texts, and that lengths belong to features",
    )
