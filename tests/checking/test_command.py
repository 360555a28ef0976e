"""`ctcrec check` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Command
from conftest import Trained
from tiny import config_values, write_corpus

from ctcrec.checking import KINDS

TEXTS = ["ab cd", "abc", "bcd", "cda", "dab", "ba", "cb", "dc"]


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_exit_code_and_summary(tmp_path: Path, command: Command, modality: str) -> None:
    manifest = write_corpus(tmp_path, modality, TEXTS)
    out = tmp_path / "findings.jsonl"
    done = command("check", manifest, "--out", out, "--processes", 1)
    assert done.code == 0, done.out
    assert "8 examples in 1 manifests; 8 media read\n" in done.out
    assert "give --run or --config" in done.out and "0 errors, 0 warnings" in done.out
    assert out.read_text() == ""

    broken = next((tmp_path / "train").iterdir())
    broken.write_bytes(broken.read_bytes()[:60])
    manifest.write_text(manifest.read_text().replace('"text": "abc"', '"text": "a\\u200bbc"'))
    done = command("check", manifest, "--out", out)
    assert done.code == 1
    assert "1 media read, 7 unchanged since the last check" in done.out
    assert "error: media that cannot be read (media, 1)" in done.out and broken.name in done.out
    assert "warning: control characters" in done.out and "1 errors, 1 warnings" in done.out
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert {(row["severity"], row["kind"], row["count"]) for row in rows} == {
        ("error", "media", 1),
        ("warning", "control", 1),
    }
    assert all(row["ids"] and row["manifests"] == [str(manifest)] and row["kind"] in KINDS for row in rows)


def test_warnings_alone_are_exit_code_0(tmp_path: Path, command: Command) -> None:
    manifest = write_corpus(tmp_path, "ocr", [*TEXTS, "ab cd"])
    done = command("check", manifest)
    assert done.code == 0 and "duplicate, 1" in done.out and "0 errors, 1 warnings" in done.out
    done = command("check", manifest, "--headers")
    assert done.code == 0 and "0 errors, 0 warnings" in done.out and "damage behind the headers" in done.out


def test_against_a_run_and_a_configuration(
    tmp_path: Path, command: Command, trained_models: dict[str, Trained]
) -> None:
    manifest = write_corpus(tmp_path, "ocr", [*TEXTS, "abab"])
    manifest.write_text(manifest.read_text().replace('"text": "abab"', f'"text": "{"ab" * 50}x"'))
    done = command("check", manifest, "--run", trained_models["ocr"].run)
    assert done.code == 1 and "characters, 1" in done.out and "frames, 1" in done.out
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(config_values("ocr", manifest)))
    done = command("check", manifest, "--config", config)
    assert done.code == 1 and "characters" not in done.out and "frames, 1" in done.out
    done = command("check", manifest, "--config", config, "--set", 'text.normalization=["keep:ab"]')
    assert done.code == 1 and "text, 1" in done.out  # "dc" is empty then


def test_mistakes(tmp_path: Path, command: Command, trained_models: dict[str, Trained]) -> None:
    manifest = write_corpus(tmp_path, "ocr", TEXTS)
    run = trained_models["ocr"].run
    assert "not both" in command.fails("check", manifest, "--run", run, "--config", run / "config.yaml")
    assert "--set changes --config" in command.fails("check", manifest, "--set", "seed=2")
    assert "no such manifest" in command.fails("check", tmp_path / "none.jsonl")
    assert "would overwrite a manifest" in command.fails("check", manifest, "--out", manifest)
    assert "no model.safetensors here" in command.fails("check", manifest, "--run", tmp_path)
    (tmp_path / "file").touch()
    assert "choose another --out" in command.fails("check", manifest, "--out", tmp_path / "file" / "x.jsonl")
