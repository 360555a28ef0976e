"""How probable trained heads find the true texts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from command import Command
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.data.manifest import read_manifest
from ctcrec.likelihoods import head_likelihoods
from ctcrec.recognizer import Recognizer

DECODER = {"width": 24, "embedding": 8, "attention_size": 16, "location_kernel": 7, "location_channels": 4}


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("joint")
    manifest = write_corpus(folder, "ocr", make_texts(8, seed=1))
    config = tiny_config("ocr", manifest, loss__ctc_weight=0.4, model__decoder=DECODER, training__epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        train_quietly(config, folder / "run")
    return folder / "run", manifest


def test_against_each_example_alone(joint: tuple[Path, Path]) -> None:
    run, manifest = joint
    recognizer, examples = Recognizer.load(run, "cpu"), read_manifest(manifest)
    found = head_likelihoods(recognizer, examples)
    tokenizer, preprocessor = recognizer.checkpoint.tokenizer, recognizer.checkpoint.preprocessor
    nats = {"ctc": 0.0, "attention": 0.0}
    for example in examples:
        features = preprocessor.features(preprocessor.load(example.source))
        target = torch.tensor([tokenizer.encode(example.text or "")])
        with torch.no_grad():
            output = recognizer.model(features[None], torch.tensor([len(features)]), target)
        assert output.attention is not None
        nats["ctc"] += float(
            torch.nn.functional.ctc_loss(
                output.logits.log_softmax(2).transpose(0, 1), target, output.lengths, torch.tensor([target.shape[1]]),
                reduction="sum",
            )
        )  # fmt: skip
        steps = output.attention.logits[0].log_softmax(1)
        nats["attention"] -= sum(float(steps[i, token]) for i, token in enumerate([*target[0].tolist(), 0]))
    length = sum(len(example.text or "") + 1 for example in examples)
    for head, likelihood in found.heads.items():
        assert likelihood.nats == pytest.approx(nats[head], rel=1e-4)
        assert likelihood.tokens == likelihood.characters == likelihood.bytes == length
        assert likelihood.perplexity == pytest.approx(math.exp(nats[head] / length), rel=1e-4)
    assert found.heads.keys() == {"ctc", "attention"} and found.left_out == ()


def test_texts_that_cannot_be_written_are_named(joint: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = joint
    examples = read_manifest(write_corpus(tmp_path, "ocr", ["ab", "ac", "ba"]))
    rows = [
        examples[0],
        *(
            type(examples[0])(e.id, e.source, text, width=e.width, height=e.height)
            for e, text in ((examples[1], "zz"), (examples[2], "abcd" * 20))
        ),
    ]
    found = head_likelihoods(Recognizer.load(run, "cpu"), rows)
    assert found.left_out == ("train-001", "train-002")
    assert found.heads["attention"].characters == 3
    assert "without 2 texts that the model cannot write: train-001, train-002" in found.text()


def test_command(joint: tuple[Path, Path], command: Command) -> None:
    run, manifest = joint
    shown = command("evaluate", run, manifest, "--likelihood").out
    assert "true texts by the ctc head: perplexity" in shown and "true texts by the attention head: perplexity" in shown
    read = json.loads(command("evaluate", run, manifest, "--likelihood", "--format", "json").out)
    assert read["likelihood"]["attention"]["bits_per_byte"] > 0
    pytest.importorskip("sacrebleu")
    assert "BLEU " in command("evaluate", run, manifest, "--bleu").out
    assert "likelihood" not in json.loads(command("evaluate", run, manifest, "--format", "json").out)
