"""Weights of classes, steps and sequences: by the configuration and by the manifests' rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.config import LossConfig
from ctcrec.errors import ConfigError, ManifestError
from ctcrec.models.attention_decoder import DecoderOutput
from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch, Example
from ctcrec.text import CharTokenizer
from ctcrec.training.objective import loss_sum
from ctcrec.training.weights import BatchWeights

TOKENIZER = CharTokenizer.train(["abcd"])
TARGETS = [[1, 2, 2], [3]]


def batch(*extra: dict[str, Any]) -> Batch:
    rows = extra or ({}, {})
    return Batch(
        features=torch.zeros(2, 9, 2),
        feature_lengths=torch.tensor([9, 5]),
        targets=torch.tensor([[1, 2, 2], [3, 0, 0]]),
        target_lengths=torch.tensor([3, 1]),
        examples=tuple(Example(f"line-{n}", Path("x"), extra=row) for n, row in enumerate(rows)),
    )


def output() -> ModelOutput:
    generator = torch.Generator().manual_seed(0)
    logits, attention = torch.randn(2, 9, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    return ModelOutput(logits, torch.tensor([9, 5]), (), None, DecoderOutput(attention, torch.zeros(2, 4, 9)))


def weights_of(one: Batch, **loss: Any) -> Any:
    config = LossConfig(ctc_weight=0.5, **loss)
    return BatchWeights(config, TOKENIZER, one.examples, TARGETS).of(one)


def attention_steps() -> list[list[float]]:
    """Cross-entropy of each token and of the end, by PyTorch."""
    attention = output().attention
    assert attention is not None
    return [
        torch.nn.functional.cross_entropy(
            logits[: len(target) + 1], torch.tensor([*target, 0]), reduction="none"
        ).tolist()
        for logits, target in zip(attention.logits, TARGETS, strict=True)
    ]


def ctc_losses() -> list[float]:
    one = output()
    return torch.nn.functional.ctc_loss(
        one.logits.log_softmax(2).transpose(0, 1), batch().targets, one.lengths, torch.tensor([3, 1]), reduction="none"
    ).tolist()


def sums(weights: Any, one: Batch) -> tuple[float, float]:
    total = loss_sum(output(), one, ctc_weight=0.5, weights=weights)
    return float(total.ctc), float(total.attention)


def test_without_any_nothing_changes() -> None:
    one = batch()
    plain = loss_sum(output(), one, ctc_weight=0.5)
    assert sums(weights_of(one), one) == (float(plain.ctc), float(plain.attention))
    assert float(plain.attention) == pytest.approx(sum(map(sum, attention_steps())), rel=1e-5)


def test_sequences_by_length() -> None:
    one = batch()
    first, second = attention_steps()
    ctc, attention = sums(weights_of(one, sequence_weights="length"), one)
    assert attention == pytest.approx(sum(first) / 3 + sum(second), rel=1e-5)
    assert ctc == pytest.approx(ctc_losses()[0] / 3 + ctc_losses()[1], rel=1e-4)


def test_sequences_by_the_manifest() -> None:
    one = batch({"weight": 2.5}, {})
    first, second = attention_steps()
    ctc, attention = sums(weights_of(one, sequence_weights="manifest"), one)
    assert attention == pytest.approx(2.5 * sum(first) + sum(second), rel=1e-5)
    assert ctc == pytest.approx(2.5 * ctc_losses()[0] + ctc_losses()[1], rel=1e-4)


def test_steps_by_position_and_by_the_manifest() -> None:
    first, second = attention_steps()
    one = batch()
    ctc, attention = sums(weights_of(one, step_weights="position", position_decay=0.5), one)
    by_hand = sum(0.5**i * loss for row in (first, second) for i, loss in enumerate(row))
    assert attention == pytest.approx(by_hand, rel=1e-5)
    assert ctc == pytest.approx(sum(ctc_losses()), rel=1e-4)  # steps are the decoder's
    masked = batch({"token_weights": [0, 1, 3, 0.5]}, {"token_weights": [2]})
    _, attention = sums(weights_of(masked, step_weights="manifest"), masked)
    by_hand = first[1] + 3 * first[2] + 0.5 * first[3] + 2 * second[0] + second[1]
    assert attention == pytest.approx(by_hand, rel=1e-5)


def test_classes() -> None:
    first, second = attention_steps()
    one = batch()
    token = TOKENIZER.tokens[2]
    _, attention = sums(weights_of(one, class_weights={token: 3.0, "<blank>": 0.0}), one)
    assert attention == pytest.approx(first[0] + 3 * first[1] + 3 * first[2] + second[0], rel=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"weight": -1}, "line-0: weight must be a number that is not negative, not -1"),
        ({"weight": "2"}, "line-0: weight must be a number"),
        ({"token_weights": [1, 1]}, "line-0: token_weights must be a list of 3 numbers"),
        ({"token_weights": [1, 1, True]}, "line-0: token_weights must be a list"),
    ],
)
def test_rows_that_cannot_be_used(row: dict[str, Any], message: str) -> None:
    loss = {"sequence_weights": "manifest"} if "weight" in row else {"step_weights": "manifest"}
    with pytest.raises(ManifestError, match=message):
        weights_of(batch(row, {}), **loss)


def test_weights_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="no training row has a 'weight'"):
        weights_of(batch(), sequence_weights="manifest")
    with pytest.raises(ConfigError, match="no training row has a 'token_weights'"):
        weights_of(batch(), step_weights="manifest")
    with pytest.raises(ConfigError, match="no such tokens: 'z'"):
        weights_of(batch(), class_weights={"z": 1.0})


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"class_weights": {"a": 2.0}}, "class_weights: no effect without a ctc_weight below 1"),
        ({"step_weights": "position"}, "step_weights: no effect without a ctc_weight below 1"),
        ({"position_decay": 0.5}, "position_decay: no effect without step_weights: position"),
        ({"ctc_weight": 0.5, "class_weights": {"a": -2.0}}, "class_weights.a: "),
    ],
)
def test_wrong_configurations(loss: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tiny_config("ocr", Path("train.jsonl"), loss=loss)
    assert message in str(raised.value)


def test_the_loop_uses_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step's loss of one batch, with every row of weight 0 but the first, is that row's."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    manifest = write_corpus(tmp_path, "ocr", make_texts(4))
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    losses = {}
    for kept in (*range(4), None):
        lines = [{**row, "weight": float(kept is None or n == kept)} for n, row in enumerate(rows)]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        config = tiny_config(
            "ocr", manifest, training__epochs=1, loss__sequence_weights="manifest", training__max_batch_size=4
        )
        train_quietly(config, tmp_path / f"run-{kept}")
        first = json.loads((tmp_path / f"run-{kept}" / "metrics.jsonl").read_text().splitlines()[0])
        losses[kept] = first["loss"]
    assert sum(losses[kept] for kept in range(4)) == pytest.approx(losses[None], rel=1e-4)
    assert min(losses.values()) > 0
