"""The record of a run, and the model card made from it."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tiny import make_texts, tiny_config, train_quietly, write_corpus

import ctcrec.model_card
from ctcrec.config import parse_config
from ctcrec.errors import CheckpointError, TrainingError
from ctcrec.model_card import model_card
from ctcrec.provenance import fingerprint_manifest, read_run

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


def test_a_finished_run_is_on_record(trained: Trained) -> None:
    record = read_run(trained.run)
    [session] = record["sessions"]
    assert session["outcome"] == "finished" and session["started"] <= session["ended"]
    assert session["packages"]["torch"] == metadata.version("torch")
    assert session["hardware"]["cores"] >= 1 and session["hardware"]["threads"] == 1 and session["command"]
    assert session["epochs"] == trained.summary.epochs and session["best"]["cer"] == trained.summary.cer
    assert record["seed"] == trained.config.seed
    assert parse_config(record["config"]).data == trained.config.data
    [data] = record["data"]["train"]
    assert data["sha256"] == hashlib.sha256(trained.train.read_bytes()).hexdigest() and data["examples"] == 24
    assert ("hours" in data) == (trained.config.modality == "speech")


def test_the_commit_is_that_of_the_checkout(trained: Trained) -> None:
    git = read_run(trained.run)["sessions"][0]["git"]
    if git is None:
        pytest.skip("not run from a git checkout")
    assert len(git["commit"]) == 40 and isinstance(git["changed"], bool)


def test_stopped_and_resumed_runs_have_two_sessions(tmp_path: Path) -> None:
    config = tiny_config("ocr", write_corpus(tmp_path, "ocr", make_texts(8)))
    with pytest.raises(TrainingError, match="stopped after step 1"):
        train_quietly(config, tmp_path / "run", stop_after_steps=1)
    [stopped] = read_run(tmp_path / "run")["sessions"]
    assert stopped["outcome"] == "ended early" and "stopped after step 1" in stopped["reason"] and stopped["steps"] == 1
    train_quietly(config, tmp_path / "run", resume=True)
    first, second = read_run(tmp_path / "run")["sessions"]
    assert first == stopped
    assert second["outcome"] == "finished" and second["epochs"] == 2


def test_the_record_is_there_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(self: object, stop_after_steps: int | None) -> None:
        seen.append(read_run(tmp_path / "run")["sessions"])
        raise KeyboardInterrupt

    monkeypatch.setattr("ctcrec.training.loop._Run.train", look)
    config = tiny_config("ocr", write_corpus(tmp_path, "ocr", make_texts(4)))
    with pytest.raises(KeyboardInterrupt):
        train_quietly(config, tmp_path / "run")
    assert [session["outcome"] for [session] in seen] == ["running or killed"]
    assert read_run(tmp_path / "run")["sessions"][0]["reason"] == "KeyboardInterrupt"


def test_fingerprints_count_what_rows_say_of_rights(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    rows = [
        {"id": "a", "source": "a.wav", "duration": 1800, "license": "CC BY 4.0", "language": "de"},
        {"id": "b", "source": "b.wav", "start": 10, "end": 1810, "licence": "CC BY 4.0", "attribution": "B. Bee"},
        {"id": "c", "source": "c.wav", "license": "CC0"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = fingerprint_manifest(manifest)
    assert facts["licenses"] == {"CC BY 4.0": 2, "CC0": 1} and facts["attributions"] == {"B. Bee": 1}
    assert facts["languages"] == {"de": 1} and facts["hours"] == 1.0 and facts["examples"] == 3
    before = facts["sha256"]
    manifest.write_text(manifest.read_text().replace("Bee", "Bea"))
    assert fingerprint_manifest(manifest)["sha256"] != before


def test_damaged_records(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run.json: no such file; give the directory of a run"):
        read_run(tmp_path)
    for content in ("{", "[]", '{"format": 2, "sessions": [1]}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(CheckpointError, match="run.json: .*restore it from a copy, or remove it"):
            read_run(tmp_path)


def test_card(command: Command, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(8))
    rows = [json.loads(line) | {"license": "CC BY 4.0"} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    train_quietly(tiny_config("ocr", manifest), run)
    assert "No evaluation lies in the run's directory" in model_card(run)
    assert command("evaluate", run, manifest, "--out", run / "evaluation-test").code == 0
    ended = command("card", run)
    assert ended.code == 0 and f"written: {run / 'card.md'}" in ended.out
    card = (run / "card.md").read_text()

    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "image-to-text" and front["training_data_license"] == ["CC BY 4.0"]
    report = json.loads((run / "evaluation-test" / "report.json").read_text())
    low, high = report["words"]["interval"]
    row = f"| evaluation-test | 8 | {100 * report['words']['rate']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    assert row in card
    assert f"`{report['signature']}`" in card
    assert "License: CC BY 4.0 (8 of 8 training examples)" in card
    assert read_run(run)["sessions"][0]["command"] in card
    assert hashlib.sha256(manifest.read_bytes()).hexdigest()[:16] in card
    assert "changed or gone" not in card
    manifest.write_text(manifest.read_text() + "\n")
    assert f"changed or gone since training: `{manifest.as_posix()}`" in model_card(run)


def test_card_of_a_model_with_attention(tmp_path: Path) -> None:
    decoder = {"width": 16, "attention": "dot", "attention_size": 8}
    config = tiny_config(
        "ocr", write_corpus(tmp_path, "ocr", make_texts(8)), model__decoder=decoder, loss__ctc_weight=0.5
    )
    train_quietly(config, tmp_path / "run")
    card = model_card(tmp_path / "run")
    assert "with CTC and attention; made with ctcrec" in card
    assert "a decoder of 1 LSTM layers of 16 with dot attention" in card
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["ctc", "attention", "ocr"]


def test_card_mistakes(command: Command, trained: Trained, tmp_path: Path) -> None:
    assert "run.json: no such file" in command.fails("card", tmp_path)
    assert ctcrec.model_card.CARD_FILE not in {path.name for path in trained.run.iterdir()}
