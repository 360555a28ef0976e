"""Sequence-level training: expected risks against brute force over all texts, and what it does to a trained model."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.checkpoint import read_tensors
from ctcrec.config import SequenceTraining
from ctcrec.errors import ConfigError, TrainingError
from ctcrec.models.attention_decoder import AttentionDecoder
from ctcrec.models.recognition_model import ModelOutput, RecognitionModel
from ctcrec.records import Batch, Example
from ctcrec.text import CharTokenizer
from ctcrec.training.hypotheses import HypothesisFinder, text_log_probs
from ctcrec.training.sequence_risk import SequenceRisk

LENGTHS = [3, 2]
TOKENIZER = CharTokenizer.train(["ab"])
REFERENCES = ["ab", "b"]
DECODER = {"width": 24, "embedding": 8, "attention_size": 16, "location_kernel": 7, "location_channels": 4}


class Heads(torch.nn.Module):
    """What of a RecognitionModel the objective uses."""

    def __init__(self, decoder: AttentionDecoder | None = None) -> None:
        super().__init__()
        self.decoder = decoder


def model_of(decoder: AttentionDecoder | None = None) -> RecognitionModel:
    return Heads(decoder)  # type: ignore[return-value]


def batch() -> Batch:
    targets = torch.tensor([[1, 2], [2, 0]])
    examples = tuple(Example(text, Path("x"), text) for text in REFERENCES)
    return Batch(torch.zeros(2, 3, 1), torch.tensor(LENGTHS), targets, torch.tensor([2, 1]), examples)


def edit_distance(reference: str, hypothesis: str) -> int:
    """By recursion, for the short texts here."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    return min(
        edit_distance(reference[1:], hypothesis) + 1,
        edit_distance(reference, hypothesis[1:]) + 1,
        edit_distance(reference[1:], hypothesis[1:]) + (reference[0] != hypothesis[0]),
    )


def ctc_texts(log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
    """p of every text of (T, 3) log-probabilities, by all paths."""
    texts: dict[str, torch.Tensor] = {}
    for path in itertools.product(range(3), repeat=len(log_probs)):
        collapsed = [token for token, _ in itertools.groupby(path) if token]
        text = "".join(" ab"[token] for token in collapsed)
        p = torch.stack([log_probs[t, token] for t, token in enumerate(path)]).sum().exp()
        texts[text] = texts.get(text, torch.zeros((), dtype=p.dtype)) + p
    return texts


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_expected_risk_of_ctc_is_the_expectation_over_all_paths(baseline: str) -> None:
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    brute = torch.zeros((), dtype=torch.float64)
    means = 0.0
    for n, (length, reference) in enumerate(zip(LENGTHS, REFERENCES, strict=True)):
        texts = ctc_texts(logits[n, :length].log_softmax(1))
        assert sum(float(p.detach()) for p in texts.values()) == pytest.approx(1.0)
        risks = {text: edit_distance(reference, text) for text in texts}
        brute = brute + sum((p * risks[text] for text, p in texts.items()), torch.zeros(()))
        means += sum(risks.values()) / len(risks)
    options = SequenceTraining(count=100, beam_size=100, baseline=baseline)  # type: ignore[arg-type]
    loss, told = SequenceRisk(options, model_of(), TOKENIZER)(ModelOutput(logits, torch.tensor(LENGTHS)), batch())
    assert told == pytest.approx(float(brute.detach()), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(brute.detach()) - (means if baseline == "mean" else 0), rel=1e-5)
    [gradient] = torch.autograd.grad(loss, logits)
    [expected] = torch.autograd.grad(brute, logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_expected_risk_of_attention_is_that_over_all_texts() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(3, 4, width=6, embedding=3, attention_size=4, location_kernel=3, dropout=0.5)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    decoder.eval()
    frames = torch.randn(2, 3, 4).requires_grad_()
    lengths = torch.tensor(LENGTHS)
    brute = torch.zeros(())
    for n, (length, reference) in enumerate(zip(LENGTHS, REFERENCES, strict=True)):
        risks, scores = [], []
        for text in itertools.chain(*(itertools.product((1, 2), repeat=size) for size in range(length + 1))):
            logits = decoder(frames[n : n + 1], lengths[n : n + 1], torch.tensor([text], dtype=torch.int64)).logits[0]
            steps = logits.log_softmax(1)
            scores.append(torch.stack([steps[i, token] for i, token in enumerate((*text, 0))]).sum())
            risks.append(edit_distance(reference, "".join(" ab"[token] for token in text)))
        brute = brute + (torch.stack(scores).softmax(0) * torch.tensor(risks)).sum()
    output = ModelOutput(torch.zeros(2, 3, 0), lengths, frames=frames)
    options = SequenceTraining(head="attention", count=30, beam_size=30, baseline="none")
    loss, told = SequenceRisk(options, model_of(decoder), TOKENIZER)(output, batch())
    assert told == pytest.approx(float(brute.detach()), rel=1e-4)
    [gradient] = torch.autograd.grad(loss, frames, retain_graph=True)
    [expected] = torch.autograd.grad(brute, frames)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)


def test_the_search_leaves_the_decoder_in_training() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(3, 4, width=6, dropout=0.5)
    output = ModelOutput(torch.zeros(2, 3, 0), torch.tensor(LENGTHS), frames=torch.randn(2, 3, 4))
    finder = HypothesisFinder(model_of(decoder), TOKENIZER, "attention")
    assert finder.best(output, 3, 5).tokens == finder.best(output, 3, 5).tokens  # without dropout
    assert decoder.training
    drawn = finder.drawn(output, 5, [4, 2])
    assert [len(texts) for texts in drawn] == [5, 5] and all(len(text) <= 2 for text in drawn[1])


def test_ctc_texts_are_drawn_as_often_as_they_are_probable() -> None:
    logits = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(5)
    draws = 4000
    finder = HypothesisFinder(model_of(), TOKENIZER, "ctc")
    [texts] = finder.drawn(ModelOutput(logits, torch.tensor([3])), draws, [9])
    counts = Counter("".join(" ab"[token] for token in text) for text in texts)
    expected = {text: draws * float(p) for text, p in ctc_texts(logits[0].log_softmax(1)).items()}
    assert counts.keys() <= expected.keys()
    statistic = sum((counts[text] - mean) ** 2 / mean for text, mean in expected.items())
    assert statistic < 26.1  # χ² of up to 8 degrees of freedom, p = 0.001


def test_log_probs_of_given_texts() -> None:
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(3))
    output = ModelOutput(logits, torch.tensor(LENGTHS))
    scores = text_log_probs(model_of(), output, "ctc", [[(1, 2), (), (1, 1)], [(2,)]])
    first, second = (ctc_texts(logits[n, :length].log_softmax(1)) for n, length in enumerate(LENGTHS))
    expected = [[math.log(first["ab"]), math.log(first[""]), math.log(first["aa"])], [math.log(second["b"])]]
    assert scores[0].tolist() == pytest.approx(expected[0], rel=1e-5)
    assert scores[1, :1].tolist() == pytest.approx(expected[1], rel=1e-5)
    assert scores[1, 1:].tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("baseline", ["self_critical", "others", "none"])
def test_reinforce_follows_the_gradient_of_the_expected_risk(baseline: str) -> None:
    """Its mean over many samples points where brute force does."""
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    brute = torch.zeros(())
    for n, (length, reference) in enumerate(zip(LENGTHS, REFERENCES, strict=True)):
        texts = ctc_texts(logits[n, :length].log_softmax(1))
        brute = brute + sum((p * edit_distance(reference, text) for text, p in texts.items()), torch.zeros(()))
    [expected] = torch.autograd.grad(brute, logits)
    options = SequenceTraining(objective="reinforce", hypotheses="samples", count=3000, baseline=baseline)  # type: ignore[arg-type]
    torch.manual_seed(0)
    loss, told = SequenceRisk(options, model_of(), TOKENIZER)(ModelOutput(logits, torch.tensor(LENGTHS)), batch())
    [gradient] = torch.autograd.grad(loss, logits)
    assert told == pytest.approx(float(brute.detach()), abs=0.1)
    assert float((gradient - expected).norm() / expected.norm()) < 0.2


@pytest.mark.parametrize(("risk", "expected"), [("words", 2.0), ("characters", 4.0), ("bleu", 1.0)])
def test_kinds_of_risk(risk: str, expected: float) -> None:
    """A certain output "a a" for "bb b"."""
    tokenizer = CharTokenizer.train(["ab "])
    a, space = tokenizer.encode("a ")
    logits = torch.zeros(1, 3, 4)
    for frame, token in enumerate((a, space, a)):
        logits[0, frame, token] = 50.0
    target = torch.tensor([tokenizer.encode("bbbb b")])
    one = Batch(torch.zeros(1, 3, 1), torch.tensor([3]), target, torch.tensor([6]), (Example("1", Path("x"), "bbb b"),))
    options = SequenceTraining(risk=risk, beam_size=4)  # type: ignore[arg-type]
    _, told = SequenceRisk(options, model_of(), tokenizer)(ModelOutput(logits, torch.tensor([3])), one)
    assert told == pytest.approx(expected)


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with both heads, trained too briefly, and its manifest."""
    folder = tmp_path_factory.mktemp("sequence")
    manifest = write_corpus(folder, "ocr", make_texts(10))
    config = tiny_config(
        "ocr", manifest, loss__ctc_weight=0.5, model__decoder=DECODER, training__epochs=12, training__max_batch_size=5
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        train_quietly(config, folder / "run")
    return folder / "run", manifest


def steps_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "step"]


KINDS: dict[str, dict[str, Any]] = {
    "mcer-ctc": {"head": "ctc"},
    "mwer-attention": {"head": "attention", "risk": "words", "beam_size": 4},
    "bleu-samples": {"head": "attention", "risk": "bleu", "hypotheses": "samples"},
    "reinforce-ctc": {"objective": "reinforce", "hypotheses": "samples", "head": "ctc"},
    "reinforce-attention": {"objective": "reinforce", "hypotheses": "samples", "head": "attention"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_goes_on_from_a_trained_run_and_resumes(
    options: dict[str, Any], started: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    run, manifest = started
    config = tiny_config(
        "ocr", manifest, loss__ctc_weight=0.5, model__decoder={**DECODER, "dropout": 0.1},
        loss__sequence_training=options, training__epochs=2, training__max_batch_size=5,
    )  # fmt: skip
    train_quietly(config, tmp_path / "whole", start=run)
    with pytest.raises(TrainingError, match="go on with --resume"):
        train_quietly(config, tmp_path / "parts", start=run, stop_after_steps=1)
    train_quietly(config, tmp_path / "parts", resume=True)
    ours, theirs = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts"))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    rows = steps_of(tmp_path / "whole")
    assert len(rows) == 4 and all(row["expected_risk"] >= 0 for row in rows)
    assert [row["expected_risk"] for row in rows] == [row["expected_risk"] for row in steps_of(tmp_path / "parts")]


def test_the_expected_risk_falls(started: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    run, manifest = started
    config = tiny_config(
        "ocr", manifest, loss__ctc_weight=0.5, model__decoder=DECODER, training__epochs=25,
        training__max_batch_size=10, loss__sequence_training={"weight": 1.0, "risk": "characters"},
    )  # fmt: skip
    train_quietly(config, tmp_path / "run", start=run)
    risks = [row["expected_risk"] for row in steps_of(tmp_path / "run")]
    assert risks[-1] < 0.7 * risks[0]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"sequence_training": {"head": "attention"}}, "with ctc_weight 1 there is no attention head"),
        ({"sequence_training": {"objective": "reinforce"}}, "set hypotheses: samples"),
        ({"sequence_training": {"baseline": "self_critical"}}, "minimum_risk takes mean, none"),
        ({"sequence_training": {"count": 1}}, "use at least 2"),
        ({"sequence_training": {"count": 20}}, "count 20 is more than beam_size 10"),
        ({"sequence_training": {"hypotheses": "samples", "beam_size": 4}}, "beam_size: no effect without hypotheses"),
        (
            {"sequence_training": {"objective": "reinforce", "hypotheses": "samples", "sharpness": 0.5}},
            "sharpness: no effect without objective: minimum_risk",
        ),
    ],
)
def test_wrong_configurations(loss: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tiny_config("ocr", Path("train.jsonl"), loss=loss)
    assert message in str(raised.value)
