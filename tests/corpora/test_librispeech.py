"""LibriSpeech trees: every utterance found, and what is missing or broken left out with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ctcrec.corpora import librispeech, write_prepared
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError

SPEAKERS = """; comment
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | dev-clean        | 25.03 | Kristin LeMoine
60   | M | train-clean-100  | 20.18 | |CBW|Simon
"""


def add_chapter(root: Path, subset: str, speaker: str, chapter: str, texts: list[str], ending: str = ".flac") -> Path:
    folder = root / subset / speaker / chapter
    folder.mkdir(parents=True)
    rows = []
    for number, text in enumerate(texts):
        identifier = f"{speaker}-{chapter}-{number:04d}"
        options = {"format": "OGG", "subtype": "OPUS"} if ending == ".opus" else {}
        wave = np.random.default_rng(number).standard_normal(1600 * (number + 1)) * 0.1
        soundfile.write(folder / f"{identifier}{ending}", wave, 16000, **options)
        rows.append(f"{identifier} {text}\n")
    (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    add_chapter(root, "dev-clean", "14", "208", ["HELLO WORLD", "IT'S"])
    add_chapter(root, "train-clean-100", "60", "121082", ["A B"], ending=".opus")
    add_chapter(root, "train-clean-100", "7", "9", ["C", "D D"], ending=".wav")
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    return root


def test_the_real_layout(tree: Path) -> None:
    prepared = librispeech.prepare(tree)
    assert list(prepared.splits) == ["dev-clean", "train-clean-100"]
    assert not prepared.left_out
    first = prepared.splits["dev-clean"][0]
    assert (first.id, first.text, first.speaker, first.duration) == ("14-208-0000", "HELLO WORLD", "14", 0.1)
    assert first.extra == {"chapter": "208", "sex": "F"}
    train = prepared.splits["train-clean-100"]
    assert [example.id for example in train] == ["60-121082-0000", "7-9-0000", "7-9-0001"]
    assert [example.source.suffix for example in train] == [".opus", ".wav", ".wav"]
    assert [dict(example.extra).get("sex") for example in train] == ["M", None, None]


def test_the_folder_above_and_chosen_subsets(tree: Path) -> None:
    prepared = librispeech.prepare(tree.parent, ["dev-clean"])
    assert list(prepared.splits) == ["dev-clean"]
    assert len(prepared.splits["dev-clean"]) == 2


def test_manifests_come_back(tree: Path, tmp_path: Path) -> None:
    prepared = librispeech.prepare(tree)
    write_prepared(prepared, tmp_path / "out", say=lambda line: None)
    back = read_manifest(tmp_path / "out" / "train-clean-100.jsonl", require_text=True)
    assert [(e.id, e.text, e.duration) for e in back] == [
        (e.id, e.text, e.duration) for e in prepared.splits["train-clean-100"]
    ]
    assert all(example.source.is_file() for example in back)


def test_without_speakers_txt(tree: Path) -> None:
    (tree / "SPEAKERS.TXT").unlink()
    assert librispeech.prepare(tree).splits["dev-clean"][0].extra == {"chapter": "208"}


def test_flac_is_taken_where_there_are_two(tree: Path) -> None:
    folder = tree / "dev-clean" / "14" / "208"
    soundfile.write(folder / "14-208-0000.wav", np.zeros(16000), 16000)
    assert librispeech.prepare(tree).splits["dev-clean"][0].source.suffix == ".flac"


def test_left_out_and_why(tree: Path) -> None:
    folder = tree / "dev-clean" / "14" / "208"
    with (folder / "14-208.trans.txt").open("a") as file:
        file.write("14-208-0002 NO AUDIO\n14-208-0003\n14-208-0004 EMPTY FILE\n14-208-0005 TEXT FILE\nsome words\n\n")
    soundfile.write(folder / "14-208-0003.flac", np.zeros(1600), 16000)
    (folder / "14-208-0004.flac").touch()
    (folder / "14-208-0005.flac").write_text("hello hello hello")
    soundfile.write(folder / "14-208-0009.flac", np.zeros(1600), 16000)
    prepared = librispeech.prepare(tree, ["dev-clean"])
    assert [example.id for example in prepared.splits["dev-clean"]] == ["14-208-0000", "14-208-0001"]
    reasons = {item.what: item.reason for item in prepared.left_out}
    row = reasons.pop(f"{folder / '14-208.trans.txt'}:7")
    assert "does not start with <speaker>-<chapter>-" in row
    assert set(reasons) == {f"14-208-000{number}" for number in (2, 3, 4, 5, 9)}
    assert "no audio (.flac, .opus, .wav)" in reasons["14-208-0002"]
    assert "empty transcript" in reasons["14-208-0003"]
    assert reasons["14-208-0004"].startswith("is empty (0 bytes)")  # the path is not repeated: reasons are counted
    assert reasons["14-208-0005"].startswith("is no audio")
    assert "no transcript" in reasons["14-208-0009"]


def test_a_chapter_without_transcripts_is_left_out(tree: Path) -> None:
    (tree / "dev-clean" / "14" / "208" / "14-208.trans.txt").unlink()
    add_chapter(tree, "dev-clean", "15", "1", ["X"])
    prepared = librispeech.prepare(tree, ["dev-clean"])
    assert [example.id for example in prepared.splits["dev-clean"]] == ["15-1-0000"]
    assert [item.what for item in prepared.left_out] == ["14-208-0000", "14-208-0001"]


def test_links_out_of_the_tree(tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    add_chapter(elsewhere, "dev-clean", "15", "1", ["SECRET"])
    (tree / "dev-clean/15").symlink_to(elsewhere / "dev-clean/15")
    audio = tree / "dev-clean/14/208/14-208-0000.flac"
    audio.unlink()
    audio.symlink_to(elsewhere / "dev-clean/15/1/15-1-0000.flac")
    prepared = librispeech.prepare(tree, ["dev-clean"])
    assert [example.id for example in prepared.splits["dev-clean"]] == ["14-208-0001"]
    reasons = {item.what: item.reason for item in prepared.left_out}
    assert all("leads out of" in reasons[f"15-1{ending}"] for ending in (".trans.txt", "-0000.flac"))
    assert "name their folder with --media" in reasons["14-208-0000.flac"]
    assert len(librispeech.prepare(tree, ["dev-clean"], elsewhere).splits["dev-clean"]) == 3


def test_wrong_trees(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder; .*--download"):
        librispeech.prepare(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"empty: no <subset>/<speaker>/<chapter>/\*\.trans\.txt"):
        librispeech.prepare(tmp_path / "empty")
    with pytest.raises(CorpusError, match="'dev-other' is not there; there are dev-clean, train-clean-100"):
        librispeech.prepare(tree, ["dev-other"])


def test_malformed_text_files(tree: Path) -> None:
    transcripts = tree / "dev-clean" / "14" / "208" / "14-208.trans.txt"
    good = transcripts.read_text()
    transcripts.write_text(good + "14-208-0001 AGAIN\n")
    with pytest.raises(CorpusError, match=r"14-208\.trans\.txt:3: 14-208-0001 has a second transcript"):
        librispeech.prepare(tree)
    transcripts.write_bytes(good.encode() + b"14-208-0002 \xff\xfe\n")
    with pytest.raises(CorpusError, match=r"14-208\.trans\.txt:3: is not UTF-8"):
        librispeech.prepare(tree)
    transcripts.write_text(good)
    (tree / "SPEAKERS.TXT").write_text(SPEAKERS + "99 F dev-clean\n")
    with pytest.raises(CorpusError, match=r"SPEAKERS\.TXT:5: expected ID \| SEX"):
        librispeech.prepare(tree)


# --- download; torchaudio's own fetching is replaced ---


class FakeLibriSpeech:
    calls: list[dict[str, Any]] = []
    error: Exception | None = None

    def __init__(self, root: str, **options: Any) -> None:
        FakeLibriSpeech.calls.append({"root": root, **options})
        if FakeLibriSpeech.error:
            raise FakeLibriSpeech.error
        add_chapter(Path(root) / options["folder_in_archive"], options["url"], "14", "208", ["HELLO"])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeLibriSpeech]:
    import torchaudio.datasets

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", FakeLibriSpeech)
    monkeypatch.setattr(FakeLibriSpeech, "calls", [])
    monkeypatch.setattr(FakeLibriSpeech, "error", None)
    return FakeLibriSpeech


def test_the_real_class_takes_our_arguments() -> None:
    import inspect

    from torchaudio.datasets import LIBRISPEECH

    signature = inspect.signature(LIBRISPEECH)
    signature.bind("data", url="dev-clean", folder_in_archive="LibriSpeech", download=True)


def test_download(tmp_path: Path, fake: type[FakeLibriSpeech]) -> None:
    root = librispeech.download("dev-clean", tmp_path / "data")
    assert root == tmp_path / "data" / "LibriSpeech"
    (call,) = fake.calls
    assert (call["root"], call["url"], call["download"]) == (str(tmp_path / "data"), "dev-clean", True)
    assert [example.text for example in librispeech.prepare(root).splits["dev-clean"]] == ["HELLO"]


def test_download_of_an_unknown_subset(tmp_path: Path, fake: type[FakeLibriSpeech]) -> None:
    with pytest.raises(CorpusError, match="train-clean-200: LibriSpeech has no such subset; choose one of dev-clean"):
        librispeech.download("train-clean-200", tmp_path)
    assert not fake.calls


@pytest.mark.parametrize(
    "error", [OSError("no network"), RuntimeError("The hash of x.tar.gz does not match"), EOFError("tar cut short")]
)
def test_failed_download(tmp_path: Path, fake: type[FakeLibriSpeech], error: Exception) -> None:
    fake.error = error
    with pytest.raises(CorpusError, match=f"{error}; check the network .*openslr"):
        librispeech.download("dev-clean", tmp_path)
