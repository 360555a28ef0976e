"""`ctcrec doctor` and `ctcrec inspect` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from PIL import Image
from tiny import config_values

from ctcrec.data.manifest import read_manifest

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


def test_a_run(command: Command, trained: Trained, tmp_path: Path) -> None:
    ended = command("doctor", trained.run, "--out", tmp_path / "out")
    assert ended.code == 0
    assert "recognizing validation examples" in ended.err
    for name in (
        "weights hardly moved",
        "blank collapse",
        "over-fitting",
        "loss by position",
        "suspected label errors",
    ):
        assert f"ok  {name}: " in ended.out
    assert ended.out.count(": blank collapse") <= 1
    assert f"written: {tmp_path / 'out' / 'review.jsonl'}" in ended.out
    assert len((tmp_path / "out" / "review.jsonl").read_text().splitlines()) == 24


def test_a_run_as_json_on_other_examples(command: Command, trained: Trained, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.jsonl"
    rows = [json.loads(line) for line in trained.train.read_text().splitlines()]
    texts = sorted((row["text"] for row in rows), key=len)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]["text"]))
    for place, index in enumerate(order):
        rows[index]["text"] = texts[place - 1]
        rows[index]["source"] = str(trained.train.parent / rows[index]["source"])
    shuffled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--manifest", shuffled, "--out", tmp_path, "--format", "json"]
    result = json.loads(command("doctor", trained.run, *options).out)
    assert "texts unrelated to media" in result["faults"]
    finding = next(item for item in result["findings"] if item["name"] == "texts unrelated to media")
    assert finding["fault"] and finding["value"] > finding["limit"] and finding["reason"] and finding["advice"]
    names = [item["name"] for item in result["findings"]]
    assert len(names) == len(set(names))


def test_a_config(command: Command, trained: Trained, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(config_values(trained.config.modality, trained.train, trained.test)))
    out = tmp_path / "out"
    result = json.loads(
        command("doctor", config, "--set", "training.learning_rate=1e-7", "--out", out, "--format", "json").out
    )
    assert "learning rate too low" in result["faults"]
    assert result["files"] == [str(out / "learning_rates.png")]
    assert Image.open(out / "learning_rates.png").size[0] > 500
    names = {item["name"] for item in result["findings"]}
    assert {"initial loss", "overfit test", "vanishing gradients", "dead units", "waiting for data"} <= names


def test_mistakes(command: Command, trained: Trained, tmp_path: Path) -> None:
    assert "no such file" in command.fails("doctor", tmp_path / "none.yaml")
    assert "whose configuration is settled" in command.fails("doctor", trained.run, "--set", "seed=1")
    config = tmp_path / "tiny.yaml"
    config.write_text("{}")
    assert "--manifest needs a RUN" in command.fails("doctor", config, "--manifest", trained.test)
    assert "no model.safetensors here" in command.fails("doctor", tmp_path)


@pytest.mark.parametrize("options", [[], ["--text", "ab cd"]])
def test_inspect(command: Command, trained: Trained, tmp_path: Path, options: list[str]) -> None:
    example = read_manifest(trained.train)[0]
    ended = command("inspect", trained.run, example.source, "--out", tmp_path / "a" / "picture.png", *options)
    assert ended.code == 0 and ended.out.splitlines()[0] == example.text == "ab cd"
    width, height = Image.open(tmp_path / "a" / "picture.png").size
    assert width >= 900 and height >= 900


def test_inspect_mistakes(
    command: Command, trained: Trained, trained_models: dict[str, Trained], tmp_path: Path
) -> None:
    source = read_manifest(trained.train)[0].source
    picture = tmp_path / "p.png"
    long = "abcd" * 50
    assert "does not fit its frames" in command.fails("inspect", trained.run, source, "--out", picture, "--text", long)
    assert "x" in command.fails("inspect", trained.run, source, "--out", picture, "--text", "x")
    assert "ends in .png" in command.fails("inspect", trained.run, source, "--out", tmp_path / "p.nonsense")
    other = read_manifest(trained_models["ocr" if trained.config.modality == "speech" else "speech"].train)[0].source
    assert "choose a run trained on" in command.fails("inspect", trained.run, other, "--out", picture)
    assert not picture.exists()
