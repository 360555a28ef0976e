"""Short trainings that say what a long one will meet: the learning-rate sweep (Smith 2017, "Cyclical Learning Rates"),
the overfit test, gradients of each layer, and how long data take to load beside a step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ctcrec.config import Config
from ctcrec.data.dataset import BatchDataset
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Batch
from ctcrec.signals import Finding
from ctcrec.training.objective import loss_sum
from ctcrec.training.optim import build_optimizer
from ctcrec.training.setup import Setup, plan_epoch

__all__ = [
    "Sweep",
    "gradient_findings",
    "loading_finding",
    "overfit_finding",
    "sample_batches",
    "sweep_findings",
    "sweep_learning_rates",
]

_LOWEST, _HIGHEST = 1e-6, 1.0  # learning rates of the sweep
_MOMENTUM = 0.7  # of the smoothed loss
_RISE = 1.3  # times the lowest loss: blown up
_BATCHES, _EXAMPLES = 4, 4  # that trials are made on
_OVERFIT_EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class Sweep:
    """Smoothed training loss (nats per token) at rates that rise from step to step.

    `blown_up` is the first rate after the lowest loss at which the loss is 1.3 times as high, or the last rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    blown_up: float

    def draw(self, path: Path, chosen: float) -> None:
        """Loss over learning rate as a PNG; `chosen` is the configuration's."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses)
        axes.axvline(chosen, color="tab:green", label=f"training.learning_rate {chosen:g}")
        axes.axvline(self.blown_up, color="tab:red", linestyle=":", label=f"blows up: {self.blown_up:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats per token)", title="Learning-rate sweep")
        axes.set_ylim(0, 1.5 * self.losses[0])
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(path, dpi=110)


def sample_batches(setup: Setup) -> list[Batch]:
    """A few batches of a few examples each, of all lengths, without augmentation. Raises MediaError."""
    order = sorted(range(len(setup.corpus)), key=lambda index: setup.corpus.frames[index])
    count = min(_BATCHES, max(1, len(order) // 2))
    size = min(_EXAMPLES, setup.config.training.max_batch_size, len(order) // count)
    # Neighbours in length from the middle of each quarter, so that extreme examples take no part.
    starts = [int((index + 0.5) * len(order) / count - size / 2) for index in range(count)]
    chosen = [order[start : start + size] for start in starts]
    dataset = BatchDataset(setup.corpus.examples, setup.corpus.targets, setup.preprocessor, chosen)
    return [dataset[index].to(setup.device) for index in range(count)]


def _loss(model: RecognitionModel, batch: Batch, ctc_weight: float) -> torch.Tensor:
    """Mean loss of the two heads in nats per token."""
    output = model(batch.features, batch.feature_lengths, batch.targets)
    return loss_sum(output, batch, ctc_weight=ctc_weight).main(ctc_weight) / batch.target_lengths.sum()


def _step(
    model: RecognitionModel, batch: Batch, optimizer: torch.optim.Optimizer, rate: float, config: Config
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(model, batch, config.loss.ctc_weight)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.gradient_clip)
    optimizer.step()
    return float(loss.detach())


def sweep_learning_rates(model: RecognitionModel, batches: Sequence[Batch], config: Config, steps: int = 60) -> Sweep:
    """Train a copy of the model while the learning rate rises by the same factor each step, until the loss blows up."""
    model = copy.deepcopy(model).train()
    optimizer = build_optimizer(model, _LOWEST, config.training.weight_decay)
    rates: list[float] = []
    losses: list[float] = []
    average, weight = 0.0, 0.0
    for step in range(steps):
        rate = _LOWEST * (_HIGHEST / _LOWEST) ** (step / (steps - 1))
        loss = _step(model, batches[step % len(batches)], optimizer, rate, config)
        average = _MOMENTUM * average + (1 - _MOMENTUM) * loss
        weight = _MOMENTUM * weight + (1 - _MOMENTUM)
        rates.append(rate)
        losses.append(average / weight)
        if not math.isfinite(loss) or losses[-1] > 3 * min(losses):
            break
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    lowest = min(range(len(finite)), key=finite.__getitem__)
    beyond = (rates[step] for step in range(lowest, len(rates)) if finite[step] > _RISE * finite[lowest])
    return Sweep(tuple(rates), tuple(finite), next(beyond, rates[-1]))


def sweep_findings(sweep: Sweep, learning_rate: float) -> list[Finding]:
    """Whether the loss falls at all, and how the configuration's rate stands to the rate at which it blows up."""
    share = learning_rate / sweep.blown_up
    suggestion = f"training.learning_rate between {sweep.blown_up / 500:.1g} and {sweep.blown_up / 50:.1g}"
    meaning = (
        f"training.learning_rate = {learning_rate:g} over the rate at which the loss blows up ({sweep.blown_up:.2g})"
    )
    return [
        Finding(
            "learning at all",
            min(sweep.losses) / sweep.losses[0],
            0.9,
            "above",
            "lowest loss of the learning-rate sweep over its first",
            "even a few dozen steps teach a model how often tokens occur, which halves the loss",
            "look at features and targets: constant features, empty texts, a frozen model?",
        ),
        Finding(
            "learning rate too high",
            share,
            0.1,
            "above",
            meaning,
            "the sweep is short; over thousands of steps the loss blows up at a smaller rate",
            suggestion,
        ),
        Finding(
            "learning rate too low",
            share,
            3e-4,
            "below",
            meaning,
            "recipes train at about a hundredth of it; far below, training takes as many times longer",
            suggestion,
        ),
    ]


def overfit_finding(setup: Setup, sweep: Sweep, steps: int = 200) -> Finding:
    """Can the model learn a few examples by heart? Without dropout, at a learning rate that the sweep allows."""
    model = copy.deepcopy(setup.model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(module, torch.nn.RNNBase):
            module.dropout = 0.0
    corpus = setup.corpus
    order = sorted(range(len(corpus)), key=lambda index: corpus.frames[index])
    median = corpus.frames[order[len(order) // 2]]
    order.sort(key=lambda index: abs(corpus.frames[index] - median))
    different = {corpus.targets[index]: index for index in reversed(order)}  # the nearest of each text
    chosen = sorted(different.values(), key=order.index)[:_OVERFIT_EXAMPLES]
    batch = BatchDataset(corpus.examples, corpus.targets, setup.preprocessor, [chosen])[0].to(setup.device)
    rate = min(max(setup.config.training.learning_rate, sweep.blown_up / 100), sweep.blown_up / 20)
    optimizer = build_optimizer(model, rate, 0.0)
    loss = math.inf
    step = 0
    while step < steps and loss > 0.1:
        factor = min(1.0, (step + 1) / 20) * min(1.0, 2 * (1 - step / steps))
        loss = _step(model, batch, optimizer, rate * factor, setup.config)
        step += 1
    return Finding(
        "overfit test",
        loss,
        0.5,
        "above",
        f"loss in nats per token after {step} steps on {len(chosen)} examples at a learning rate of {rate:.2g}",
        "a model that is not too small learns a few texts by heart; one that only knows how often tokens occur has"
        " about 3 nats for characters",
        "`ctcrec train CONFIG --overfit 4` goes on for longer; a larger model, a smaller subsampling factor, other"
        " features; check the texts",
        tuple(corpus.examples[index].id for index in chosen),
    )


def gradient_findings(model: RecognitionModel, batches: Sequence[Batch], ctc_weight: float = 1.0) -> list[Finding]:
    """The gradient of each layer beside the size of its weights."""
    model.zero_grad(set_to_none=True)
    trained = copy.deepcopy(model).train()
    for batch in batches:
        torch.autograd.backward(_loss(trained, batch, ctc_weight) / len(batches))
    norms: dict[str, float] = {}
    shares: dict[str, float] = {}
    for name, module in trained.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() >= 2]
        if not own or name.startswith("intermediate_heads"):  # these learn from losses that are not looked at here
            continue
        norms[name] = math.sqrt(sum(float(p.grad.square().sum()) for p in own if p.grad is not None))
        shares[name] = norms[name] / max(math.sqrt(sum(float(p.detach().square().sum()) for p in own)), 1e-12)
    without = [name for name, share in shares.items() if share == 0.0]
    # Attention starts out even over all frames, where what it compares has hardly any gradient.
    compared = {name: share for name, share in shares.items() if not name.startswith("decoder.attention.")}
    alive = sorted(share for share in compared.values() if share > 0.0)
    smallest = alive[0] / alive[len(alive) // 2] if alive else 0.0
    return [
        Finding(
            "layers without gradient",
            len(without),
            0,
            "above",
            "layers whose weights do not change the loss, or are frozen",
            "such layers learn nothing",
            "requires_grad of their parameters; a part of the model that is not connected to its output; dead units",
            tuple(without),
        ),
        Finding(
            "vanishing gradients",
            smallest,
            1e-3,
            "below",
            "smallest gradient of a layer over its weights, as a share of the median layer's",
            "AdamW makes up for factors of a hundred; far beyond, a layer's gradient is noise",
            "batch normalization in the frontend, fewer layers, CTC losses on lower layers (loss.intermediate_layers)",
            tuple(
                f"{name}: {share:.2g} (gradient norm {norms[name]:.2g})"
                for name, share in sorted(shares.items(), key=lambda item: item[1])
            ),
        ),
    ]


def loading_finding(setup: Setup, batches: int = 3) -> Finding:
    """How long training would wait for data, from the time that loading and a step take."""
    training, plan = setup.config.training, plan_epoch(setup, 0)
    augmentation = (setup.config.seed, 0) if setup.augmented is not setup.preprocessor else None
    chosen = plan.batches[:batches]
    dataset = BatchDataset(
        setup.corpus.examples, setup.corpus.targets, setup.augmented, chosen, augmentation=augmentation
    )
    model = copy.deepcopy(setup.model).train()
    optimizer = build_optimizer(model, 0.0, 0.0)
    _step(model, dataset[0].to(setup.device), optimizer, 0.0, setup.config)  # warms up loading and kernels
    loading, stepping = 0.0, 0.0
    for index in range(len(chosen)):
        started = time.perf_counter()
        batch = dataset[index]
        loaded = time.perf_counter()
        _step(model, batch.to(setup.device), optimizer, 0.0, setup.config)
        loading += loaded - started
        stepping += time.perf_counter() - loaded
    if training.workers:
        ahead = loading / training.workers
        share = max(0.0, 1.0 - stepping / ahead)
    else:
        share = loading / (loading + stepping)
    return Finding(
        "waiting for data",
        share,
        0.2,
        "above",
        f"share of the time that training would wait for batches, with training.workers = {training.workers}",
        "recipes wait 1 to 4 % of the time; above a fifth, the processor that trains stands idle",
        "more training.workers, media on a local disk, smaller media",
        (f"a batch takes {loading / len(chosen):.3f} s to load and {stepping / len(chosen):.3f} s to train on",),
    )
