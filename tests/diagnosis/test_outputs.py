"""What a trained model's outputs show, with texts and weights changed so that each fault appears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from ctcrec.config import DecodingConfig
from ctcrec.ctc import ctc_loss
from ctcrec.data.manifest import read_manifest
from ctcrec.diagnosis.outputs import Output, compute_outputs, output_findings
from ctcrec.diagnosis.review import label_finding, rank_suspicions, write_review
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example
from ctcrec.signals import Finding

if TYPE_CHECKING:
    from conftest import Trained


@pytest.fixture
def recognizer(trained: Trained) -> Iterator[Recognizer]:
    yield Recognizer.load(trained.run, "cpu", DecodingConfig())


@pytest.fixture
def examples(trained: Trained) -> list[Example]:
    return read_manifest(trained.train)


def findings(recognizer: Recognizer, examples: list[Example], counts: dict[int, int]) -> dict[str, Finding]:
    outputs = compute_outputs(recognizer, examples)
    tokenizer = recognizer.checkpoint.tokenizer
    return {finding.name: finding for finding in output_findings(outputs, tokenizer.tokens, counts)}


ENOUGH = dict.fromkeys(range(10), 100)


def test_a_model_that_makes_no_errors(recognizer: Recognizer, examples: list[Example]) -> None:
    found = findings(recognizer, examples, ENOUGH)
    assert [finding.name for finding in found.values() if finding.fault] == []
    assert found["texts unrelated to media"].value < 0.1


def test_losses_and_costs(recognizer: Recognizer, examples: list[Example]) -> None:
    outputs = compute_outputs(recognizer, examples)
    assert [output.example for output in outputs] == examples
    for output, example in zip(outputs, examples, strict=True):
        source = recognizer.checkpoint.preprocessor.load(example.source)
        [emission] = recognizer.emissions([recognizer.checkpoint.preprocessor.features(source)])
        loss = ctc_loss(emission, torch.tensor(output.target), len(emission), len(output.target), reduction="sum")
        assert output.loss == pytest.approx(float(loss), abs=1e-3)
        assert len(output.costs) == len(output.target) and min(output.costs) >= -1e-6
        assert sum(output.costs) >= output.loss - 1e-3  # the best of the paths that the loss sums over
        assert output.other_loss > output.token_loss
        assert output.hypothesis == example.text and output.emitted == len(output.target)


def test_blank_collapse(recognizer: Recognizer, examples: list[Example]) -> None:
    with torch.no_grad():
        recognizer.model.head.bias[0] += 100.0
    found = findings(recognizer, examples, ENOUGH)
    assert found["blank collapse"].fault and "same output" not in found
    assert found["blank collapse"].details[0].startswith("0 tokens for ")


def test_the_same_output_for_everything(recognizer: Recognizer, examples: list[Example]) -> None:
    with torch.no_grad():
        recognizer.model.head.weight.zero_()
        recognizer.model.head.bias.zero_()
        recognizer.model.head.bias[2] = 5.0
    found = findings(recognizer, examples, ENOUGH)
    assert found["same output"].fault and found["same output"].details[0].startswith("24 times ")
    assert found["texts unrelated to media"].fault
    assert found["overconfidence"].fault


def test_shuffled_texts(recognizer: Recognizer, examples: list[Example]) -> None:
    same_length = sorted(examples, key=lambda example: len(example.text or ""))
    shuffled = [
        replace(example, text=other.text)
        for example, other in zip(same_length, [*same_length[1:], same_length[0]], strict=True)
    ]
    found = findings(recognizer, shuffled, ENOUGH)
    assert found["texts unrelated to media"].fault
    assert found["overconfidence"].fault


def test_texts_that_hold_more_than_their_media(recognizer: Recognizer, examples: list[Example]) -> None:
    found = findings(recognizer, [replace(example, text=f"{example.text}cb") for example in examples[:12]], ENOUGH)
    assert found["loss by position"].fault
    parts = [float(value) for value in found["loss by position"].details[0].partition(": ")[2].split()]
    assert min(parts[6], parts[7], parts[9]) > 3 * max(parts[:3])


def test_tokens_hardly_seen_in_training(recognizer: Recognizer, examples: list[Example]) -> None:
    found = findings(recognizer, examples, {1: 3})["loss by token"]
    assert found.fault and found.value == pytest.approx(1.0)
    assert any("in training 3" in detail for detail in found.details)


def test_a_few_examples_with_most_of_the_loss(recognizer: Recognizer, examples: list[Example]) -> None:
    examples[7] = replace(examples[7], text="dd aa")
    found = findings(recognizer, examples, ENOUGH)["hardest examples"]
    assert found.fault and found.details[0].startswith(f"{examples[7].id}: ") and found.details[1] == "  dd aa"


def test_peaky_output(recognizer: Recognizer, examples: list[Example]) -> None:
    outputs = compute_outputs(recognizer, examples)
    peaky = [replace_blanks(output, 0.95) for output in outputs]
    tokens = recognizer.checkpoint.tokenizer.tokens
    found = {finding.name: finding for finding in output_findings(peaky, tokens, ENOUGH)}
    assert found["peaky output"].fault


def replace_blanks(output: Output, share: float) -> Output:
    return replace(output, inner_blanks=share)


def test_swapped_texts_lead_the_review_list(
    recognizer: Recognizer, examples: list[Example], trained: Trained, tmp_path: Path
) -> None:
    texts = {2: "ca db", 11: "bbca"}
    wrong = [replace(e, text=texts.get(index, e.text)) for index, e in enumerate(examples)]
    assert all(wrong[index].text != examples[index].text for index in texts)
    suspicions = rank_suspicions(compute_outputs(recognizer, wrong))
    assert {item.output.example.id for item in suspicions[:2]} == {examples[index].id for index in texts}
    assert [item.suspect for item in suspicions] == [True] * 2 + [False] * (len(examples) - 2)
    finding = label_finding(suspicions)
    assert finding.fault and finding.value == pytest.approx(2 / 24)
    assert not label_finding(rank_suspicions(compute_outputs(recognizer, examples))).fault

    write_review(tmp_path / "review.jsonl", suspicions)
    rows = [json.loads(line) for line in (tmp_path / "review.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in rows] == list(range(1, len(examples) + 1))
    assert rows[0]["suspect"] and rows[0]["recognized"] in {examples[index].text for index in texts}
    assert rows[0]["group"] in ("group0", "group1") and rows[0]["source"].endswith(Path(rows[0]["source"]).name)


def test_a_hard_group_is_not_suspect(recognizer: Recognizer, examples: list[Example]) -> None:
    """Losses are measured by those of the same speaker or writer."""
    outputs = [
        replace(output, loss=output.loss + (2.0 * len(output.target) if output.example.group == "group1" else 0.0))
        for output in compute_outputs(recognizer, examples)
    ]
    odd = next(index for index, output in enumerate(outputs) if output.example.group == "group0")
    outputs[odd] = replace(outputs[odd], loss=outputs[odd].loss + 2.0 * len(outputs[odd].target))
    assert rank_suspicions(outputs)[0].output is outputs[odd]


def test_texts_that_do_not_fit_lead_the_list(recognizer: Recognizer, examples: list[Example]) -> None:
    examples[5] = replace(examples[5], text="abcd " * 40)
    outputs = compute_outputs(recognizer, examples)
    assert outputs[5].costs == () and outputs[5].loss == float("inf")
    assert rank_suspicions(outputs)[0].output is outputs[5]
    assert rank_suspicions(outputs)[0].to_dict(1)["score"] is None
