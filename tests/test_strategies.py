"""Decoding by configuration: greedy or beam, files relative to the run, and no option without effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ctcrec.config import DecodingConfig, load_decoding
from ctcrec.errors import ConfigError, DataError
from ctcrec.strategies import build_decode, changed_decoding, read_hotwords
from ctcrec.text import CharTokenizer

TOKENIZER = CharTokenizer.train(["ab ba"])  # blank, space, a, b


def emissions(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows).log()


def test_beam_finds_the_text_that_the_best_path_misses() -> None:
    """Graves' example: the best path is empty (0.36), "a" has 0.64 in all."""
    frames = emissions((0.6, 1e-9, 0.4, 1e-9), (0.6, 1e-9, 0.4, 1e-9))
    greedy = build_decode(DecodingConfig(), TOKENIZER, Path())
    beam = build_decode(DecodingConfig(strategy="beam"), TOKENIZER, Path())
    assert [h.text for h in greedy([frames])] == [""]
    [best] = beam([frames])
    assert best.text == "a"
    assert best.score == pytest.approx(torch.tensor(0.64).log().item(), abs=1e-4)


def test_greedy_takes_examples_of_any_length_and_none() -> None:
    decode = build_decode(DecodingConfig(), TOKENIZER, Path())
    short, long = emissions((0.1, 0.1, 0.7, 0.1)), emissions((0.1, 0.1, 0.1, 0.7), (0.7, 0.1, 0.1, 0.1))
    assert [h.text for h in decode([short, long])] == ["a", "b"]
    assert decode([]) == []


def test_hotwords_and_lexicon_files_lie_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("ba\n", encoding="utf-8")
    frames = emissions((0.02, 1e-9, 0.55, 0.43), (0.02, 1e-9, 0.43, 0.55))
    free = build_decode(DecodingConfig(strategy="beam"), TOKENIZER, tmp_path)
    bound = build_decode(DecodingConfig(strategy="beam", lexicon="words.txt"), TOKENIZER, tmp_path)
    liked = build_decode(DecodingConfig(strategy="beam", hotwords="words.txt"), TOKENIZER, tmp_path)
    assert free([frames])[0].text == "ab"
    assert bound([frames])[0].text == "ba"
    assert liked([frames])[0].text == "ba"


def test_hotword_weights(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text("ab\t3.5\n\nba a\n", encoding="utf-8")
    assert read_hotwords(path, 10.0) == {"ab": 3.5, "ba a": 10.0}
    path.write_text("ab\tmuch\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"hot\.txt:1: the weight after the tab must be a number, not 'much'"):
        read_hotwords(path, 10.0)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="no hotwords"):
        read_hotwords(path, 10.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam_size": 5}, "beam_size: no effect on greedy decoding"),
        ({"strategy": "beam", "beam_sise": 5}, "beam_sise: unknown key; did you mean beam_size"),
        ({"strategy": "beem"}, "'rescore' or 'sample'"),
        ({"strategy": "beam", "beam_size": 0}, "beam_size"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_decoding(tmp_path / "decoding.yaml", values)


def test_a_weight_for_hotwords_needs_hotwords() -> None:
    with pytest.raises(ConfigError, match="hotword_weight is set but no hotwords"):
        build_decode(DecodingConfig(strategy="beam", hotword_weight=3.0), TOKENIZER, Path())


def test_the_command_line_changes_what_the_run_says(tmp_path: Path) -> None:
    (tmp_path / "decoding.yaml").write_text("{strategy: beam, lexicon: words.txt, beam_size: 7}", encoding="utf-8")
    changed = changed_decoding(tmp_path, {"beam_size": 9})
    assert changed == DecodingConfig(strategy="beam", lexicon=str(tmp_path / "words.txt"), beam_size=9)
    assert changed_decoding(tmp_path, {"lexicon": "mine.txt"}).lexicon == "mine.txt"
    assert changed_decoding(tmp_path, {"strategy": "greedy"}) == DecodingConfig()
