"""`ctcrec lm`, run as a user does."""

import lzma
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctcrec.cli.lm import app
from ctcrec.errors import ConfigError, DataError
from ctcrec.lm import NGramLM

TEXT = "The cat sat.\nThe dog sat on the cat!\n\nA cat, a dog.\n" * 3


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_train_compile_and_score(tmp_path: Path) -> None:
    text = tmp_path / "text.txt.xz"
    text.write_bytes(lzma.compress(TEXT.encode()))
    arpa, binary = tmp_path / "model.arpa.gz", tmp_path / "model.bin"
    output = run("train", text, "--out", arpa, "--order", 2, "--text", "librispeech")
    assert "9 1-grams" in output
    run("compile", arpa, "--out", binary)
    model = NGramLM.load(binary)
    assert "CAT" in model and model.order == 2
    first, second = (run("score", path, text, "--text", "librispeech", "--sentences") for path in (arpa, binary))
    assert first == second
    assert f"{model.score('THE CAT SAT'):.5f}\tTHE CAT SAT" in first
    assert "0 unknown, 9 sentences" in first


def test_characters_and_pruning(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ab ab\n" * 4 + "ba\n")
    run("train", text, "--out", tmp_path / "full", "--order", 3, "--characters")
    run("train", text, "--out", tmp_path / "small", "--order", 3, "--characters", "--prune", "0,0,1")
    full, small = NGramLM.load(tmp_path / "full"), NGramLM.load(tmp_path / "small")
    assert set(full.words) == {"<unk>", "<s>", "</s>", "a", "b", "|"}
    assert small.counts[2] < full.counts[2]


def test_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "broken.xz").write_bytes(b"no")
    with pytest.raises(DataError, match="no words"):
        run("train", tmp_path / "empty.txt", "--out", tmp_path / "m.arpa")
    with pytest.raises(DataError, match="broken.xz"):
        run("train", tmp_path / "broken.xz", "--out", tmp_path / "m.arpa")
    with pytest.raises(ConfigError, match="--prune"):
        run("train", tmp_path / "empty.txt", "--out", tmp_path / "m.arpa", "--prune", "x")
    with pytest.raises(DataError, match="cannot be written"):
        (tmp_path / "t.txt").write_text("a b\n")
        run("train", tmp_path / "t.txt", "--out", tmp_path / "no" / "m.arpa")


def test_bits_of_characters_and_words_compare(tmp_path: Path) -> None:
    """The same text under a model of words and one of characters: bits are of the same characters."""
    text = tmp_path / "text.txt"
    text.write_text("ab ab\n" * 4 + "ba\n")
    sizes = {}
    for name, options in (("words", []), ("letters", ["--characters"])):
        run("train", text, "--out", tmp_path / name, "--order", 2, *options)
        output = run("score", tmp_path / name, text, *options)
        log10_prob = float(output.split("log10 probability ")[1].split()[0])
        bits = float(output.split(" bits per character")[0].split()[-1])
        sizes[name] = -log10_prob / 0.30103 / bits
    assert sizes["words"] == pytest.approx(27, rel=1e-3)  # 4 × (5 + 1) + 2 + 1
    assert sizes["letters"] == pytest.approx(27, rel=1e-3)
