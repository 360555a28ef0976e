"""Tuning a run: weights and temperature end up in its decoding.yaml, and recognition then uses them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from typer.testing import CliRunner

from ctcrec.cli.main import app
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import ConfigError
from ctcrec.recognizer import Recognizer
from ctcrec.tuning import stored_emissions

if TYPE_CHECKING:
    from conftest import Trained


def test_tune_writes_what_transcribe_and_evaluate_then_use(trained: Trained, tmp_path: Path) -> None:
    run, corpus = tmp_path / "run", tmp_path / "text.txt"
    shutil.copytree(trained.run, run)
    corpus.write_text("".join(f"{e.text}\n" for e in read_manifest(trained.train)) * 3, encoding="utf-8")
    lm = tmp_path / "lm.arpa"
    runner = CliRunner()
    made = runner.invoke(app, ["lm", "train", str(corpus), "--order", "2", "--out", str(lm)])
    assert made.exit_code == 0, made.output
    tuned = runner.invoke(app, ["tune", str(run), str(trained.test), "--lm", str(lm)])
    assert tuned.exit_code == 0, tuned.output
    assert "lm_weight" in tuned.output and "calibration error" in tuned.output
    chosen = yaml.safe_load((run / "decoding.yaml").read_text(encoding="utf-8"))
    assert chosen["strategy"] == "beam"
    assert set(chosen) == {"strategy", "lm", "lm_weight", "word_score", "beam_size", "temperature"}
    assert (run / "tuning" / "wer.png").stat().st_size > 1000

    fixed = ["--set", "lm_unit=token", "--set", "characters=abc"]
    tuned = runner.invoke(app, ["tune", str(run), str(trained.test), "--lm", str(lm), *fixed])
    assert tuned.exit_code == 0, tuned.output
    chosen = yaml.safe_load((run / "decoding.yaml").read_text(encoding="utf-8"))
    assert (chosen["lm_unit"], chosen["characters"]) == ("token", "abc")
    for setting, message in [("lm_weight=1", "to be found by tuning"), ("samples=3", "no effect on beam decoding")]:
        refused = runner.invoke(app, ["tune", str(run), str(trained.test), "--lm", str(lm), "--set", setting])
        assert isinstance(refused.exception, ConfigError) and message in str(refused.exception)

    example = read_manifest(trained.test)[0]
    hypothesis = Recognizer.load(run).transcribe(example.source)
    assert hypothesis.lm_score is not None  # the beam search with its language model, without being asked for
    assert Recognizer.load(trained.run).transcribe(example.source).lm_score is None
    result = runner.invoke(app, ["evaluate", str(run), str(trained.test), "--decode", "greedy"])
    assert result.exit_code == 0, result.output


def test_emissions_are_computed_once(trained: Trained, tmp_path: Path) -> None:
    recognizer, examples = Recognizer.load(trained.run), read_manifest(trained.test)
    calls: list[int] = []
    first = stored_emissions(recognizer, tmp_path, examples, calls.append)
    assert calls[-1] == len(examples)
    calls.clear()
    again = stored_emissions(recognizer, tmp_path, examples, calls.append)
    assert not calls
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    stored_emissions(recognizer, tmp_path, examples[1:], calls.append)
    assert calls[-1] == len(examples) - 1
