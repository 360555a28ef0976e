"""A run packed as a model: what is kept, what is left out, and that it reads as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

from ctcrec.checkpoint import load_checkpoint, read_tensors
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CheckpointError
from ctcrec.packing import Packed, pack
from ctcrec.pretrained import read_about
from ctcrec.recognizer import Recognizer

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


@pytest.fixture
def packed(trained: Trained, tmp_path: Path) -> Packed:
    return pack(
        trained.run,
        tmp_path / "models" / "tiny",
        task="rows of four glyphs or tones",
        license="CC BY 4.0",
        data=["made in tests"],
        languages=["xx"],
        manifests={"dev": trained.train},
    )


def test_weights_are_float16_and_read_as_before(packed: Packed, trained: Trained) -> None:
    tensors, _ = read_tensors(packed.folder / "model.safetensors")
    model = load_checkpoint(packed.folder).model
    parameters = {name for name, _ in model.named_parameters()}
    assert {tensors[name].dtype for name in parameters} == {torch.float16}
    assert all(t.dtype != torch.float16 for name, t in tensors.items() if name not in parameters)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    examples = read_manifest(trained.train)
    transcripts = list(Recognizer.load(packed.folder, "cpu").transcribe_all(examples))
    assert [t.hypothesis.text for t in transcripts if t.hypothesis] == [example.text for example in examples]


def test_about_has_what_was_said_and_measured(packed: Packed, trained: Trained) -> None:
    about = read_about(packed.folder)
    assert about == packed.about
    assert (about.modality, about.task) == (trained.config.modality, "rows of four glyphs or tones")
    assert (about.license, about.languages, about.data) == ("CC BY 4.0", ("xx",), ("made in tests",))
    assert about.parameters == sum(p.numel() for p in load_checkpoint(trained.run).model.parameters())
    [score] = about.scores
    assert (score.data, score.examples, score.decoding, score.wer, score.cer) == ("dev", 24, "greedy", 0.0, 0.0)
    assert about.low_confidence is not None and 0.0 < about.low_confidence < 1.0


def test_nothing_of_the_machine_is_kept(packed: Packed, trained: Trained, tmp_path: Path) -> None:
    files = {path.name for path in packed.folder.iterdir()}
    expected = {"model.safetensors", "config.yaml", "metrics.json", "tokenizer.json", "tokens.json"}
    assert files == expected | {"about.yaml", "card.md", "LICENSE"}
    assert packed.size == sum(path.stat().st_size for path in packed.folder.iterdir())
    folders = {str(trained.run.parent), str(tmp_path), str(Path.home()) + "/"}
    for path in packed.folder.iterdir():
        content = path.read_bytes().decode("utf-8", "replace")
        assert not [folder for folder in folders if folder in content], path.name
    card = (packed.folder / "card.md").read_text()
    assert "# tiny\n" in card and "license: CC BY 4.0\n" in card and "--model tiny" in card
    assert "| dev | greedy | 24 | 0.00 % | 0.00 % |" in card
    assert "No evaluation" not in card
    licence = (packed.folder / "LICENSE").read_text()
    assert "https://creativecommons.org/licenses/by/4.0/" in licence and "made in tests" in licence


def test_the_decoding_goes_with_its_files(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("tensorboard"))
    (tmp_path / "words.txt").write_text("".join(f"{word}\n" for word in ("ab", "cd", "abcd")))
    values = {"strategy": "beam", "lexicon": str(tmp_path / "words.txt"), "beam_size": 8}
    (run / "decoding.yaml").write_text(yaml.safe_dump(values))
    packed = pack(run, tmp_path / "tiny", task="t", license="CC0-1.0", manifests={"dev": trained.test})
    assert yaml.safe_load((packed.folder / "decoding.yaml").read_text()) == {**values, "lexicon": "words.txt"}
    assert [(score.decoding, score.data) for score in packed.about.scores] == [("beam", "dev"), ("greedy", "dev")]
    shutil.rmtree(run)
    (tmp_path / "words.txt").unlink()
    texts = [
        t.hypothesis.text
        for t in Recognizer.load(packed.folder).transcribe_all(read_manifest(trained.train))
        if t.hypothesis
    ]
    assert {word for text in texts for word in text.split()} <= {"ab", "cd", "abcd"}


def test_packing_again_replaces_and_other_folders_are_refused(packed: Packed, trained: Trained, tmp_path: Path) -> None:
    again = pack(trained.run, packed.folder, task="another", license="CC0-1.0")
    assert again.about.task == "another" and again.about.scores == () and again.about.low_confidence is None
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(CheckpointError, match="holds other files than those of a model"):
        pack(trained.run, tmp_path / "notes", task="t", license="l")
    with pytest.raises(CheckpointError):
        pack(tmp_path, tmp_path / "none", task="t", license="l")


def test_the_command(command: Command, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--out", tmp_path, "--task", "glyphs", "--license", "CC BY 4.0", "--language", "xx", "--data", "tests")
    ended = command("export", trained.run, "tiny", *options, "--score", f"dev={trained.train}", "--default")
    assert ended.code == 0, ended.err
    assert f"{tmp_path / 'tiny'}: 0.0 MB" in ended.out
    assert "dev, 24 examples, greedy: WER 0.00 %, CER 0.00 %" in ended.out
    monkeypatch.setenv("CTCREC_MODELS", str(tmp_path))
    listed = command("models").out
    for said in ("tiny (default)", "glyphs", "xx", "5 tokens: ␣abcd", "tests", "CC BY 4.0", "WER 0.00 %, CER 0.00 %"):
        assert said in listed
    row = next(json.loads(line) for line in command("models", "--format", "json").out.splitlines() if "tiny" in line)
    assert row["alphabet"] == [" ", "a", "b", "c", "d"] and row["bytes"] > 1000 and row["default"] is True


def test_mistakes_of_the_command(command: Command, trained: Trained, tmp_path: Path) -> None:
    options = ("--out", tmp_path, "--task", "t", "--license", "l")
    assert "small letters, digits" in command.fails("export", trained.run, "Tiny/../x", *options)
    assert "expected NAME=MANIFEST" in command.fails("export", trained.run, "tiny", *options, "--score", "dev")
    message = command.fails("export", trained.run, "tiny", *options, "--license-text", tmp_path / "none")
    assert "cannot be read as UTF-8" in message
