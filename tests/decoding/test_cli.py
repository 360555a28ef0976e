"""`ctcrec decode`, run as a user does."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ctcrec.cli.decode import decode
from ctcrec.errors import ConfigError, DataError, InputError
from ctcrec.lm.arpa import write_arpa
from ctcrec.lm.estimation import estimate

app = typer.Typer()
app.command()(decode)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Emissions that say "ab a" (b nearly as probable as a), and the tokens."""
    probs = np.full((7, 4), 0.02)
    probs[np.arange(7), [2, 0, 3, 1, 0, 2, 0]] = 0.9
    probs[5, 3] = 0.6
    np.savez(tmp_path / "some.npz", one=np.log(probs / probs.sum(1, keepdims=True)).astype(np.float16))
    (tmp_path / "tokens.txt").write_text("-\n\na\nb\n")
    return tmp_path / "some.npz", tmp_path / "tokens.txt"


def test_greedy_and_beam(files: tuple[Path, Path]) -> None:
    emissions, tokens = files
    assert run(emissions, "--tokens", tokens, "--decode", "greedy") == "one\tab a\n"
    assert run(emissions, "--tokens", tokens) == "one\tab a\n"
    lines = run(emissions, "--tokens", tokens, "--nbest", 3, "--format", "json").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["text"] for record in records][:2] == ["ab a", "ab b"]
    assert records[0]["word_spans"][0] == {**records[0]["word_spans"][0], "word": "ab", "start": 0, "end": 3}


def test_models_change_the_text(files: tuple[Path, Path], tmp_path: Path) -> None:
    emissions, tokens = files
    write_arpa(estimate(["ab b"] * 3 + ["a ab b"], 2), tmp_path / "lm.arpa")
    (tmp_path / "hot.txt").write_text("b\t2\n\n")
    (tmp_path / "words.txt").write_text("ab\nb\n")
    (tmp_path / "prior.json").write_text('{"-": 0.2, " ": 0.2, "a": 0.5, "b": 0.1}')
    for options in (
        ("--lm", tmp_path / "lm.arpa", "--lm-weight", 2.0),
        ("--hotwords", tmp_path / "hot.txt"),
        ("--lexicon", tmp_path / "words.txt"),
        ("--pattern", ".* b"),
        ("--prior", tmp_path / "prior.json"),
    ):
        assert run(emissions, "--tokens", tokens, *options) == "one\tab b\n"


def test_errors(files: tuple[Path, Path], tmp_path: Path) -> None:
    emissions, tokens = files
    with pytest.raises(ConfigError, match="--beam-size has no effect"):
        run(emissions, "--tokens", tokens, "--decode", "greedy", "--beam-size", 5)
    with pytest.raises(ConfigError, match="no --hotwords"):
        run(emissions, "--tokens", tokens, "--hotword-weight", 5)
    with pytest.raises(DataError, match="none.txt"):
        run(emissions, "--tokens", tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="no prior"):
        run(emissions, "--tokens", tokens, "--prior-weight", 0.5)
    (tmp_path / "hot.txt").write_text("b\tmuch\n")
    with pytest.raises(DataError, match="hot.txt:1"):
        run(emissions, "--tokens", tokens, "--hotwords", tmp_path / "hot.txt")
    (tmp_path / "few.txt").write_text("-\na\n")
    with pytest.raises(InputError, match="utterance one"):
        run(emissions, "--tokens", tmp_path / "few.txt")
