"""Tuning a run: weights and temperature end up in its decoding.yaml, and recognition then uses them."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from ctcrec.cli.main import app
from ctcrec.config import DecodingConfig
from ctcrec.data.manifest import read_manifest
from ctcrec.decoding.prior import read_prior
from ctcrec.decoding.tuning import tune
from ctcrec.errors import ConfigError, InputError
from ctcrec.lm.arpa import write_arpa
from ctcrec.lm.estimation import estimate
from ctcrec.packing import pack
from ctcrec.recognizer import Recognizer
from ctcrec.tuning import stored_emissions, tune_run

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


def test_the_prior_stands_beside_the_run_and_goes_with_its_model(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, lm = tmp_path / "run", tmp_path / "lm.arpa"
    shutil.copytree(trained.run, run)
    examples = read_manifest(trained.test)
    write_arpa(estimate([example.text or "" for example in examples], 1), lm)
    monkeypatch.setattr("ctcrec.tuning.tune", functools.partial(tune, prior_weights=[0.3]))
    recognizer = Recognizer.load(run, "cpu")
    tune_run(recognizer, run, examples, DecodingConfig(strategy="beam", lm=str(lm)))
    chosen = yaml.safe_load((run / "decoding.yaml").read_text(encoding="utf-8"))
    assert (chosen["prior"], chosen["prior_weight"]) == ("tuning/prior.json", 0.3)
    assert list(read_prior(run / chosen["prior"])) == list(recognizer.checkpoint.tokenizer.tokens)

    model = pack(run, tmp_path / "tiny", task="rows of four glyphs or tones", license="CC BY 4.0").folder
    assert yaml.safe_load((model / "decoding.yaml").read_text(encoding="utf-8"))["prior"] == "prior.json"
    texts = [
        [item.hypothesis and item.hypothesis.text for item in Recognizer.load(folder, "cpu").transcribe_all(examples)]
        for folder in (run, model)
    ]
    assert texts[0] == texts[1] == [example.text for example in examples]

    (model / "prior.json").write_text('{"a": 1.0}')
    with pytest.raises(InputError, match="the prior lacks"):
        Recognizer.load(model, "cpu")
    tuned_again = DecodingConfig(strategy="beam", lm=str(lm), prior=str(run / "tuning/prior.json"))
    tune_run(recognizer, run, examples, tuned_again)
    chosen = yaml.safe_load((run / "decoding.yaml").read_text(encoding="utf-8"))
    assert chosen["prior"] == str(run / "tuning/prior.json")


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
