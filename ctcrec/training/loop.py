"""The training loop: one flat sequence of steps, resumable at any of them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ctcrec.checkpoint import build_from_config, save_checkpoint, writing
from ctcrec.config import Config, dump_config, load_config
from ctcrec.data.batching import BatchPlan, plan_batches, plan_in_order
from ctcrec.data.dataset import BatchDataset, iterate_batches, load_features
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.modalities import build_preprocessor
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Batch
from ctcrec.text import Normalizer, Tokenizer, load_tokenizer
from ctcrec.training.corpus import (
    build_tokenizer,
    encode_examples,
    expected_initial_loss,
    fingerprint,
    leave_out,
    read_texts,
    unknown_characters,
)
from ctcrec.training.logging import MetricsLog, TrainingDisplay, draw_curves, read_rows
from ctcrec.training.objective import LossSum, loss_sum
from ctcrec.training.optim import WeightAverage, build_optimizer, learning_rate_factor, mean_weights
from ctcrec.training.state import Progress, load_state, save_state
from ctcrec.training.validation import Validation, validate

__all__ = ["OVERFIT_LOSS", "Summary", "train"]

OVERFIT_LOSS = 0.05  # nats per token: text then comes out right on the examples trained on
_STATE = "state.safetensors"
_VALIDATION_FRAMES = 40_000  # feature frames in a validation batch


@dataclass(frozen=True, slots=True)
class Summary:
    """How a training ended: scores of the best checkpoint (fractions), where it is, and whether `overfit` succeeded."""

    directory: Path
    cer: float
    wer: float
    train_loss: float
    epochs: int
    seconds: float
    overfitted: bool | None = None


def train(
    config: Config,
    out: str | Path,
    *,
    resume: bool = False,
    overfit: int | None = None,
    console: Console | None = None,
    stop_after_steps: int | None = None,
) -> Summary:
    """Train a model and leave its checkpoint in `out`.

    Args:
        config: everything about the run.
        out: the run's directory: checkpoint, `state.safetensors`, `metrics.jsonl`, `tensorboard/`, `curves.png`.
        resume: go on from the state in `out`; the result is what an uninterrupted training gives.
        overfit: train on this many examples only, validate on the same, without augmentation and dropout,
            and say whether the loss got near zero.
        console: where to print.
        stop_after_steps: stop as a kill would, after so many steps (for tests of resuming).

    Raises:
        ConfigError, ManifestError, MediaError, TextError, CheckpointError: what is wrong in the user's files.
        TrainingError: training cannot go on; the message says what to try.
    """
    run = _Run(config, Path(out), resume, overfit, TrainingDisplay(console or Console(stderr=True)))
    try:
        return run.train(stop_after_steps)
    except KeyboardInterrupt:
        run.save_state()
        run.display.stop()
        raise TrainingError(f"stopped; go on with --resume {run.out}") from None
    finally:
        run.close()


class _Run:
    """One training: what `train` keeps between steps."""

    def __init__(self, config: Config, out: Path, resume: bool, overfit: int | None, display: TrainingDisplay) -> None:
        self.out, self.display, self.overfit = out, display, overfit
        self.config = config = _overfit_config(config) if overfit else config
        _check_directory(config, out, resume)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if config.training.precision != "float32" and self.device.type != "cuda":
            raise ConfigError(
                f"training.precision = {config.training.precision} needs a CUDA GPU, and none is here; use float32"
            )
        if config.training.threads is not None:
            torch.set_num_threads(config.training.threads)
        torch.manual_seed(config.seed)

        self.normalizer = Normalizer.of(config.text.normalization)
        self.plain = build_preprocessor(config.features)
        train_examples = read_texts(config.data.train, self.normalizer, "data.train")
        if overfit:
            train_examples = train_examples[:overfit]
            valid_examples = train_examples
        else:
            valid_examples = read_texts(config.data.valid, self.normalizer, "data.valid")
        self.tokenizer: Tokenizer = load_tokenizer(out) if resume else build_tokenizer(config, train_examples)
        self.model: RecognitionModel = build_from_config(config, len(self.tokenizer)).to(self.device)
        self._say_unknown_characters(valid_examples)
        everything = encode_examples(train_examples, self.tokenizer, self.plain)
        self.corpus, self.left_out = leave_out(everything, self.model, config.data.min_frames, config.data.max_frames)
        self.valid = encode_examples(valid_examples, self.tokenizer, self.plain)

        training = config.training
        self.optimizer = build_optimizer(self.model, training.learning_rate, training.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=training.precision == "float16")
        self.average: WeightAverage | None = None
        self.best_weights: list[dict[str, torch.Tensor]] = []
        self.progress = Progress(data=fingerprint(self.corpus, self.valid))
        if resume:
            self._load_state()
        elif config.features.normalization == "global":
            self._set_statistics()
        if training.average == "ema" and self.average is None:
            self.average = WeightAverage(self.model, training.ema_decay)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "config.yaml").write_text(dump_config(config), encoding="utf-8")
            self.tokenizer.save(out)
            self.log = MetricsLog(out, self.progress.step)
        self._last_save = time.monotonic()

    # ── before training ────────────────────────────────────────────────────────────────────────────────────────────

    def _say_unknown_characters(self, valid_examples: list[Any]) -> None:
        unknown = unknown_characters(valid_examples, self.tokenizer)
        if unknown:
            shown = ", ".join(f"{character!r} in {count}" for character, count in sorted(unknown.items()))
            self.display.say(f"characters of the validation texts that the training texts lack: {shown}", "yellow")

    def _set_statistics(self) -> None:
        """Feature mean and deviation over (at most 1000 examples of) the training set, for global normalization."""
        generator = torch.Generator().manual_seed(self.config.seed)
        chosen = torch.randperm(len(self.corpus), generator=generator)[:1000].tolist()
        count, total, squares = 0, torch.zeros(1), torch.zeros(1)
        for index in chosen:
            features = load_features(self.plain, self.corpus.examples[index]).double()
            count += len(features)
            total = total + features.sum(0)
            squares = squares + features.square().sum(0)
        mean = total / count
        self.model.frontend.set_statistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())

    def say_facts(self) -> None:
        """What can be known before the first step: sizes, left-out examples, padding, the expected initial loss."""
        corpus, say = self.corpus, self.display.say
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        plan = self._plan(0)
        say(
            f"{len(corpus)} training and {len(self.valid)} validation examples, {len(self.tokenizer)} tokens,"
            f" {parameters:,} parameters, {self.device}"
        )
        for reason, ids in self.left_out.items():
            shown = ", ".join(ids[:10]) + (" …" if len(ids) > 10 else "")
            say(f"left out {len(ids)} examples, {reason}: {shown}", "yellow")
        say(f"{len(plan)} batches an epoch, {100 * plan.padding:.1f} % of their frames are padding")
        self._say_initial_loss(plan)

    def _say_initial_loss(self, plan: BatchPlan) -> None:
        """Compare the untrained model's loss on one batch with that of uniform output."""
        buffers = copy.deepcopy(dict(self.model.named_buffers()))
        with torch.random.fork_rng(), torch.no_grad():
            chosen = plan.batches[0]
            batch = BatchDataset(self.corpus.examples, self.corpus.targets, self.plain, [chosen])[0].to(self.device)
            self.model.train()
            output = self.model(batch.features, batch.feature_lengths)
            measured = float(loss_sum(replace(output, intermediate=()), batch).ctc) / int(batch.target_lengths.sum())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])
        expected = expected_initial_loss(self.corpus.select(chosen), self.model, len(self.tokenizer))
        usual = 0.8 * expected <= measured <= 1.5 * expected + 1.0
        verdict = "as expected" if usual else "NOT as expected: check the features, the normalization and the targets"
        self.display.say(
            f"initial loss {measured:.2f} nats per token, {expected:.2f} if the output were uniform: {verdict}",
            None if usual else "yellow",
        )

    # ── training ───────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, stop_after_steps: int | None) -> Summary:
        """All epochs."""
        if self.progress.step == 0:
            self.say_facts()
        training, progress = self.config.training, self.progress
        first_step = progress.step
        while progress.epoch < training.epochs and not self._finished():
            for _ in self._steps():
                if time.monotonic() - self._last_save > 60 * training.checkpoint_minutes:
                    self.save_state()
                if stop_after_steps is not None and progress.step - first_step >= stop_after_steps:
                    raise KeyboardInterrupt
            self._end_epoch()
            progress.start_epoch(progress.epoch + 1)
            self.save_state()
        return self._summary()

    def _finished(self) -> bool:
        """Whether time is up, the error stopped falling, or overfitting has succeeded."""
        training, progress = self.config.training, self.progress
        if training.max_minutes is not None and progress.seconds >= 60 * training.max_minutes:
            return True
        if training.early_stopping is not None and progress.epochs_since_best >= training.early_stopping:
            self.display.say(f"no better CER for {progress.epochs_since_best} epochs: stopped early")
            return True
        return bool(self.overfit) and progress.best.get("train_loss", math.inf) <= OVERFIT_LOSS

    def _steps(self) -> Iterator[None]:
        """The optimizer steps left of this epoch."""
        config, training, progress = self.config, self.config.training, self.progress
        plan = self._plan(progress.epoch)
        views = 2 if config.loss.consistency_weight > 0 else 1
        augmentation = None if self.overfit else (config.seed, progress.epoch)
        preprocessor = build_preprocessor(config.features, config.augmentation)
        dataset = BatchDataset(
            self.corpus.examples, self.corpus.targets, preprocessor, plan.batches[progress.batch :], augmentation, views
        )
        batches = iterate_batches(dataset, training.workers, pin_memory=self.device.type == "cuda")
        self.display.start(f"epoch {progress.epoch + 1}", len(plan), progress.batch)
        self.model.train()
        while progress.batch < len(plan):
            started = time.perf_counter()
            group = [next(batches) for _ in range(min(training.accumulation, len(plan) - progress.batch))]
            waited = time.perf_counter() - started
            self._step(group, views, (progress.epoch + progress.batch / len(plan)) / training.epochs)
            progress.batch += len(group)
            took = time.perf_counter() - started
            progress.wait_seconds += waited
            progress.step_seconds += took
            progress.seconds += took
            self.display.advance(progress.batch, self._state_line(len(plan)))
            yield
        self.display.stop()

    def _step(self, group: list[Batch], views: int, progress_share: float) -> None:
        """One optimizer step on accumulated batches: the gradient of their summed loss over their target tokens."""
        training, progress = self.config.training, self.progress
        if training.max_minutes is not None:
            progress_share = max(progress_share, progress.seconds / (60 * training.max_minutes))
        factor = learning_rate_factor(training.schedule, progress.step, training.warmup_steps, progress_share)
        self.learning_rate = training.learning_rate * factor * progress.plateau_factor
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(int(batch.target_lengths.sum()) for batch in group) // views
        ctc = 0.0
        for batch in group:
            sums = self._forward(batch.to(self.device))
            self.scaler.scale(sums.total / tokens).backward()
            ctc += float(sums.ctc.detach())
            progress.infeasible += int(sums.infeasible)
            progress.frames += int(batch.feature_lengths.sum())
            progress.padded_frames += batch.features.shape[0] * batch.features.shape[1]
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip)
        if not math.isfinite(ctc) or (not torch.isfinite(norm) and not self.scaler.is_enabled()):
            self._skip(group)
            return
        progress.bad_batches_in_row = 0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.step += 1
        progress.loss += ctc
        progress.tokens += tokens
        if self.average is not None:
            self.average.update(self.model, progress.step)
        self.log.write(
            "step",
            progress.step,
            {"loss": ctc / tokens, "learning_rate": self.learning_rate, "gradient_norm": float(norm)},
        )

    def _forward(self, batch: Batch) -> LossSum:
        precision, loss = self.config.training.precision, self.config.loss
        dtype = getattr(torch, precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=precision != "float32"):
            output = self.model(batch.features, batch.feature_lengths)
        return loss_sum(
            output, batch, intermediate_weight=loss.intermediate_weight, consistency_weight=loss.consistency_weight
        )

    def _skip(self, group: list[Batch]) -> None:
        """Leave a batch with a non-finite loss or gradient out, by name; too many in a row end training."""
        progress, limit = self.progress, self.config.training.max_bad_batches
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():
            self.scaler.update()
        ids = [example.id for batch in group for example in batch.examples]
        self.display.say(f"skipped a batch with a non-finite loss or gradient: {', '.join(ids)}", "yellow")
        progress.skipped_batches += 1
        progress.bad_batches_in_row += 1
        if progress.bad_batches_in_row >= limit:
            raise TrainingError(
                f"{limit} batches in a row had a non-finite loss or gradient. Try a lower training.learning_rate"
                f" (now {self.config.training.learning_rate:g}), more training.warmup_steps, or float32"
                " training.precision; the batches named above may hold broken features. What was saved before is whole"
            )

    # ── after each epoch ───────────────────────────────────────────────────────────────────────────────────────────

    def _end_epoch(self) -> None:
        """Validate, keep the best weights, log."""
        progress, training = self.progress, self.config.training
        weights = self.average.weights if self.average is not None else self.model.state_dict()
        result = self._validate(weights)
        row = self._epoch_row(result)
        self.log.write("epoch", progress.step, row)
        better = not progress.best or self._is_better(row, progress.best)
        progress.epochs_since_best = 0 if better else progress.epochs_since_best + 1
        if better:
            progress.best = row
            save_checkpoint(self.out, self.config, self.tokenizer, weights, row)
        if training.average == "best":
            self._keep_best(weights, row)
        if training.schedule == "plateau" and progress.epochs_since_best >= training.plateau_patience:
            progress.plateau_factor *= 0.5
            progress.epochs_since_best = 0
        self._say_epoch(row, result, better)

    @staticmethod
    def _is_better(row: dict[str, Any], best: dict[str, Any]) -> bool:
        return (row["cer"], row["valid_loss"]) < (best["cer"], best["valid_loss"])

    def _validate(self, weights: dict[str, torch.Tensor]) -> Validation:
        plan = plan_in_order(
            self.valid.frames, batch_frames=_VALIDATION_FRAMES, max_batch_size=self.config.training.max_batch_size
        )
        dataset = BatchDataset(self.valid.examples, self.valid.targets, self.plain, plan.batches)
        batches = iterate_batches(dataset, self.config.training.workers)
        with _weights(self.model, weights):
            return validate(self.model, batches, self.tokenizer, self.normalizer, self.device)

    def _epoch_row(self, result: Validation) -> dict[str, Any]:
        progress = self.progress
        step_seconds = max(progress.step_seconds, 1e-9)
        return {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss / max(progress.tokens, 1),
            "valid_loss": result.loss,
            "cer": result.cer,
            "wer": result.wer,
            "blank_rate": result.blank_rate,
            "learning_rate": self.learning_rate,
            "frames_per_second": progress.frames / step_seconds,
            "padding": 1.0 - progress.frames / max(progress.padded_frames, 1),
            "data_wait": progress.wait_seconds / step_seconds,
            "skipped_batches": progress.skipped_batches,
            "infeasible": progress.infeasible + result.infeasible,
            "seconds": progress.seconds,
        }

    def _keep_best(self, weights: dict[str, torch.Tensor], row: dict[str, Any]) -> None:
        """Keep the weights of the best epochs, best first, for `average: best`."""
        entry = {"epoch": row["epoch"], "cer": row["cer"], "valid_loss": row["valid_loss"]}
        ranked = sorted(
            [
                *zip(self.progress.best_epochs, self.best_weights, strict=True),
                (entry, {name: tensor.detach().clone() for name, tensor in weights.items()}),
            ],
            key=lambda item: (item[0]["cer"], item[0]["valid_loss"]),
        )[: self.config.training.average_best]
        self.progress.best_epochs = [item[0] for item in ranked]
        self.best_weights = [item[1] for item in ranked]

    def _say_epoch(self, row: dict[str, Any], result: Validation, better: bool) -> None:
        say = self.display.say
        say(
            f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f} → {row['valid_loss']:.3f}"
            f"  CER {100 * row['cer']:.2f} %  WER {100 * row['wer']:.2f} %  blanks {100 * row['blank_rate']:.0f} %"
            f"  {row['frames_per_second']:.0f} frames/s  {row['seconds']:.0f} s{'  best' if better else ''}",
            "bold" if better else None,
        )
        for reference, hypothesis in result.samples:
            say(f"    {reference}\n  → {hypothesis}", "dim")
        if row["infeasible"]:
            say(f"  {row['infeasible']} targets did not fit their frames and counted no loss", "yellow")

    def _state_line(self, batches: int) -> str:
        progress, training = self.progress, self.config.training
        speed = progress.frames / max(progress.step_seconds, 1e-9)
        done = (progress.epoch + progress.batch / batches) / training.epochs
        if training.max_minutes is not None:
            done = max(done, progress.seconds / (60 * training.max_minutes))
        left = progress.seconds * (1 - done) / max(done, 1e-9)
        return (
            f"loss {progress.loss / max(progress.tokens, 1):.3f}  lr {self.learning_rate:.1e}"
            f"  {speed:.0f} frames/s  {left / 60:.1f} min left"
        )

    # ── at the end, and saving ─────────────────────────────────────────────────────────────────────────────────────

    def _summary(self) -> Summary:
        progress = self.progress
        if self.best_weights and len(self.best_weights) > 1:
            self._try_mean()
        draw_curves(read_rows(self.log.path), self.out / "curves.png")
        best = progress.best
        overfitted = best["train_loss"] <= OVERFIT_LOSS if self.overfit else None
        if overfitted is not None:
            verdict = "near zero: the model can learn these examples" if overfitted else "NOT near zero: see README"
            self.display.say(f"overfit: loss {best['train_loss']:.3f} nats per token, {verdict}", "bold")
        self.display.say(
            f"best epoch {best['epoch']}: CER {100 * best['cer']:.2f} %, WER {100 * best['wer']:.2f} %; {self.out}"
        )
        return Summary(
            self.out, best["cer"], best["wer"], best["train_loss"], progress.epoch, progress.seconds, overfitted
        )

    def _try_mean(self) -> None:
        """Replace the checkpoint by the mean of the best weights where that scores better."""
        weights = mean_weights(self.best_weights)
        result = self._validate(weights)
        epochs = [entry["epoch"] for entry in self.progress.best_epochs]
        row = {
            **self.progress.best,
            "cer": result.cer,
            "wer": result.wer,
            "valid_loss": result.loss,
            "averaged_epochs": epochs,
        }
        better = self._is_better(row, self.progress.best)
        self.display.say(
            f"mean of epochs {epochs}: CER {100 * result.cer:.2f} %, {'kept' if better else 'not better, not kept'}"
        )
        if better:
            self.progress.best = row
            save_checkpoint(self.out, self.config, self.tokenizer, weights, row)

    def save_state(self) -> None:
        """Write all that resuming needs."""
        averages = {"ema": self.average.weights} if self.average is not None else {}
        averages |= {f"best-{index}": weights for index, weights in enumerate(self.best_weights)}
        save_state(self.out / _STATE, self.progress, self.model, self.optimizer, self.scaler, averages)
        self._last_save = time.monotonic()

    def _load_state(self) -> None:
        data = self.progress.data
        self.progress, averages = load_state(self.out / _STATE, self.model, self.optimizer, self.scaler)
        if self.progress.data != data:
            raise TrainingError(
                f"{self.out}: the manifests differ from those that this run was started with; restore them, or start"
                " a new run with another --out"
            )
        if "ema" in averages:
            self.average = WeightAverage(self.model, self.config.training.ema_decay)
            self.average.weights = {name: tensor.to(self.device) for name, tensor in averages.pop("ema").items()}
        self.best_weights = [averages[f"best-{index}"] for index in range(len(averages))]
        self.display.say(f"going on from epoch {self.progress.epoch + 1}, step {self.progress.step}")

    def _plan(self, epoch: int) -> BatchPlan:
        training = self.config.training
        return plan_batches(
            self.corpus.frames,
            batch_frames=training.batch_frames,
            max_batch_size=training.max_batch_size,
            seed=self.config.seed,
            epoch=epoch,
        )

    def close(self) -> None:
        """Close files and the progress bar."""
        self.display.stop()
        self.log.close()


def _check_directory(config: Config, out: Path, resume: bool) -> None:
    """A new run needs a directory without one; resuming needs the same configuration and a state."""
    if resume:
        if not (out / _STATE).is_file():
            raise TrainingError(f"{out}: no {_STATE} here, so there is nothing to resume; train without --resume")
        if load_config(out / "config.yaml") != config:
            raise TrainingError(
                f"{out}: its config.yaml differs from the configuration given; resume with `ctcrec train --resume"
                f" {out}` alone, or start a new run with another --out"
            )
    elif (out / _STATE).exists() or (out / "model.safetensors").exists():
        raise TrainingError(f"{out}: holds a run already; go on with --resume {out}, or choose another --out")


def _overfit_config(config: Config) -> Config:
    """The same model without anything that hinders memorizing: dropout, weight decay, averaging, augmentation."""
    training = config.training.model_copy(
        update={"weight_decay": 0.0, "average": "none", "early_stopping": None, "schedule": "constant"}
    )
    frontend = config.model.frontend.model_copy(update={"dropout": 0.0})
    encoder = config.model.encoder.model_copy(update={"dropout": 0.0})
    model = config.model.model_copy(update={"frontend": frontend, "encoder": encoder})
    return config.model_copy(update={"training": training, "model": model})


class _weights:
    """Run a block with other weights in the model, then put its own back."""

    def __init__(self, model: RecognitionModel, weights: dict[str, torch.Tensor]) -> None:
        self.model, self.weights = model, weights

    def __enter__(self) -> None:
        self.own = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)

    def __exit__(self, *exception: object) -> None:
        self.model.load_state_dict(self.own)
