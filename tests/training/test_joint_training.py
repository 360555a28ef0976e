"""Training with an attention decoder: alone, beside CTC, with scheduled sampling, stopped and gone on with."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import load_checkpoint, read_tensors
from ctcrec.config import ScheduledSampling
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.models.attention_decoder import DecoderOutput
from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch, Example
from ctcrec.training.objective import loss_sum, true_token_share

DECODER = {"width": 24, "embedding": 8, "attention_size": 16, "location_kernel": 7, "location_channels": 4}
TIMINGS = {"frames_per_second", "data_wait", "seconds"}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("lines"), "ocr", make_texts(10))


def rows_of(run: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows if row["kind"] == kind]


# ── what is minimized ────────────────────────────────────────────────────────────────────────────────────────────────

TARGETS = [[1, 2, 2], [3], [4, 1]]


def batch() -> Batch:
    return Batch(
        features=torch.zeros(3, 9, 2),
        feature_lengths=torch.tensor([9, 5, 7]),
        targets=torch.tensor([[1, 2, 2], [3, 0, 0], [4, 1, 0]]),
        target_lengths=torch.tensor([3, 1, 2]),
        examples=tuple(Example(str(n), Path("x")) for n in range(3)),
    )


def output_of(ctc: bool = True) -> ModelOutput:
    generator = torch.Generator().manual_seed(0)
    logits, attention = torch.randn(3, 9, 5, generator=generator), torch.randn(3, 4, 5, generator=generator)
    decoded = DecoderOutput(attention, torch.zeros(3, 4, 9))
    return ModelOutput(logits if ctc else logits[:, :, :0], torch.tensor([9, 5, 7]), (), None, decoded)


def cross_entropy_of(output: ModelOutput, **options: Any) -> float:
    """Every token and, after the last, the end, by PyTorch."""
    assert output.attention is not None
    return sum(
        torch.nn.functional.cross_entropy(
            logits[: len(t) + 1], torch.tensor([*t, 0]), reduction="sum", **options
        ).item()
        for logits, t in zip(output.attention.logits, TARGETS, strict=True)
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_both_heads_are_weighted(weight: float, smoothing: float) -> None:
    output = output_of(ctc=weight > 0)
    sums = loss_sum(output, batch(), ctc_weight=weight, label_smoothing=smoothing)
    attention = cross_entropy_of(output, label_smoothing=smoothing)
    assert sums.attention.item() == pytest.approx(attention, rel=1e-5)
    ctc = 0.0
    if weight:
        alone = dataclasses.replace(output, attention=None)
        ctc = loss_sum(alone, batch()).ctc.item()
        assert ctc > 0
    assert sums.ctc.item() == pytest.approx(ctc)
    expected = weight * ctc + (1 - weight) * attention
    assert sums.total.item() == sums.main(weight).item() == pytest.approx(expected, rel=1e-5)


def test_other_options_of_the_cross_entropy() -> None:
    output = output_of()
    others = loss_sum(output, batch(), ctc_weight=0.5, label_smoothing=0.2, smoothing="others").attention.item()
    assert others == pytest.approx(cross_entropy_of(output, label_smoothing=0.25), rel=1e-5)
    focal = loss_sum(output, batch(), ctc_weight=0.5, focal_gamma=2.0).attention.item()
    assert focal < cross_entropy_of(output)


def test_two_views_count_half_each() -> None:
    """With consistency, a batch of two equal views has the attention loss of one."""
    one, views = output_of(), batch()
    assert one.attention is not None
    twice = dataclasses.replace(
        one,
        logits=one.logits.repeat(2, 1, 1),
        lengths=one.lengths.repeat(2),
        attention=DecoderOutput(one.attention.logits.repeat(2, 1, 1), one.attention.weights.repeat(2, 1, 1)),
    )
    double = dataclasses.replace(
        views,
        targets=views.targets.repeat(2, 1),
        target_lengths=views.target_lengths.repeat(2),
        examples=views.examples * 2,
    )
    plain = loss_sum(one, views, ctc_weight=0.4)
    both = loss_sum(twice, double, ctc_weight=0.4, consistency_weight=0.2)
    assert both.attention.item() == pytest.approx(plain.attention.item(), rel=1e-5)
    assert both.total.item() == pytest.approx(plain.total.item(), rel=1e-5)  # equal views differ by nothing


def test_shares_of_true_tokens() -> None:
    """Bengio et al. 2015, §2.4, by hand."""
    assert [true_token_share("linear", 4, 0.1, i) for i in (0, 1, 2, 4, 9)] == pytest.approx([1, 0.75, 0.5, 0.1, 0.1])
    assert [true_token_share("exponential", 0.5, 0.0, i) for i in (0, 1, 3)] == pytest.approx([1, 0.5, 0.125])
    assert [true_token_share("inverse_sigmoid", 5, 0.0, i) for i in (0, 5, 20)] == pytest.approx(
        [5 / 6, 5 / (5 + math.e), 5 / (5 + math.exp(4))]
    )
    assert true_token_share("inverse_sigmoid", 1, 0.2, 1e6) == 0.2


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_overfitting(weight: float, lines: Path, tmp_path: Path) -> None:
    config = tiny_config(
        "ocr", lines, loss__ctc_weight=weight, loss__label_smoothing=0.1, model__decoder={**DECODER, "dropout": 0.3},
        training__epochs=150, training__max_batch_size=8,
    )  # fmt: skip
    summary, told = train_quietly(config, tmp_path / "run", overfit=10)
    assert summary.overfitted is True
    assert summary.cer == 0.0
    assert "NOT as expected" not in told and ": as expected" in told
    model = load_checkpoint(tmp_path / "run").model
    assert model.decoder is not None and (model.head is None) == (weight == 0.0)
    row = rows_of(tmp_path / "run", "epoch")[-1]
    assert row["valid_attention_loss"] < 0.2
    if weight == 0.0:
        assert row["valid_loss"] == row["valid_attention_loss"]


SAMPLED = {
    "loss__ctc_weight": 0.5,
    "loss__scheduled_sampling": {"schedule": "linear", "k": 4, "unit": "epoch", "floor": 0.2},
    "loss__label_smoothing": 0.1,
    "model__decoder": {**DECODER, "dropout": 0.2, "input_feeding": True},
    "model__encoder__dropout": 0.2,
    "augmentation__noise_probability": 0.5,
}


@pytest.mark.parametrize("options", [SAMPLED, {**SAMPLED, "loss__ctc_weight": 0.0, "training__average": "ema"}])
def test_resuming_equals_never_stopping(options: dict[str, Any], lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=3, training__max_batch_size=3, **options)
    train_quietly(config, tmp_path / "whole")
    for steps, resume in ((2, False), (3, True)):
        with pytest.raises(TrainingError, match="go on with --resume"):
            train_quietly(config, tmp_path / "parts", resume=resume, stop_after_steps=steps)
    train_quietly(config, tmp_path / "parts", resume=True)
    for name in ("model.safetensors", "state.safetensors"):
        ours, theirs = (read_tensors(tmp_path / run / name)[0] for run in ("whole", "parts"))
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert rows_of(tmp_path / "whole", "step") == rows_of(tmp_path / "parts", "step")


def test_what_is_logged(lines: Path, tmp_path: Path) -> None:
    train_quietly(tiny_config("ocr", lines, training__epochs=3, **SAMPLED), tmp_path / "run")
    for row in rows_of(tmp_path / "run", "step"):
        assert row["loss"] == pytest.approx(0.5 * row["ctc_loss"] + 0.5 * row["attention_loss"])
    ratios = [row["teacher_forcing_ratio"] for row in rows_of(tmp_path / "run", "step")]
    assert sorted(set(ratios), reverse=True) == [1.0, 0.75, 0.5]
    by_step = {**SAMPLED, "loss__scheduled_sampling": {"schedule": "exponential", "k": 0.5, "unit": "step"}}
    train_quietly(tiny_config("ocr", lines, training__epochs=1, **by_step), tmp_path / "steps")
    ratios = [row["teacher_forcing_ratio"] for row in rows_of(tmp_path / "steps", "step")]
    assert ratios == [0.5**i for i in range(len(ratios))]


def test_two_accumulated_batches_equal_one(tmp_path: Path, lines: Path) -> None:
    texts = ["ab cd", "dc ba", "bb aa", "cc dd", "ad cb", "bc ad", "da bc", "ca db"]  # one width
    manifest = write_corpus(tmp_path, "ocr", texts)
    options = {
        "model__frontend__normalization": "none", "training__epochs": 2, "training__learning_rate": 1e-3,
        "loss__ctc_weight": 0.3, "model__decoder": DECODER,
    }  # fmt: skip
    train_quietly(tiny_config("ocr", manifest, training__max_batch_size=8, **options), tmp_path / "one")
    train_quietly(
        tiny_config("ocr", manifest, training__max_batch_size=4, training__accumulation=2, **options), tmp_path / "two"
    )
    for first, second in zip(*(rows_of(tmp_path / name, "step") for name in ("one", "two")), strict=True):
        for name in ("loss", "attention_loss", "gradient_norm"):
            assert first[name] == pytest.approx(second[name], rel=1e-4)


def test_without_a_decoder_nothing_of_it_is_there(lines: Path, tmp_path: Path) -> None:
    train_quietly(tiny_config("ocr", lines, training__epochs=1), tmp_path / "run")
    assert rows_of(tmp_path / "run", "step")[0].keys() == {"kind", "step", "loss", "learning_rate", "gradient_norm"}
    assert "valid_attention_loss" not in rows_of(tmp_path / "run", "epoch")[0]
    names = read_tensors(tmp_path / "run/model.safetensors")[0]
    assert not [name for name in names if name.startswith("decoder")]


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__decoder": {}}, "model.decoder is set and loss.ctc_weight is 1"),
        ({"loss__ctc_weight": 0.5}, "model.decoder is not set and loss.ctc_weight is 0.5"),
        ({"loss__label_smoothing": 0.1}, "label_smoothing: no effect without a ctc_weight below 1"),
        ({"loss__scheduled_sampling": {"schedule": "linear", "k": 3}}, "no effect without a ctc_weight below 1"),
        (
            {"loss": {"ctc_weight": 0.0, "consistency_weight": 1.0}},
            "consistency_weight: no effect without a ctc_weight",
        ),
        ({"loss": {"ctc_weight": 0.5, "smoothing": "others"}}, "smoothing: no effect without label_smoothing"),
        ({"model__decoder": {"attention": "additive", "heads": 2}}, "heads: no effect without attention: dot"),
        ({"model__decoder": {"attention": "dot", "location_kernel": 5}}, "no effect without attention: location"),
        ({"model__decoder": {"attention": "none", "input_feeding": True}}, "input_feeding: no effect without"),
        ({"model__decoder": {"attention": "dot", "heads": 3}}, "128 must be a multiple of heads 3"),
        ({"model__decoder": {"location_kernel": 4}}, "location_kernel must be odd"),
        ({"model__decoder": {"tie_weights": True}}, "tie_weights needs embedding = width, not 64 and 256"),
        ({"model__decoder": {"layers": True}}, "layers: got true, but it is no switch"),
        ({"loss": {"ctc_weight": 0.5, "scheduled_sampling": {"schedule": "exponential", "k": 2}}}, "k must be below 1"),
        (
            {"loss": {"ctc_weight": 0.5, "scheduled_sampling": {"schedule": "linear"}}},
            "scheduled_sampling.k: Field req",
        ),
    ],
)
def test_wrong_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tiny_config("ocr", Path("train.jsonl"), **changes)
    assert message in str(raised.value)


def test_schedules_and_their_ranges() -> None:
    assert ScheduledSampling(schedule="exponential", k=0.9).unit == "epoch"
    with pytest.raises(ValueError, match="k must be below 1 for exponential and at least 1"):
        ScheduledSampling(schedule="inverse_sigmoid", k=0.5)


@pytest.mark.parametrize(("modality", "precision"), [("speech", "bfloat16"), ("ocr", "float16")])
def test_lower_precision(modality: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU would train with, on the CPU: nearly the losses of float32, and weights of float32."""
    monkeypatch.setattr("ctcrec.training.setup._check_precision", lambda *_: None)
    monkeypatch.setattr("torch.backends.mkldnn.enabled", False)  # its LSTM needs a processor with bfloat16
    manifest = write_corpus(tmp_path, modality, make_texts(8))
    losses, scales = {}, []
    update = torch.amp.GradScaler.update

    def updated(scaler: torch.amp.GradScaler) -> None:
        update(scaler)
        scales.append(scaler.get_scale() if scaler.is_enabled() else 1.0)

    monkeypatch.setattr("torch.amp.GradScaler.update", updated)
    for chosen in ("float32", precision):
        scales.clear()
        config = tiny_config(
            modality, manifest, training__precision=chosen, training__epochs=2, loss__ctc_weight=0.5,
            loss__intermediate_layers=[1], model__encoder__layers=2, model__decoder=DECODER,
        )  # fmt: skip
        train_quietly(config, tmp_path / chosen)
        rows = [json.loads(line) for line in (tmp_path / chosen / "metrics.jsonl").read_text().splitlines()]
        losses[chosen] = [row["train_loss"] for row in rows if "train_loss" in row]
        weights, _ = read_tensors(tmp_path / chosen / "model.safetensors")
        assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float32}
        assert rows[-1]["skipped_batches"] == 0
    assert losses[precision] == pytest.approx(losses["float32"], rel=0.02)
    assert losses[precision] != losses["float32"]
    assert (min(scales) > 1.0) == (precision == "float16")
