"""Decoding with an attention decoder, from the configuration to hypotheses and commands, on tiny trained models."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.attention_strategies import build_attention_decode
from ctcrec.config import DecodingConfig, load_decoding
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import ConfigError
from ctcrec.recognizer import Recognizer
from ctcrec.records import Encoded, Hypothesis
from ctcrec.strategies import build_decode
from ctcrec.text import CharTokenizer

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained

DECODER = {"width": 24, "embedding": 8, "attention_size": 16, "location_kernel": 7, "location_channels": 4}
STRATEGIES: dict[str, dict[str, Any]] = {
    "attention": {"strategy": "attention"},
    "attention-greedy": {"strategy": "attention", "beam_size": 1},
    "attention-options": {
        "strategy": "attention", "beam_size": 4, "groups": 2, "diversity": 0.5, "length_normalization": "length",
        "length_exponent": 0.5, "end_threshold": 3.0, "coverage_weight": 0.01, "repetition_penalty": 1.01,
    },
    "joint": {"strategy": "joint", "beam_size": 5, "ctc_weight": 0.5},
    "rescore": {"strategy": "rescore", "beam_size": 10, "nbest": 5},
    "sample": {"strategy": "sample", "samples": 3, "sampling_temperature": 0.5, "top_k": 3, "nucleus": 0.9, "seed": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with both heads that reads its training lines without errors, and their manifest."""
    folder = tmp_path_factory.mktemp("joint")
    manifest = write_corpus(folder, "ocr", make_texts(8, seed=1))
    config = tiny_config(
        "ocr", manifest, loss__ctc_weight=0.4, model__decoder=DECODER, training__epochs=150, training__max_batch_size=4
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        summary, _ = train_quietly(config, folder / "run", overfit=8)
    assert summary.overfitted
    return folder / "run", manifest


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with an attention decoder and no CTC head, of utterances."""
    folder = tmp_path_factory.mktemp("alone")
    manifest = write_corpus(folder, "speech", make_texts(6, seed=1))
    config = tiny_config(
        "speech", manifest, loss__ctc_weight=0.0, model__decoder=DECODER,
        training__epochs=200, training__max_batch_size=3,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        summary, _ = train_quietly(config, folder / "run", overfit=6)
    assert summary.overfitted
    return folder / "run", manifest


def load(run: Path, **options: Any) -> Recognizer:
    return Recognizer.load(run, "cpu", DecodingConfig(**options), "float32")


def read_all(recognizer: Recognizer, manifest: Path) -> list[Hypothesis]:
    transcripts = list(recognizer.transcribe_all(read_manifest(manifest)))
    assert all(transcript.hypothesis for transcript in transcripts)
    return [transcript.hypothesis for transcript in transcripts if transcript.hypothesis]


@pytest.mark.parametrize("options", STRATEGIES.values(), ids=STRATEGIES)
def test_reads_what_it_was_trained_on(options: dict[str, Any], joint: tuple[Path, Path]) -> None:
    run, manifest = joint
    for example, hypothesis in zip(read_manifest(manifest), read_all(load(run, **options), manifest), strict=True):
        assert hypothesis.text == example.text
        assert hypothesis.spans_from == "ctc" and hypothesis.replaces is None
        assert hypothesis.confidence is not None and 0.3 < hypothesis.confidence <= 1.0
        assert "".join(span.token for span in hypothesis.token_spans) == example.text
        assert [span.word for span in hypothesis.word_spans] == (example.text or "").split()
        ends = [span.end for span in hypothesis.token_spans]
        assert all(span.start < span.end for span in hypothesis.token_spans)
        assert ends == sorted(ends)
        assert all(0.0 < span.confidence <= 1.0 for span in (*hypothesis.token_spans, *hypothesis.word_spans))


@pytest.mark.parametrize("options", STRATEGIES.values(), ids=STRATEGIES)
def test_one_alone_equals_one_among_many(options: dict[str, Any], joint: tuple[Path, Path]) -> None:
    run, manifest = joint
    recognizer = load(run, **options, **({} if options["strategy"] == "rescore" else {"safeguard": 0.0}))
    torch.manual_seed(2)
    features = [torch.rand(length, 16) for length in (90, 30, 61, 200, 12)]  # noise: long texts, far from certain
    assert recognizer.attention_decode is not None
    together = recognizer.attention_decode(recognizer.encode(features))
    for item, expected in zip(features, together, strict=True):
        [found] = recognizer.attention_decode(recognizer.encode([item]))
        assert found.tokens == expected.tokens
        assert found.score == pytest.approx(expected.score, abs=1e-3)
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-4)
        assert [(s.start, s.end) for s in found.token_spans] == [(s.start, s.end) for s in expected.token_spans]


def test_joint_search_lies_between_its_heads(joint: tuple[Path, Path]) -> None:
    run, _ = joint
    torch.manual_seed(5)
    features = [torch.rand(length, 16) for length in (24, 40, 48)]  # noise, on which the heads differ
    texts = {}
    for name, options in {
        "attention": {"strategy": "attention", "safeguard": 0.0},
        "joint 0": {"strategy": "joint", "ctc_weight": 0.0, "safeguard": 0.0},
        "joint 1": {"strategy": "joint", "ctc_weight": 1.0, "safeguard": 0.0, "beam_size": 400},
    }.items():
        recognizer = load(run, **options)
        assert recognizer.attention_decode is not None
        texts[name] = [item.tokens for item in recognizer.attention_decode(recognizer.encode(features))]
    recognizer = load(run, strategy="beam", beam_size=1000)
    texts["beam"] = [item.tokens for item in recognizer.decode(recognizer.emissions(features))]
    assert texts["joint 0"] == texts["attention"]
    assert texts["joint 1"] == texts["beam"]
    assert texts["beam"] != texts["attention"]


def test_without_a_ctc_head_attention_reads_and_gives_the_spans(alone: tuple[Path, Path]) -> None:
    run, manifest = alone
    for recognizer in (Recognizer.load(run, "cpu"), Recognizer(Recognizer.load(run, "cpu").checkpoint)):
        for example, hypothesis in zip(read_manifest(manifest), read_all(recognizer, manifest), strict=True):
            assert hypothesis.text == example.text
            assert hypothesis.spans_from == "attention"
            # A letter lasts 0.12 s after 0.04 s; attention of so small a model looks only roughly where it is.
            centres = [(span.start + span.end) / 2 for span in hypothesis.token_spans]
            assert all(0 <= span.start < span.end for span in hypothesis.token_spans)
            assert len(centres) == len(example.text or "")
    for strategy in ("greedy", "beam", "joint", "rescore"):
        with pytest.raises(ConfigError, match=f"{strategy} needs a CTC head, and this model was trained with loss"):
            load(run, strategy=strategy)
    with pytest.raises(ConfigError, match="safeguard has no effect without a CTC head"):
        load(run, strategy="attention", safeguard=1.0)


def test_a_model_without_decoder_says_what_it_needs(trained: Trained) -> None:
    for strategy in ("attention", "joint", "rescore", "sample"):
        with pytest.raises(ConfigError, match=f"{strategy} needs an attention decoder, and this model has none"):
            load(trained.run, strategy=strategy)


def test_strategies_for_emissions_alone() -> None:
    with pytest.raises(ConfigError, match="joint needs an attention decoder beside emissions"):
        build_decode(DecodingConfig(strategy="joint"), CharTokenizer.train(["ab"]), Path())


def broken(recognizer: Recognizer) -> Recognizer:
    """The same recognizer with a decoder that never ends."""
    checkpoint = dataclasses.replace(recognizer.checkpoint, model=copy.deepcopy(recognizer.checkpoint.model))
    assert checkpoint.model.decoder is not None
    checkpoint.model.decoder.output_bias.data[0] = -100.0
    return Recognizer(checkpoint)


@pytest.mark.parametrize("safeguard", [None, 0.0])
def test_the_safeguard_offers_what_ctc_reads(safeguard: float | None, joint: tuple[Path, Path]) -> None:
    run, manifest = joint
    looping = broken(load(run))
    config = DecodingConfig(strategy="attention", beam_size=2, safeguard=safeguard)
    checkpoint = looping.checkpoint
    looping.attention_decode = build_attention_decode(config, checkpoint.tokenizer, Path(), checkpoint.model)
    by_ctc = read_all(load(run, strategy="greedy"), manifest)
    for ctc, hypothesis in zip(by_ctc, read_all(looping, manifest), strict=True):
        if safeguard is None:
            assert hypothesis.text == ctc.text and hypothesis.spans_from == "ctc"
            assert hypothesis.replaces is not None and len(hypothesis.replaces) > len(ctc.text)
        else:
            assert len(hypothesis.tokens) > len(ctc.tokens) and hypothesis.replaces is None


def test_a_text_that_does_not_fit_its_frames_has_attentions_spans(joint: tuple[Path, Path]) -> None:
    looping = broken(load(joint[0]))
    config = DecodingConfig(strategy="attention", beam_size=1, max_length=30, safeguard=0.0)
    checkpoint = looping.checkpoint
    decode = build_attention_decode(config, checkpoint.tokenizer, Path(), checkpoint.model)
    [hypothesis] = decode(looping.encode([torch.rand(24, 16)]))
    assert len(hypothesis.tokens) == 30
    assert hypothesis.spans_from == "attention"
    assert all(0 <= span.start < span.end <= 12 for span in hypothesis.token_spans)


def test_lengths_and_words_of_the_configuration(joint: tuple[Path, Path], tmp_path: Path) -> None:
    run, manifest = joint
    short = read_all(load(run, strategy="attention", max_length=2, safeguard=0.0), manifest)
    assert {len(hypothesis.tokens) for hypothesis in short} <= {1, 2}
    long = read_all(load(run, strategy="joint", min_length=7, safeguard=0.0), manifest)
    assert min(len(hypothesis.tokens) for hypothesis in long) == 7
    (tmp_path / "words.txt").write_text("ab\ncd\nda\n", encoding="utf-8")
    bound = read_all(
        load(run, strategy="attention", lexicon=str(tmp_path / "words.txt"), beam_size=50, safeguard=0.0), manifest
    )
    assert all(set(hypothesis.text.split()) <= {"ab", "cd", "da"} for hypothesis in bound)
    assert any(hypothesis.text for hypothesis in bound)


def test_nothing_to_decode(joint: tuple[Path, Path]) -> None:
    recognizer = load(joint[0], strategy="joint")
    assert recognizer.attention_decode is not None and recognizer.attention_decode([]) == []


def test_without_attention_there_are_no_spans(alone: tuple[Path, Path]) -> None:
    """A decoder that knows only the encoder's last state cannot say where a token is."""
    from ctcrec.models.attention_decoder import AttentionDecoder

    recognizer = Recognizer.load(alone[0], "cpu")
    torch.manual_seed(0)
    tokenizer, model = recognizer.checkpoint.tokenizer, copy.deepcopy(recognizer.model)
    model.decoder = AttentionDecoder(len(tokenizer), 6, width=8, attention="none").eval()
    decode = build_attention_decode(DecodingConfig(strategy="attention", min_length=3), tokenizer, Path(), model)
    [hypothesis] = decode([Encoded(torch.zeros(5, 0), torch.randn(5, 6))])
    assert len(hypothesis.tokens) >= 3
    assert hypothesis.token_spans == hypothesis.word_spans == () and hypothesis.spans_from is None
    with pytest.raises(ConfigError, match="coverage_weight has no effect on this model"):
        build_attention_decode(DecodingConfig(strategy="attention", coverage_weight=0.1), tokenizer, Path(), model)


# ── configuration and commands ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "beam", "ctc_weight": 0.5}, "ctc_weight: no effect on beam decoding; choose strategy: joint or"),
        ({"strategy": "attention", "ctc_weight": 0.5}, "ctc_weight: no effect on attention decoding"),
        ({"strategy": "attention", "beam_size_token": 5}, "choose strategy: beam or rescore"),
        ({"strategy": "joint", "temperature": 2.0}, "temperature: no effect on joint decoding; choose strategy: beam"),
        ({"strategy": "sample", "beam_size": 5}, "beam_size: no effect on sample decoding"),
        ({"strategy": "joint", "top_k": 5}, "top_k: no effect on joint decoding; choose strategy: sample"),
        ({"strategy": "rescore", "groups": 2}, "groups: no effect on rescore decoding"),
        ({"strategy": "beam", "nbest": 2, "top_k": 2}, "nbest, top_k: no effect on beam decoding; leave them out"),
        ({"strategy": "greedy", "safeguard": 1.0}, "safeguard: no effect on greedy decoding"),
        ({"strategy": "joint", "length_exponent": 0.5}, "length_exponent: no effect without length_normalization"),
        ({"strategy": "joint", "min_length": 5, "max_length": 4}, "min_length 5 is more than max_length 4"),
        ({"strategy": "sample", "nucleus": 0.0}, "nucleus"),
    ],
)
def test_options_that_do_not_apply(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_decoding(tmp_path / "decoding.yaml", values)
    assert message in str(raised.value)


def test_options_that_do_not_go_together(joint: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="groups above 1 and a diversity above 0 go together"):
        load(joint[0], strategy="attention", beam_size=4, groups=2)
    with pytest.raises(ConfigError, match="lm_weight is given but no lm"):
        load(joint[0], strategy="joint", lm_weight=0.5)


def test_another_strategy_leaves_the_files_options_behind(tmp_path: Path) -> None:
    (tmp_path / "decoding.yaml").write_text("{strategy: beam, beam_size: 7, temperature: 2.0}", encoding="utf-8")
    assert load_decoding(tmp_path / "decoding.yaml", {"strategy": "joint"}) == DecodingConfig(strategy="joint")
    kept = load_decoding(tmp_path / "decoding.yaml", {"strategy": "beam", "beam_size": 9})
    assert kept == DecodingConfig(strategy="beam", beam_size=9, temperature=2.0)


@pytest.mark.parametrize("strategy", ["attention", "joint", "rescore", "sample"])
def test_commands(strategy: str, joint: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    run, manifest = joint
    finished = command("evaluate", run, manifest, "--decode", strategy, "--out", tmp_path)
    assert finished.code == 0
    rows = [json.loads(line) for line in (tmp_path / "hypotheses.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [row["reference"] for row in rows]
    assert {row["spans_from"] for row in rows} == {"ctc"}
    source = read_manifest(manifest)[0]
    finished = command("transcribe", source.source, "--run", run, "--decode", strategy, "--format", "json")
    assert json.loads(finished.out)["text"] == source.text
    message = command.fails("transcribe", source.source, "--run", run, "--decode", strategy, "--set", "temperature=2")
    assert message.startswith(f"decoding: temperature: no effect on {strategy} decoding")


def test_attention_is_found_at_its_peak() -> None:
    from ctcrec.attention_strategies import _attention_spans

    weights = np.array([[0.1, 0.5, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 1.0], [0.5, 0.1, 0.0, 0.4]])
    assert _attention_spans(weights) == [(1, 3), (0, 3), (3, 4), (0, 1)]
