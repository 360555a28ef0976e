"""Everything before the first step: data, tokenizer and model from the configuration, and what can be said of them."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ctcrec.checkpoint import WEIGHTS_FILE, build_from_config
from ctcrec.config import Config, load_config
from ctcrec.data.batching import BatchPlan, plan_batches
from ctcrec.data.dataset import BatchDataset, example_generator, load_features
from ctcrec.data.partitions import check_partitions
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.modalities import build_preprocessor
from ctcrec.models.precision import has_bfloat16
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.text import Normalizer, Tokenizer, load_tokenizer
from ctcrec.training.corpus import (
    Corpus,
    build_tokenizer,
    encode_examples,
    expected_initial_loss,
    leave_out,
    read_texts,
    unknown_characters,
)
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.objective import loss_sum
from ctcrec.training.warm_start import WarmStart, start_from

__all__ = [
    "STATE_FILE",
    "InitialLoss",
    "Setup",
    "check_directory",
    "check_start",
    "initial_loss",
    "overfit_config",
    "plan_epoch",
    "prepare",
    "say_facts",
    "set_statistics",
]

STATE_FILE = "state.safetensors"
_STATISTICS_EXAMPLES = 1000  # enough for a mean and a deviation
_INITIAL_LOSS_RANGE = (0.8, 1.5)  # of the loss of uniform output


@dataclass(frozen=True, slots=True)
class Setup:
    """What training works on; nothing in it changes but the model's weights."""

    config: Config
    device: torch.device
    normalizer: Normalizer
    tokenizer: Tokenizer
    preprocessor: Preprocessor  # without augmentation
    augmented: Preprocessor  # with it; the same where there is none
    model: RecognitionModel
    corpus: Corpus
    valid: Corpus
    warm_start: WarmStart | None = None  # what the weights start from


def _free_threads(workers: int) -> int:
    """PyTorch's own number of threads, but a core for each process that loads data.

    Threads that wait for a core keep the others spinning: with two on two cores and one of them loading data, training
    was up to five times slower, and never faster, than with one thread.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), max(cores - workers, 1))


def prepare(
    config: Config,
    out: Path,
    resume: bool,
    overfit: int | None,
    display: TrainingDisplay,
    start: Path | None = None,
) -> Setup:
    """Read the manifests, build tokenizer and model, and leave out what cannot be learned, by name.

    Raises:
        ConfigError, ManifestError, TextError, TrainingError, CheckpointError: see `ctcrec.training.train`.
    """
    training = config.training
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check_precision(training.precision, device)
    torch.set_num_threads(training.threads or _free_threads(training.workers))
    torch.manual_seed(config.seed)
    normalizer = Normalizer.of(config.text.normalization)
    preprocessor = build_preprocessor(config.features)
    examples = read_texts(config.data.train, normalizer, "data.train")[:overfit]
    valid_examples = examples if overfit else read_texts(config.data.valid, normalizer, "data.valid")
    check_partitions([*examples, *valid_examples])
    tokenizer = load_tokenizer(out) if resume else build_tokenizer(config, examples)
    model = build_from_config(config, len(tokenizer))
    warm_start = start_from(start, config, model, tokenizer) if start is not None else None
    model = model.to(device)
    unknown = unknown_characters(valid_examples, tokenizer)
    if unknown:
        shown = ", ".join(f"{character!r} in {count}" for character, count in sorted(unknown.items()))
        display.say(f"characters of the validation texts that the training texts lack: {shown}", "yellow")
    everything = encode_examples(examples, tokenizer, preprocessor)
    corpus, left_out = leave_out(everything, model, config.data.min_frames, config.data.max_frames)
    for reason, ids in left_out.items():
        shown = ", ".join(ids[:10]) + (" …" if len(ids) > 10 else "")
        display.say(f"left out {len(ids)} examples, {reason}: {shown}", "yellow")
    valid = encode_examples(valid_examples, tokenizer, preprocessor)
    augmented = preprocessor if overfit else build_preprocessor(config.features, config.augmentation)
    setup = Setup(config, device, normalizer, tokenizer, preprocessor, augmented, model, corpus, valid, warm_start)
    if config.features.normalization == "global" and not resume and warm_start is None:
        set_statistics(setup)
    return setup


def plan_epoch(setup: Setup, epoch: int, processes: int = 1) -> BatchPlan:
    """The batches of an epoch, by the lengths that augmentation will give; they depend on the data, the configuration,
    the epoch and the number of processes only."""
    training, seed = setup.config.training, setup.config.seed
    frames = setup.corpus.frames
    if setup.augmented is not setup.preprocessor:
        frames = tuple(
            setup.augmented.count_frames(example, example_generator(seed, epoch, example.id))
            for example in setup.corpus.examples
        )
    return plan_batches(
        frames,
        batch_frames=training.batch_frames,
        max_batch_size=training.max_batch_size,
        seed=seed,
        epoch=epoch,
        processes=processes,
    )


def say_facts(setup: Setup, display: TrainingDisplay) -> None:
    """Sizes, padding, and whether the untrained model's loss is what it should be."""
    parameters = sum(parameter.numel() for parameter in setup.model.parameters())
    plan = plan_epoch(setup, 0)
    display.say(
        f"{len(setup.corpus)} training and {len(setup.valid)} validation examples, {len(setup.tokenizer)} tokens,"
        f" {parameters:,} parameters, {setup.device}"
    )
    display.say(f"{len(plan)} batches an epoch, {100 * plan.padding:.1f} % of their frames are padding")
    loss = initial_loss(setup, plan.batches[0])
    if setup.warm_start is not None:
        for line in setup.warm_start.lines():
            display.say(line)
        display.say(f"initial loss {loss.measured:.2f} nats per token, {loss.expected:.2f} if the output were uniform")
        return
    verdict = "as expected" if loss.usual else "NOT as expected: check the features, the normalization and the targets"
    display.say(
        f"initial loss {loss.measured:.2f} nats per token, {loss.expected:.2f} if the output were uniform: {verdict}",
        None if loss.usual else "yellow",
    )


def check_directory(config: Config, out: Path, resume: bool) -> None:
    """A new run needs a directory without one; resuming needs the same configuration and a state.

    Raises:
        TrainingError: otherwise.
    """
    if resume:
        if not (out / STATE_FILE).is_file():
            raise TrainingError(f"{out}: no {STATE_FILE} here, so there is nothing to resume; train without --resume")
        if load_config(out / "config.yaml") != config:
            raise TrainingError(
                f"{out}: its config.yaml differs from the configuration given; resume with `ctcrec train --resume"
                f" {out}` alone, or start a new run with another --out"
            )
    elif (out / STATE_FILE).exists() or (out / WEIGHTS_FILE).exists():
        raise TrainingError(f"{out}: holds a run already; go on with --resume {out}, or choose another --out")


def check_start(config: Config, resume: bool, start: Path | None) -> None:
    """Raise ConfigError where a model to start from is given to a run that goes on, or options need one."""
    if resume and start is not None:
        raise ConfigError(
            f"--from {start} starts a new run, and --resume goes on with its own weights; give one of them"
        )
    if config.training.freeze_frontend_steps and start is None and not resume:
        raise ConfigError(
            "training.freeze_frontend_steps: no effect without a model to start from (--from); a frontend that has"
            " learned nothing must not be frozen"
        )


def overfit_config(config: Config) -> Config:
    """The same model without anything that hinders memorizing: dropout, weight decay, averaging, decay of the rate,
    a frozen frontend, smoothing and sampling of tokens; without a teacher or the risk of whole texts."""
    changes = {"weight_decay": 0.0, "average": "none", "early_stopping": None, "schedule": "constant"}
    training = config.training.model_copy(update={**changes, "freeze_frontend_steps": 0})
    frontend = config.model.frontend.model_copy(update={"dropout": 0.0})
    encoder = config.model.encoder.model_copy(update={"dropout": 0.0})
    decoder = config.model.decoder and config.model.decoder.model_copy(update={"dropout": 0.0})
    model = config.model.model_copy(update={"frontend": frontend, "encoder": encoder, "decoder": decoder})
    loss = config.loss.model_copy(
        update={
            "label_smoothing": 0.0,
            "smoothing": "all",
            "focal_gamma": 0.0,
            "scheduled_sampling": None,
            "sequence_training": None,
            "distillation": None,
        }
    )
    return config.model_copy(update={"training": training, "model": model, "loss": loss})


def set_statistics(setup: Setup) -> None:
    """Feature mean and deviation over the training set, for global normalization."""
    generator = torch.Generator().manual_seed(setup.config.seed)
    chosen = torch.randperm(len(setup.corpus), generator=generator)[:_STATISTICS_EXAMPLES].tolist()
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for index in chosen:
        features = load_features(setup.preprocessor, setup.corpus.examples[index]).double()
        count += len(features)
        total = total + features.sum(0)
        squares = squares + features.square().sum(0)
    mean = total / count
    setup.model.frontend.set_statistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())


@dataclass(frozen=True, slots=True)
class InitialLoss:
    """An untrained model's loss in nats per token, and what it would be if the output were uniform."""

    measured: float
    expected: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Between these, it is usual: random logits are a little worse than uniform ones."""
        low, high = _INITIAL_LOSS_RANGE
        return low * self.expected, high * self.expected + 1.0

    @property
    def usual(self) -> bool:
        low, high = self.bounds
        return low <= self.measured <= high


def initial_loss(setup: Setup, chosen: tuple[int, ...]) -> InitialLoss:
    """The untrained model's loss on one batch; leaves no trace in batch statistics or generators.

    Its gradient is computed too, so that the loss kernels are compiled before the time of training counts.
    """
    buffers = copy.deepcopy(dict(setup.model.named_buffers()))
    corpus = setup.corpus
    batch = BatchDataset(corpus.examples, corpus.targets, setup.preprocessor, [chosen])[0].to(setup.device)
    with torch.random.fork_rng(), torch.no_grad():
        setup.model.train()
        output = setup.model(batch.features, batch.feature_lengths, batch.targets)
    weight = setup.config.loss.ctc_weight
    logits = output.logits.requires_grad_()
    sums = loss_sum(replace(output, logits=logits, intermediate=()), batch, ctc_weight=weight)
    if setup.model.head is not None:
        torch.autograd.backward(sums.ctc)
    for name, buffer in setup.model.named_buffers():
        buffer.copy_(buffers[name])
    measured = float(sums.main(weight).detach()) / int(batch.target_lengths.sum())
    expected = expected_initial_loss(corpus.select(chosen), setup.model, len(setup.tokenizer), weight)
    return InitialLoss(measured, expected)


def _check_precision(precision: str, device: torch.device) -> None:
    if precision == "float16" and device.type != "cuda":
        raise ConfigError("training.precision = float16 needs a CUDA GPU, none is here; use float32 or bfloat16")
    if precision == "bfloat16" and not has_bfloat16(device):
        raise ConfigError(
            "training.precision = bfloat16 needs a CUDA GPU or a processor with AVX512-BF16 or AMX, none is here; use"
            " float32"
        )
