"""`ctcrec evaluate` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ctcrec.data.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


def test_prints_and_writes(command: Command, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = command("evaluate", trained.run, trained.train, trained.test, "--out", out)
    assert ended.code == 0
    for word in ("WER", "CER", "sub", "del", "ins", "without a word error", "group0", "group1", "[0.00, 0.00]"):
        assert word in ended.out
    assert f"hypotheses, report and worst examples are in {out}" in ended.out
    rows = [json.loads(line) for line in (out / "hypotheses.jsonl").read_text().splitlines()]
    examples = read_manifest(trained.train) + read_manifest(trained.test)
    assert [(row["id"], row["reference"]) for row in rows] == [(example.id, example.text) for example in examples]
    assert (out / "report.txt").read_text().strip() in ended.out
    assert (out / "worst.txt").is_file()
    json.loads((out / "report.json").read_text())


def test_json_groups_and_alignment(command: Command, trained: Trained, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    examples = [
        replace(example, extra={"document": f"d{index % 3}", "room": "a" if index else "b"})
        for index, example in enumerate(read_manifest(trained.test))
    ]
    write_manifest(manifest, examples)
    options = ["--by", "room", "--alignment", "sclite", "--worst", "2", "--format", "json", "--out", tmp_path / "out"]
    ended = command("evaluate", trained.run, manifest, *options)
    result = json.loads(ended.out)
    group = "writer" if trained.config.modality == "ocr" else "speaker"
    assert list(result["groups"]) == [group, "document", "room", "length"]
    assert [row["value"] for row in result["groups"]["document"]] == ["d0", "d1", "d2"]
    assert [(row["value"], row["examples"]) for row in result["groups"]["room"]] == [("a", 5), ("b", 1)]
    assert "align:sclite" in result["signature"] and result["alignment"] == "sclite" and len(result["worst"]) <= 2
    for unit in ("words", "characters"):
        assert {"hits", "substitutions", "deletions", "insertions", "rate", "interval"} <= result[unit].keys()
    assert result == json.loads((tmp_path / "out/report.json").read_text())
    assert "no example has the field 'floor'" in command.fails("evaluate", trained.run, manifest, "--by", "floor")


def test_unreadable_media_are_named(command: Command, trained: Trained, tmp_path: Path) -> None:
    examples = read_manifest(trained.test)
    manifest = tmp_path / "some.jsonl"
    write_manifest(manifest, examples)
    content = manifest.read_text().replace(examples[1].source.name, "gone" + examples[1].source.suffix)
    manifest.write_text(content)
    ended = command("evaluate", trained.run, manifest)
    assert ended.code == 1
    assert "gone" in ended.err and "no such file" in ended.err and "Traceback" not in ended.err
    assert "CER" in ended.out


def test_mistakes_are_one_line(command: Command, trained: Trained, tmp_path: Path) -> None:
    assert "no such manifest" in command.fails("evaluate", trained.run, tmp_path / "none.jsonl")
    assert "no model.safetensors here" in command.fails("evaluate", tmp_path, trained.test)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "source": "a.png"}\n')
    assert command.fails("evaluate", trained.run, bad) == f"{bad}:1: the key 'text' is missing"
    (tmp_path / "file").touch()
    assert "choose another --out" in command.fails("evaluate", trained.run, trained.test, "--out", tmp_path / "file")
