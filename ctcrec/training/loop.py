"""The training loop: one flat sequence of steps, resumable after any of them."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from ctcrec.checkpoint import writing
from ctcrec.config import Config, dump_config
from ctcrec.data.dataset import BatchDataset, iterate_batches
from ctcrec.errors import DataError, TrainingError
from ctcrec.provenance import recorded
from ctcrec.records import Batch
from ctcrec.signals import Watch
from ctcrec.training.additions import build_additions
from ctcrec.training.corpus import fingerprint
from ctcrec.training.distributed import World, join_world
from ctcrec.training.logging import MetricsLog, NoLog, TrainingDisplay, draw_curves, read_rows
from ctcrec.training.objective import LossSum, loss_sum, true_token_share
from ctcrec.training.optim import WeightAverage, build_optimizer, learning_rate_factor
from ctcrec.training.selection import Selection
from ctcrec.training.setup import (
    STATE_FILE,
    check_directory,
    check_start,
    overfit_config,
    plan_epoch,
    prepare,
    say_facts,
)
from ctcrec.training.state import Progress, load_state, random_state, save_state
from ctcrec.training.weights import BatchWeights

__all__ = ["OVERFIT_LOSS", "Summary", "train"]

OVERFIT_LOSS = 0.05  # nats per token: text then comes out right on the examples trained on


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
    start: str | Path | None = None,
    console: Console | None = None,
    stop_after_steps: int | None = None,
) -> Summary:
    """Train a model and leave its checkpoint in `out`; under `torchrun`, together with the other processes.

    Args:
        config: everything about the run.
        out: the run's directory: checkpoint, `run.json` (see `ctcrec.provenance`), `state.safetensors`,
            `metrics.jsonl`, `tensorboard/`, `curves.png`.
        resume: go on from the state in `out`; the result is what an uninterrupted training gives.
        overfit: train on this many examples only, validate on the same, without augmentation and dropout,
            and say whether the loss got near zero.
        start: directory of a trained model whose weights a new run starts from, see `ctcrec.training.warm_start`.
        console: where to print; standard error if not given.
        stop_after_steps: stop after so many steps, as Ctrl-C would.

    Raises:
        ConfigError, ManifestError, MediaError, TextError, CheckpointError: what is wrong in the user's files.
        TrainingError: training cannot start or go on, or was stopped; the message says what to do.
    """
    world = join_world()
    display = TrainingDisplay((console or Console(stderr=True)) if world.is_first else Console(quiet=True))
    run = _Run(config, Path(out), resume, overfit, display, Path(start) if start is not None else None, world)
    return _train(run, resume, stop_after_steps)


def _train(run: _Run, resume: bool, stop_after_steps: int | None) -> Summary:
    first = run.world.is_first
    record = recorded(run.out, run.config, resume, run.facts) if first else contextlib.nullcontext()
    try:
        with _stop_signals(run), record:
            return run.train(stop_after_steps)
    except DataError:  # from loading a batch, so between two steps: nothing that was learned is lost
        if run.world.size == 1:  # the others are somewhere in a step
            run.save_state()
        raise
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):  # torch has no type of its own for this
            raise
        raise TrainingError(
            f"a process that loads data was killed, perhaps for want of memory ({error}). Try fewer training.workers or"
            f" smaller training.batch_frames; go on from the last saved state with --resume {run.out}"
        ) from None
    finally:
        run.close()


class _Run:
    """What the loop keeps between steps."""

    def __init__(
        self,
        config: Config,
        out: Path,
        resume: bool,
        overfit: int | None,
        display: TrainingDisplay,
        start: Path | None,
        world: World,
    ) -> None:
        if overfit:
            config = overfit_config(config)
        check_start(config, resume, start)
        check_directory(config, out, resume)
        self.config, self.out, self.display, self.overfit = config, out, display, bool(overfit)
        self.world = world
        self.setup = setup = prepare(config, out, resume, overfit, display, start)
        self.model, self.device = setup.model, setup.device
        training = config.training
        self.optimizer = build_optimizer(self.model, training.learning_rate, training.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=training.precision == "float16")
        self.weights = BatchWeights(config.loss, setup.tokenizer, setup.corpus.examples, setup.corpus.targets)
        self.additions = build_additions(setup)
        self.average = WeightAverage(self.model, training.ema_decay) if training.average == "ema" else None
        self.selection = Selection(
            setup, out, training.average_best if training.average == "best" else 0, world.is_first
        )
        self.progress = Progress(data=fingerprint(setup.corpus, setup.valid), processes=world.size)
        self.stopping = False
        if resume:
            self._load_state()
        elif world.is_first:
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
                (out / "config.yaml").write_text(dump_config(config), encoding="utf-8")
                setup.tokenizer.save(out)
        if not resume and not world.is_first:
            torch.manual_seed(config.seed + world.rank)  # dropout of its own
        world.copy_from_first(self.model)
        self.log = (MetricsLog if world.is_first else NoLog)(out, self.progress.step, self.progress.epoch)
        self.watch = Watch(read_rows(self.log.path), training.gradient_clip, len(setup.corpus))
        self._last_save = time.monotonic()

    def train(self, stop_after_steps: int | None) -> Summary:
        """All epochs."""
        progress = self.progress
        if progress.step == 0:
            say_facts(self.setup, self.display)
        last_step = math.inf if stop_after_steps is None else progress.step + stop_after_steps
        while not self._finished():
            for stopping, save_due in self._steps():
                if stopping or progress.step >= last_step:
                    self.save_state()
                    raise TrainingError(f"stopped after step {progress.step}; go on with --resume {self.out}")
                if save_due:
                    self.save_state()
            self._end_epoch()
            progress.start_epoch(progress.epoch + 1)
            self.save_state()
        return self._summary()

    def _finished(self) -> bool:
        """Whether all epochs are done, time is up, the error stopped falling, or overfitting has succeeded."""
        training, progress = self.config.training, self.progress
        if training.early_stopping is not None and progress.epochs_since_best >= training.early_stopping:
            self.display.say(f"no better CER for {progress.epochs_since_best} epochs: stopped early")
            return True
        if self.overfit and progress.last.get("train_loss", math.inf) <= OVERFIT_LOSS:
            return True
        return progress.epoch >= training.epochs or self._time_is_up()

    def _time_is_up(self) -> bool:
        minutes = self.config.training.max_minutes
        return minutes is not None and self.progress.seconds >= 60 * minutes

    def _share_done(self, batches: int) -> float:
        """How much of the training is done, 0 to 1, by epochs or by time, whichever is further."""
        training, progress = self.config.training, self.progress
        share = (progress.epoch + progress.batch / batches) / training.epochs
        return share if training.max_minutes is None else max(share, progress.seconds / (60 * training.max_minutes))

    def _steps(self) -> Iterator[tuple[bool, bool]]:
        """The optimizer steps left of this epoch; after each, whether to stop and whether it is time to save."""
        setup, training, progress = self.setup, self.config.training, self.progress
        plan = self.world.deal(plan_epoch(setup, progress.epoch, self.world.size))
        dataset = BatchDataset(
            setup.corpus.examples,
            setup.corpus.targets,
            setup.augmented,
            plan.batches[progress.batch :],
            augmentation=(self.config.seed, progress.epoch) if setup.augmented is not setup.preprocessor else None,
            views=self.views,
        )
        batches = iterate_batches(dataset, training.workers, pin_memory=self.device.type == "cuda")
        self.display.start(f"epoch {progress.epoch + 1}", len(plan), progress.batch)
        self.model.train()
        while progress.batch < len(plan) and not self._time_is_up():
            started = time.perf_counter()
            group = [next(batches) for _ in range(min(training.accumulation, len(plan) - progress.batch))]
            waited = time.perf_counter() - started
            self._step(group, self._share_done(len(plan)))
            progress.batch += len(group)
            late = time.monotonic() - self._last_save > 60 * training.checkpoint_minutes
            took, waited, stopping, save_due = self.world.numbers_of_first(
                [time.perf_counter() - started, waited, self.stopping, late]
            )
            progress.wait_seconds += waited
            progress.step_seconds += took
            progress.seconds += took
            self.display.advance(progress.batch, self._state_line(len(plan)))
            yield stopping > 0, save_due > 0
        self.display.stop()

    @property
    def views(self) -> int:
        """Augmented copies of each example in a batch."""
        return 2 if self.config.loss.consistency_weight > 0 else 1

    def _step(self, group: list[Batch], share_done: float) -> None:
        """One optimizer step: the gradient of the batches' summed loss, divided by their target tokens."""
        training, progress = self.config.training, self.progress
        factor = learning_rate_factor(training.schedule, progress.step, training.warmup_steps, share_done)
        progress.learning_rate = training.learning_rate * factor * progress.plateau_factor
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = progress.learning_rate
        self._freeze(progress.step < training.freeze_frontend_steps)
        self.optimizer.zero_grad(set_to_none=True)
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        (labels,) = self.world.sum([sum(int(batch.target_lengths.sum()) for batch in group)])
        tokens = int(labels) // self.views
        teacher_forcing = self._teacher_forcing_ratio()
        sums = self._gradient(group, tokens, teacher_forcing)
        progress.infeasible += int(sums.pop("infeasible"))
        progress.frames += int(sums.pop("frames"))
        progress.padded_frames += int(sums.pop("padded_frames"))
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip))
        if not math.isfinite(sums["loss"]) or (not math.isfinite(norm) and not self.scaler.is_enabled()):
            self._skip(group, buffers)
            return
        progress.bad_batches_in_row = 0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.world.average_buffers(self.model)
        progress.step += 1
        progress.loss += sums["loss"]
        progress.tokens += tokens
        if self.average is not None:
            self.average.update(self.model, progress.step)
        row = {name: value / tokens for name, value in sums.items()}
        row |= {"learning_rate": progress.learning_rate, "gradient_norm": norm}
        if self.config.loss.scheduled_sampling is not None:
            row["teacher_forcing_ratio"] = teacher_forcing
        self.log.write("step", progress.step, row)
        self._warn("step", row)

    def _gradient(self, group: list[Batch], tokens: int, teacher_forcing: float) -> dict[str, float]:
        """Leave the gradient of the loss per token in the parameters; what was summed up, over all processes."""
        of_heads = [] if self.model.decoder is None else ["ctc_loss", "attention_loss"]
        names = ["loss", *of_heads, "infeasible", "frames", "padded_frames"]
        sums = dict.fromkeys([*names, *(addition.name for addition in self.additions)], 0.0)
        for batch in group:
            losses, told = self._forward(batch.to(self.device), teacher_forcing)
            torch.autograd.backward(self.scaler.scale(losses.total / tokens))
            main = losses.main(self.config.loss.ctc_weight)
            heads = [] if self.model.decoder is None else [losses.ctc, losses.attention]
            of_batch = torch.stack([main, *heads, losses.infeasible.to(main)]).detach().tolist()
            frames = [int(batch.feature_lengths.sum()), batch.features.shape[0] * batch.features.shape[1]]
            told |= zip(names, [*of_batch, *frames], strict=True)
            sums = {name: value + told.get(name, 0.0) for name, value in sums.items()}
        self.world.sum_gradients(self.model.parameters())
        return dict(zip(sums, self.world.sum(list(sums.values())), strict=True))

    def _freeze(self, frozen: bool) -> None:
        """Keep the frontend as it is, its batch statistics and all, or let it learn."""
        self.model.frontend.requires_grad_(not frozen)
        self.model.frontend.train(not frozen)

    def _teacher_forcing_ratio(self) -> float:
        """The share of true tokens that the decoder is given in this step."""
        sampling = self.config.loss.scheduled_sampling
        if sampling is None:
            return 1.0
        position = self.progress.step if sampling.unit == "step" else self.progress.epoch
        return true_token_share(sampling.schedule, sampling.k, sampling.floor, position)

    def _forward(self, batch: Batch, teacher_forcing: float) -> tuple[LossSum, dict[str, float]]:
        """The loss of a batch with all that is added to it, and what each addition says of itself."""
        precision, loss = self.config.training.precision, self.config.loss
        autocast = torch.autocast(self.device.type, dtype=getattr(torch, precision), enabled=precision != "float32")
        with autocast:
            output = self.model(batch.features, batch.feature_lengths, batch.targets, 1.0 - teacher_forcing)
        sums = loss_sum(
            output,
            batch,
            intermediate_weight=loss.intermediate_weight,
            consistency_weight=loss.consistency_weight,
            ctc_weight=loss.ctc_weight,
            label_smoothing=loss.label_smoothing,
            smoothing=loss.smoothing,
            focal_gamma=loss.focal_gamma,
            weights=self.weights.of(batch),
        )
        told: dict[str, float] = {}
        if not self.additions or not math.isfinite(float(sums.total.detach())):
            return sums, told
        total = sums.total
        with autocast:
            for addition in self.additions:
                value, number = addition(output, batch)
                total = (1.0 - addition.weight) * total + addition.weight * value / self.views
                told[addition.name] = number / self.views
        return replace(sums, total=total), told

    def _skip(self, group: list[Batch], buffers: list[torch.Tensor]) -> None:
        """Leave out batches with a non-finite loss or gradient, by name; too many in a row end training.

        `buffers` are the model's from before: batch statistics must not keep what was skipped.
        """
        progress, limit = self.progress, self.config.training.max_bad_batches
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.scaler.update()
        own = [example.id for batch in group for example in batch.examples]
        ids = [name for names in self.world.gather(own) for name in names]
        self.display.say(f"skipped a batch with a non-finite loss or gradient: {', '.join(ids)}", "yellow")
        progress.skipped_batches += 1
        progress.bad_batches_in_row += 1
        if progress.bad_batches_in_row >= limit:
            raise TrainingError(
                f"{limit} batches in a row had a non-finite loss or gradient. Try a lower training.learning_rate"
                f" (now {self.config.training.learning_rate:g}), more training.warmup_steps, or float32"
                " training.precision; the batches named above may hold broken features. What was saved before is whole"
            )

    def _end_epoch(self) -> None:
        """Validate, keep the best weights, log, and say how it stands."""
        progress, training = self.progress, self.config.training
        weights = self.average.weights if self.average is not None else self.model.state_dict()
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise TrainingError(
                f"the model's weights are not finite after step {progress.step}: the training has diverged. Try a lower"
                f" training.learning_rate (now {training.learning_rate:g}) or more training.warmup_steps"
            )
        result = self.world.found_by_first(lambda: self.selection.validate(weights))
        row = progress.epoch_row(result)
        self.log.write("epoch", progress.step, row)
        progress.last = row
        better = self.selection.consider(weights, row, progress)
        progress.plateau_epochs = 0 if better else progress.plateau_epochs + 1
        if training.schedule == "plateau" and progress.plateau_epochs >= training.plateau_patience:
            progress.plateau_factor *= 0.5
            progress.plateau_epochs = 0
        self.display.say_epoch(row, result.samples, better)
        self._warn("epoch", row)

    def _warn(self, kind: str, row: dict[str, Any]) -> None:
        """Say what a row is the first to show."""
        for finding in self.watch.add({"kind": kind, "step": self.progress.step, **row}):
            self.display.say(finding.text(), "yellow")

    def _state_line(self, batches: int) -> str:
        progress = self.progress
        speed = progress.frames / max(progress.step_seconds, 1e-9)
        done = max(self._share_done(batches), 1e-9)
        left = max(progress.seconds * (1 - done) / done, 0.0)
        return (
            f"loss {progress.loss / max(progress.tokens, 1):.3f}  lr {progress.learning_rate:.1e}"
            f"  {speed:.0f} frames/s  {left / 60:.1f} min left"
        )

    def _summary(self) -> Summary:
        progress, say = self.progress, self.display.say
        if len(self.selection.best_weights) > 1:
            text, progress.best = self.world.found_by_first(lambda: self.selection.consider_mean(progress))
            say(text)
        if self.world.is_first:
            draw_curves(read_rows(self.log.path), self.out / "curves.png")
        best, train_loss = progress.best, progress.last["train_loss"]
        overfitted = train_loss <= OVERFIT_LOSS if self.overfit else None
        if overfitted is not None:
            verdict = "near zero: the model can learn these examples" if overfitted else "NOT near zero yet"
            say(f"overfit: loss {train_loss:.3f} nats per token after {progress.epoch} epochs, {verdict}", "bold")
        say(f"best epoch {best['epoch']}: CER {100 * best['cer']:.2f} %, WER {100 * best['wer']:.2f} %; {self.out}")
        self.world.wait()  # until all is written
        return Summary(self.out, best["cer"], best["wer"], train_loss, progress.epoch, progress.seconds, overfitted)

    def facts(self) -> dict[str, Any]:
        """What the run's record says when training ends."""
        progress, start = self.progress, self.setup.warm_start
        return {
            **({} if start is None else {"started_from": start.facts()}),
            "steps": progress.step,
            "epochs": progress.epoch,
            "training_seconds": round(progress.seconds, 1),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "best": progress.best,
        }

    def save_state(self) -> None:
        """Write all that resuming needs; in all processes together, who all find it written afterwards."""
        random_states = self.world.gather(random_state())
        averages = {"ema": self.average.weights} if self.average is not None else {}
        averages |= {f"best-{index}": weights for index, weights in enumerate(self.selection.best_weights)}
        path = self.out / STATE_FILE
        if self.world.is_first:
            save_state(path, self.progress, self.model, self.optimizer, self.scaler, averages, random_states)
        self.world.wait()
        self._last_save = time.monotonic()

    def _load_state(self) -> None:
        data, path = self.progress.data, self.out / STATE_FILE
        self.progress, averages = load_state(path, self.model, self.optimizer, self.scaler, self.world.rank)
        if self.progress.processes != self.world.size:
            raise TrainingError(
                f"{self.out}: this run is trained by {self.progress.processes} processes, and here are"
                f" {self.world.size}; resume with as many (torchrun --nproc-per-node={self.progress.processes})"
            )
        if self.progress.data != data:
            raise TrainingError(
                f"{self.out}: the manifests differ from those that this run was started with; restore them, or start"
                " a new run with another --out"
            )
        if self.average is not None:
            self.average.weights = {name: tensor.to(self.device) for name, tensor in averages.pop("ema").items()}
        self.selection.best_weights = [averages[f"best-{index}"] for index in range(len(averages))]
        self.display.say(f"going on from epoch {self.progress.epoch + 1}, step {self.progress.step}")

    def close(self) -> None:
        """Close files and the progress bar."""
        self.display.stop()
        self.log.close()


@contextlib.contextmanager
def _stop_signals(run: _Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM end training after the running step, with its state saved; a second one ends it at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if run.stopping:
            raise KeyboardInterrupt
        run.stopping = True
        run.display.say("stopping after this step; again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
