"""A first stage without texts: frontend and encoder learn to tell hidden frames apart (`ctcrec.losses.contrastive`).

Spans of the frontend's frames are replaced by a learned vector; from what the encoder makes of the rest, a linear layer
predicts what another one makes of the frames that were hidden. The result is a checkpoint without tokens, from which
`ctcrec train --from` takes frontend and encoder. It can be stopped and gone on with like a training.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ctcrec.checkpoint import build_from_config, save_checkpoint, writing
from ctcrec.config import Config, LossConfig, TextConfig, dump_config
from ctcrec.data.dataset import BatchDataset, iterate_batches
from ctcrec.data.manifest import read_manifests
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.losses import InfoNCE, draw_spans, info_nce
from ctcrec.modalities import build_preprocessor
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.provenance import recorded
from ctcrec.records import Batch
from ctcrec.text import CharTokenizer, Normalizer
from ctcrec.training.corpus import Corpus, fingerprint
from ctcrec.training.logging import MetricsLog, TrainingDisplay
from ctcrec.training.optim import build_optimizer, learning_rate_factor
from ctcrec.training.setup import STATE_FILE, Setup, check_directory, plan_epoch, set_statistics
from ctcrec.training.state import Progress, load_state, save_state

__all__ = ["OPTIONS_FILE", "ContrastiveOptions", "pretrain"]

OPTIONS_FILE = "pretraining.json"


@dataclass(frozen=True, slots=True)
class ContrastiveOptions:
    """How frames are hidden and told apart.

    Attributes:
        mask_share: about how much of an example is hidden.
        mask_frames: length of a hidden span, in frames of the encoder.
        temperature: of the cosines.
        size: of the vectors that are compared.

    Raises:
        ConfigError: a value out of range.
    """

    mask_share: float = 0.4
    mask_frames: int = 4
    temperature: float = 0.1
    size: int = 128

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_share < 1.0 or not self.temperature > 0.0:
            raise ConfigError(
                f"the share to hide must be between 0 and 1 and the temperature above 0; got {self.mask_share:g} and"
                f" {self.temperature:g}"
            )
        if self.mask_frames < 1 or self.size < 1:
            raise ConfigError(f"spans and vectors need at least 1, not {self.mask_frames} and {self.size}")


class ContrastiveModel(nn.Module):
    """Frontend and encoder of a recognition model, and what compares hidden frames."""

    def __init__(self, model: RecognitionModel, options: ContrastiveOptions) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.hidden = nn.Parameter(torch.empty(model.frontend.output_size).uniform_(-0.1, 0.1))
        self.prediction = nn.Linear(model.encoder.output_size, options.size)
        self.target = nn.Linear(model.frontend.output_size, options.size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> InfoNCE:
        """(N, T, F), (N,) → the loss of one drawing of hidden spans."""
        frames, lengths = self.model.frontend(features, lengths)
        options = self.options
        chosen = draw_spans(lengths, frames.shape[1], options.mask_share, options.mask_frames).to(frames.device)
        seen = torch.where(chosen[:, :, None], self.hidden.to(frames.dtype), frames)
        encoded = self.model.encoder(seen, lengths)[-1]
        return info_nce(self.prediction(encoded), self.target(frames), chosen, options.temperature)


def pretrain(
    config: Config,
    out: str | Path,
    options: ContrastiveOptions | None = None,
    *,
    resume: bool = False,
    console: Console | None = None,
    stop_after_steps: int | None = None,
) -> dict[str, Any]:
    """Train frontend and encoder on the examples of `data.train`, texts or none; returns the last epoch's row.

    Of the configuration the sections data, features, augmentation, model and training count; `training.average`,
    `schedule: plateau` and `early_stopping`, which need error rates, do not.

    Raises:
        ConfigError, ManifestError, MediaError, CheckpointError: what is wrong in the user's files.
        TrainingError: training cannot start or go on, or was stopped.
    """
    stage = _Stage(config, Path(out), options, resume, TrainingDisplay(console or Console(stderr=True)))
    try:
        with recorded(stage.out, stage.setup.config, resume, stage.facts):
            return stage.train(stop_after_steps)
    finally:
        stage.close()


class _Stage:
    """What is kept between steps."""

    def __init__(
        self, config: Config, out: Path, options: ContrastiveOptions | None, resume: bool, display: TrainingDisplay
    ) -> None:
        config = _without_texts(config)
        check_directory(config, out, resume)
        self.out, self.display = out, display
        self.setup = setup = _prepare(config, resume)
        if resume:
            options = _read_options(out)
        self.options = options or ContrastiveOptions()
        self.model = ContrastiveModel(setup.model, self.options).to(setup.device)
        self.optimizer = build_optimizer(self.model, config.training.learning_rate, config.training.weight_decay)
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=False)
        self.progress = Progress(data=fingerprint(setup.corpus, setup.valid))
        if resume:
            self._load_state()
        else:
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
                (out / "config.yaml").write_text(dump_config(config), encoding="utf-8")
                (out / OPTIONS_FILE).write_text(json.dumps(dataclasses.asdict(self.options)) + "\n", encoding="utf-8")
        self.log = MetricsLog(out, self.progress.step, self.progress.epoch)
        self._last_save = time.monotonic()

    def train(self, stop_after_steps: int | None) -> dict[str, Any]:
        """All epochs."""
        progress, training = self.progress, self.setup.config.training
        if progress.step == 0:
            self.display.say(f"{len(self.setup.corpus)} examples to learn from without texts, {self.setup.device}")
        last_step = math.inf if stop_after_steps is None else progress.step + stop_after_steps
        while progress.epoch < training.epochs and not self._time_is_up():
            for _ in self._steps():
                if progress.step >= last_step:
                    self._save_state()
                    raise TrainingError(f"stopped after step {progress.step}; go on with --resume {self.out}")
                if time.monotonic() - self._last_save > 60 * training.checkpoint_minutes:
                    self._save_state()
            self._end_epoch()
            progress.start_epoch(progress.epoch + 1)
            self._save_state()
        self.display.say(f"next: ctcrec train CONFIG --from {self.out}")
        return progress.last

    def _time_is_up(self) -> bool:
        minutes = self.setup.config.training.max_minutes
        return minutes is not None and self.progress.seconds >= 60 * minutes

    def _steps(self) -> Iterator[None]:
        """The optimizer steps left of this epoch."""
        setup, progress, training = self.setup, self.progress, self.setup.config.training
        plan = plan_epoch(setup, progress.epoch)
        batches = iterate_batches(
            BatchDataset(
                setup.corpus.examples,
                setup.corpus.targets,
                setup.augmented,
                plan.batches[progress.batch :],
                augmentation=(setup.config.seed, progress.epoch) if setup.augmented is not setup.preprocessor else None,
            ),
            training.workers,
        )
        self.display.start(f"epoch {progress.epoch + 1}", len(plan), progress.batch)
        self.model.train()
        for batch in batches:
            if self._time_is_up():
                break
            started = time.perf_counter()
            self._step(batch.to(setup.device), (progress.epoch + progress.batch / len(plan)) / training.epochs)
            progress.batch += 1
            progress.seconds += time.perf_counter() - started
            self.display.advance(progress.batch, f"loss {progress.loss / max(progress.tokens, 1):.3f}")
            yield
        self.display.stop()

    def _step(self, batch: Batch, share_done: float) -> None:
        progress, training = self.progress, self.setup.config.training
        if training.max_minutes is not None:
            share_done = max(share_done, progress.seconds / (60 * training.max_minutes))
        factor = learning_rate_factor(training.schedule, progress.step, training.warmup_steps, share_done)
        progress.learning_rate = training.learning_rate * factor
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = progress.learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        found = self.model(batch.features, batch.feature_lengths)
        torch.autograd.backward(found.loss / max(found.frames, 1))
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip))
        loss = float(found.loss.detach())
        if not math.isfinite(loss) or not math.isfinite(norm):
            ids = ", ".join(example.id for example in batch.examples)
            raise TrainingError(
                f"a non-finite loss or gradient; try a lower training.learning_rate (now {training.learning_rate:g}),"
                f" or look at the examples of this batch: {ids}"
            )
        self.optimizer.step()
        progress.step += 1
        progress.loss += loss
        progress.tokens += found.frames  # hidden frames here
        row = {"contrastive_loss": loss / max(found.frames, 1), "told_apart": found.correct / max(found.frames, 1)}
        self.log.write("step", progress.step, {**row, "learning_rate": progress.learning_rate, "gradient_norm": norm})

    def _end_epoch(self) -> None:
        """Validate where there is something to validate on, log, and write the checkpoint."""
        progress, setup = self.progress, self.setup
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "train_loss": progress.loss / max(progress.tokens, 1)}
        told = f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f}"
        if len(setup.valid):
            loss, share = self._validate()
            row |= {"valid_loss": loss, "told_apart": share}
            told += f" → {loss:.3f}  hidden frames told apart {100 * share:.1f} %"
        row["seconds"] = progress.seconds
        self.log.write("epoch", progress.step, row)
        progress.last = row
        self.display.say(f"{told}  {progress.seconds:.0f} s")
        save_checkpoint(self.out, setup.config, setup.tokenizer, setup.model.state_dict(), row)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Loss per hidden frame, and the share told right, on `data.valid`; the same spans are hidden every time."""
        setup = self.setup
        batches = [tuple(range(n, min(n + 16, len(setup.valid)))) for n in range(0, len(setup.valid), 16)]
        dataset = BatchDataset(setup.valid.examples, setup.valid.targets, setup.preprocessor, batches)
        loss, frames, correct = 0.0, 0, 0
        self.model.eval()
        with torch.random.fork_rng():
            torch.manual_seed(setup.config.seed)
            for batch in iterate_batches(dataset, setup.config.training.workers):
                moved = batch.to(setup.device)
                found = self.model(moved.features, moved.feature_lengths)
                loss, frames, correct = loss + float(found.loss), frames + found.frames, correct + found.correct
        return loss / max(frames, 1), correct / max(frames, 1)

    def facts(self) -> dict[str, Any]:
        """What the record says at the end."""
        progress = self.progress
        return {"stage": "contrastive", "steps": progress.step, "epochs": progress.epoch, "last": progress.last}

    def _save_state(self) -> None:
        save_state(self.out / STATE_FILE, self.progress, self.model, self.optimizer, self.scaler, {})
        self._last_save = time.monotonic()

    def _load_state(self) -> None:
        data = self.progress.data
        self.progress, _ = load_state(self.out / STATE_FILE, self.model, self.optimizer, self.scaler)
        if self.progress.data != data:
            raise TrainingError(f"{self.out}: the manifests differ from those that this run was started with")
        self.display.say(f"going on from epoch {self.progress.epoch + 1}, step {self.progress.step}")

    def close(self) -> None:
        """Close files and the progress bar."""
        self.display.stop()
        self.log.close()


def _without_texts(config: Config) -> Config:
    """The same model and data without tokens, decoder and losses of texts.

    Raises:
        ConfigError: options that have no effect here.
    """
    training = config.training
    if training.average != "none" or training.early_stopping is not None or training.schedule == "plateau":
        config = config.model_copy(
            update={
                "training": training.model_copy(
                    update={
                        "average": "none",
                        "ema_decay": type(training).model_fields["ema_decay"].default,
                        "average_best": type(training).model_fields["average_best"].default,
                        "early_stopping": None,
                        "plateau_patience": type(training).model_fields["plateau_patience"].default,
                        "schedule": "cosine" if training.schedule == "plateau" else training.schedule,
                    }
                )
            }
        )
    if config.training.precision != "float32" or config.training.accumulation != 1:
        raise ConfigError("pretraining: training.precision other than float32 and training.accumulation have no effect")
    model = config.model.model_copy(update={"decoder": None})
    return config.model_copy(update={"text": TextConfig(), "loss": LossConfig(), "model": model})


def _prepare(config: Config, resume: bool) -> Setup:
    """Data and a fresh model; every medium will do, whatever its text."""
    if not config.data.train:
        raise ConfigError("data.train: no manifest is named; set it, for example --set 'data.train=[unlabelled.jsonl]'")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    torch.manual_seed(config.seed)
    preprocessor = build_preprocessor(config.features)
    parts = []
    for paths in (config.data.train, config.data.valid):
        examples = tuple(read_manifests([Path(path) for path in paths]))
        frames = tuple(preprocessor.count_frames(example) for example in examples)
        parts.append(Corpus(examples, ((),) * len(examples), frames))
    corpus = parts[0]
    longest = config.data.max_frames or math.inf
    fitting = [n for n, frames in enumerate(corpus.frames) if config.data.min_frames <= frames <= longest]
    if not fitting:
        raise TrainingError("no training example is between data.min_frames and data.max_frames")
    augmented = build_preprocessor(config.features, config.augmentation)
    tokenizer, normalizer = CharTokenizer([]), Normalizer.of(config.text.normalization)
    model = build_from_config(config, len(tokenizer)).to(device)
    setup = Setup(
        config, device, normalizer, tokenizer, preprocessor, augmented, model, corpus.select(fitting), parts[1]
    )
    if config.features.normalization == "global" and not resume:
        set_statistics(setup)
    return setup


def _read_options(out: Path) -> ContrastiveOptions:
    try:
        return ContrastiveOptions(**json.loads((out / OPTIONS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{out / OPTIONS_FILE}: cannot be read ({error}); --resume needs a run of ctcrec pretrain"
        ) from None
