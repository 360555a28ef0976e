"""Which model is meant by a name, by a modality, or by a language; and transcribing with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import ctcrec
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CheckpointError
from ctcrec.packing import pack
from ctcrec.pretrained import About, default_model, find_model, list_models, read_about, write_about

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


@pytest.fixture(scope="module")
def folder(trained_models: dict[str, Trained], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One packed model of each modality; the lines' is the default."""
    folder = tmp_path_factory.mktemp("models")
    for modality, trained in trained_models.items():
        options = {"task": "tests", "license": "CC0-1.0", "languages": ["xx"], "default": modality == "ocr"}
        pack(trained.run, folder / f"tiny-{modality}", manifests={"dev": trained.train}, **options)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No other models than those."""
    monkeypatch.setattr("ctcrec.pretrained.catalogue.__file__", str(folder / "nothing" / "catalogue.py"))
    monkeypatch.setenv("CTCREC_MODELS", str(folder))
    return folder


def about(modality: str, *languages: str, default: bool = False) -> About:
    return About(modality, "t", languages, ("d",), "l", 1, default)


def models(parent: Path, monkeypatch: pytest.MonkeyPatch, **known: About) -> None:
    """Folders that look like models."""
    monkeypatch.setattr("ctcrec.pretrained.catalogue.__file__", str(parent / "nothing" / "catalogue.py"))
    monkeypatch.setenv("CTCREC_MODELS", str(parent))
    for name, item in known.items():
        write_about(parent / name, item)
        (parent / name / "model.safetensors").touch()


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_and_directories(only: Path, trained: Trained, tmp_path: Path) -> None:
    assert list(list_models()) == ["tiny-ocr", "tiny-speech"]
    assert find_model("tiny-ocr") == only / "tiny-ocr"
    assert find_model(trained.run) == trained.run and find_model(str(trained.run)) == trained.run
    with pytest.raises(CheckpointError, match=r"tiny-orc: neither the name of a model \(there are: tiny-ocr, tiny-sp"):
        find_model("tiny-orc")


def test_folders_of_the_variable_go_first(only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_about(tmp_path / "tiny-ocr", about("ocr", "yy"))
    (tmp_path / "tiny-ocr" / "model.safetensors").touch()
    monkeypatch.setenv("CTCREC_MODELS", f"{tmp_path}:{only}")
    assert find_model("tiny-ocr") == tmp_path / "tiny-ocr"
    assert list_models()["tiny-ocr"].languages == ("yy",) and "tiny-speech" in list_models()


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models(
        tmp_path, monkeypatch, a=about("ocr", "en", default=True), b=about("ocr", "de"), c=about("ocr", "de", "fr"),
        d=about("speech", "en"),
    )  # fmt: skip
    assert default_model("ocr") == "a"
    assert default_model("ocr", "fr") == "c"
    assert default_model("speech") == "d"  # the only one
    with pytest.raises(CheckpointError, match="several models take images: b, c; choose one with --model"):
        default_model("ocr", "de")
    with pytest.raises(CheckpointError, match=r"no model for audio in fr comes with ctcrec \(there are: d for en\)"):
        default_model("speech", "fr")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "about.yaml").write_text("modality: ocr\nfont: none\n")
    with pytest.raises(CheckpointError, match="about.yaml: is no record of a model"):
        read_about(tmp_path)
    assert read_about(tmp_path / "none") is None


def test_python(only: Path, trained_models: dict[str, Trained]) -> None:
    example = read_manifest(trained_models["ocr"].train)[0]
    recognizer = ctcrec.load_model("tiny-ocr")
    image = Image.open(example.source)
    with example.source.open("rb") as stream:
        given = [example.source, str(example.source), image, np.asarray(image), stream, example.source.read_bytes()]
        assert {recognizer.transcribe(media).text for media in given} == {example.text}  # type: ignore[arg-type]


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_transcribe_takes_the_default_of_each_kind(
    only: Path, command: Command, trained_models: dict[str, Trained]
) -> None:
    line, sound = (read_manifest(trained_models[modality].train)[1] for modality in ("ocr", "speech"))
    ended = command("transcribe", line.source, sound.source, line.source)
    assert ended.code == 0
    texts = [text.rpartition("\t")[2] for text in ended.out.splitlines()]
    assert texts == [line.text, sound.text, line.text]
    said = [row for row in ended.err.splitlines() if "files are read by" in row]
    assert said == [
        "image files are read by tiny-ocr (tests, xx); --model NAME chooses",
        "audio files are read by tiny-speech (tests, xx); --model NAME chooses",
    ]
    for example in (line, sound):
        from_input = command("transcribe", "-", stdin=example.source.read_bytes())
        assert (from_input.code, from_input.out) == (0, f"{example.text}\n")


def test_transcribe_by_name_and_language(only: Path, command: Command, trained_models: dict[str, Trained]) -> None:
    example = read_manifest(trained_models["ocr"].train)[1]
    named = command("transcribe", example.source, "--model", "tiny-ocr", "--language", "xx")
    assert (named.code, named.out) == (0, f"{example.text}\n") and "read by" not in named.err
    fails = command.fails
    assert "tiny-ocr was made for xx; train a model" in fails(
        "transcribe", example.source, "--model", "tiny-ocr", "--language", "de"
    )
    assert "no model for images in de comes with ctcrec" in fails("transcribe", example.source, "--language", "de")
    assert "--run names the model" in fails("transcribe", example.source, "--run", only / "tiny-ocr", "--model", "x")
    assert "neither the name of a model" in fails("transcribe", example.source, "--model", "tiny")


def test_an_uncertain_text_is_remarked_on(only: Path, command: Command, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (16, 200), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    ended = command("transcribe", tmp_path / "noise.png", "--model", "tiny-ocr")
    assert "the text is uncertain" in ended.err and "made for tests in xx" in ended.err


def test_evaluate_tells_what_does_not_fit(
    only: Path, command: Command, trained_models: dict[str, Trained], tmp_path: Path
) -> None:
    manifest = trained_models["ocr"].test
    plain = command("evaluate", "tiny-ocr", manifest)
    assert plain.code == 0 and "cannot write" not in plain.err and "examples are in" not in plain.err
    rows = manifest.read_text().replace('"text": "', '"language": "yy", "text": "é')
    other = manifest.with_name("other.jsonl")
    other.write_text(rows)
    told = command("evaluate", "tiny-ocr", other).err
    assert "6 of 6 examples are in yy, and tiny-ocr was made for xx" in told
    assert "characters that the model cannot write, and the number of texts with each: 'é' (6)" in told


def test_no_models_at_all(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    models(tmp_path, monkeypatch)
    assert "no models come with this ctcrec" in command("models").out
    Image.new("L", (50, 20), 255).save(tmp_path / "x.png")
    assert "no model for images comes with ctcrec (there are: none)" in command.fails("transcribe", tmp_path / "x.png")
