"""What is known before the first step: feasibility, the expected loss, unknown characters, fingerprints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.alignments import count_alignments
from tiny import changed, config_values, make_texts, tiny_config, write_corpus

from ctcrec.checkpoint import build_from_config
from ctcrec.config import parse_config
from ctcrec.errors import ConfigError, ManifestError, TrainingError
from ctcrec.modalities import build_preprocessor
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Example
from ctcrec.text import CharTokenizer, Normalizer
from ctcrec.training.corpus import (
    Corpus,
    encode_examples,
    expected_initial_loss,
    find_misfits,
    fingerprint,
    leave_out,
    read_texts,
    unknown_characters,
)


@pytest.fixture(scope="module")
def model() -> RecognitionModel:
    """Subsampling 2."""
    return build_from_config(parse_config(config_values("ocr", Path("train.jsonl"))), 5)


def corpus_of(*items: tuple[tuple[int, ...], int]) -> Corpus:
    examples = tuple(Example(f"e{index}", Path(f"{index}.png"), "x") for index in range(len(items)))
    return Corpus(examples, tuple(target for target, _ in items), tuple(frames for _, frames in items))


@pytest.mark.parametrize(
    ("target", "frames"), [((1,), 2), ((1, 2), 8), ((1, 1), 8), ((1, 1, 2), 10), ((2, 2, 2), 10), ((1, 2, 1), 6)]
)
def test_expected_loss_by_enumeration(model: RecognitionModel, target: tuple[int, ...], frames: int) -> None:
    """A uniform model gives every path probability C^-T, so only the number of paths counts."""
    paths = count_alignments(target, frames // 2, n_tokens=3)
    expected = -(math.log(paths) - frames // 2 * math.log(3)) / len(target)
    assert expected_initial_loss(corpus_of((target, frames)), model, 3) == pytest.approx(expected, rel=1e-12)


def test_expected_loss_is_torchs_on_uniform_output(model: RecognitionModel) -> None:
    items = [((1, 2, 3, 3), 60), ((4,) * 7, 41), ((1, 2, 1, 2, 4, 4, 3), 200)]
    corpus = corpus_of(*items)
    lengths = model.output_lengths(torch.tensor(corpus.frames))
    log_probs = torch.full((int(lengths.max()), len(items), 5), -math.log(5), dtype=torch.float64)
    losses = torch.nn.functional.ctc_loss(
        log_probs,
        torch.tensor([token for target, _ in items for token in target]),
        lengths,
        torch.tensor([len(target) for target, _ in items]),
        reduction="sum",
    )
    tokens = sum(len(target) for target, _ in items)
    assert expected_initial_loss(corpus, model, 5) == pytest.approx(float(losses) / tokens, rel=1e-10)


def test_infeasible_and_unwanted_examples_are_left_out_by_reason(model: RecognitionModel) -> None:
    corpus = corpus_of(
        ((1, 2, 3), 6),  # exactly fits 3 frames
        ((1, 2, 3), 5),  # 2 frames
        ((1, 1, 2), 6),  # the repeat needs a blank: 4 frames
        ((), 50),
        ((1,), 3),
        ((1,), 101),
    )
    kept, reasons = leave_out(corpus, model, shortest=4, longest=100)
    assert [example.id for example in kept.examples] == ["e0"]
    assert kept.targets == ((1, 2, 3),) and kept.frames == (6,)
    by_id = {example_id: reason for reason, ids in reasons.items() for example_id in ids}
    assert by_id.keys() == {"e1", "e2", "e3", "e4", "e5"}
    assert "labels + repeats exceed the frames (subsampling 2)" in by_id["e1"]
    assert by_id["e2"] == by_id["e1"]
    assert "empty" in by_id["e3"] and "data.min_frames" in by_id["e4"] and "data.max_frames" in by_id["e5"]


def test_a_misfit_tells_the_subsampling_that_fits() -> None:
    """A stride of 2 rounds up and a pool of 2 rounds down: 4 frames of 13 to 16."""
    values = changed(
        config_values("ocr", Path("train.jsonl")),
        model__frontend__blocks=[{"channels": 2, "stride": [2, 2]}, {"channels": 2, "pool": [2, 2]}],
    )
    model = build_from_config(parse_config(values), 5)
    misfits = find_misfits([4, 5, 5, 15, 17, 1], [15, 15, 11, 15, 15, 1], model)
    assert [(item.index, item.needed, item.frames, item.subsampling) for item in misfits] == [
        (1, 5, 4, 3),
        (2, 5, 3, 2),
        (3, 15, 4, 1),
        (4, 17, 4, 0),
    ]


def test_nothing_left_is_an_error(model: RecognitionModel) -> None:
    with pytest.raises(TrainingError, match=r"none of the 2 training examples .* \(2: labels \+ repeats"):
        leave_out(corpus_of(((1, 2), 2), ((1, 1), 2)), model, 1, None)


def test_fingerprint_changes_with_the_data() -> None:
    corpus = corpus_of(((1, 2), 5), ((3,), 6))
    prints = {
        fingerprint(corpus),
        fingerprint(corpus, corpus),
        fingerprint(corpus.select([1, 0])),
        fingerprint(corpus.select([0])),
        fingerprint(corpus_of(((1, 2), 5), ((3,), 7))),
        fingerprint(corpus_of(((1, 2), 5), ((4,), 6))),
    }
    assert len(prints) == 6
    assert fingerprint(corpus) == fingerprint(corpus_of(((1, 2), 5), ((3,), 6)))


def test_texts_are_normalized(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(3))
    rows = manifest.read_text().replace('"text": "ab cd"', '"text": "a\\u0308 b"')
    manifest.write_text(rows)
    examples = read_texts([str(manifest)], Normalizer.of("nfc"), "data.train")
    assert examples[0].text == "ä b"


def test_no_manifest_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"data\.train: no manifest is named; set it, for example --set"):
        read_texts([], Normalizer.of("nfc"), "data.train")


def test_text_is_needed(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "a", "source": "a.png"}\n')
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: the key 'text' is missing"):
        read_texts([str(manifest)], Normalizer.of("nfc"), "data.train")


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_frames_and_targets_of_a_corpus(modality: str, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, modality, make_texts(4))
    preprocessor: Any = build_preprocessor(tiny_config(modality, manifest).features)
    examples = read_texts([str(manifest)], Normalizer.of("nfc"), "data.train")
    tokenizer = CharTokenizer.train(["ab"])
    corpus = encode_examples(examples, tokenizer, preprocessor)
    assert len(corpus) == 4
    for example, target, frames in zip(corpus.examples, corpus.targets, corpus.frames, strict=True):
        assert tokenizer.decode(target) == "".join(letter for letter in example.text or "" if letter in "ab")
        assert frames == len(preprocessor.features(preprocessor.load(example.source)))


def test_unknown_characters_are_counted_by_example() -> None:
    examples = [Example("a", Path("a"), "abba"), Example("b", Path("b"), "xax"), Example("c", Path("c"), "xy")]
    assert unknown_characters(examples, CharTokenizer.train(["ab"])) == {"x": 2, "y": 1}
