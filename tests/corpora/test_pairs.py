"""Folders of pairs: what is found, where it goes, and what is left out and why."""

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from oracles.lines import draw_line
from PIL import Image

from ctcrec.corpora import Prepared
from ctcrec.corpora.pairs import ENDINGS, prepare
from ctcrec.corpora.splits import by_fraction, by_list, by_top_folder
from ctcrec.errors import CorpusError

ALL = by_fraction({"train": 1.0})
LINE = Image.fromarray(draw_line("ab"))


def add_line(path: Path, text: str | None = "ab", gt: str = ".gt.txt") -> None:
    """An image, and its text beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    LINE.save(path)
    if text is not None:
        stem = path.name.split(".")[0]
        path.with_name(stem + gt).write_text(text, encoding="utf-8")


def add_utterance(path: Path, text: str | None = "hello", seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(int(8000 * seconds)) / 5) * 0.3, 8000)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def reasons(prepared: Prepared) -> dict[str, str]:
    return {item.what: item.reason for item in prepared.left_out}


def test_flat_folder_of_lines(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.tif", "D.TIFF"):
        add_line(tmp_path / name, f"text {name}\n")
    prepared = prepare(tmp_path, ALL)
    examples = prepared.splits["train"]
    assert [example.id for example in examples] == ["D", "a", "b", "c"]
    assert [example.text for example in examples][1:] == ["text a.jpg", "text b.png", "text c.tif"]
    assert {(example.width, example.height, example.writer, example.duration) for example in examples} == {
        (*LINE.size, None, None)
    }
    assert examples[1].source == tmp_path / "a.jpg"
    assert not prepared.left_out


def test_first_sub_folder_is_the_writer(tmp_path: Path) -> None:
    add_line(tmp_path / "anna" / "1.png")
    add_line(tmp_path / "bert" / "page2" / "1.png")
    add_line(tmp_path / "1.png")
    examples = prepare(tmp_path, ALL).splits["train"]
    assert [(example.id, example.writer) for example in examples] == [
        ("1", None),
        ("anna/1", "anna"),
        ("bert/page2/1", "bert"),
    ]


def test_utterances(tmp_path: Path) -> None:
    add_utterance(tmp_path / "eva" / "one.wav", "\ufeffhello\nworld\n", seconds=0.75)
    add_utterance(tmp_path / "eva" / "two.flac")
    add_utterance(tmp_path / "max" / "three.ogg")
    examples = prepare(tmp_path, ALL).splits["train"]
    assert [(example.id, example.speaker, example.text) for example in examples] == [
        ("eva/one", "eva", "hello world"),
        ("eva/two", "eva", "hello"),
        ("max/three", "max", "hello"),
    ]
    assert examples[0].duration == pytest.approx(0.75)
    assert examples[0].width is None and examples[0].writer is None


def test_ocropus_names(tmp_path: Path) -> None:
    add_line(tmp_path / "0001" / "010001.bin.png")
    add_line(tmp_path / "0001" / "010001.nrm.png", None)
    add_line(tmp_path / "0001" / "010002.bin.png")
    add_line(tmp_path / "0001" / "010003.png")
    add_line(tmp_path / "0001" / "010003.bin.png", None)
    prepared = prepare(tmp_path, ALL)
    assert [example.source.name for example in prepared.splits["train"]] == [
        "010001.nrm.png",
        "010002.bin.png",
        "010003.png",
    ]
    assert reasons(prepared) == {
        "0001/010001.bin.png": "is a second image for the same text",
        "0001/010003.bin.png": "is a second image for the same text",
    }


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    add_line(tmp_path / "good.png")
    add_line(tmp_path / "silent.png", None)
    add_line(tmp_path / "empty.png", " \n")
    add_line(tmp_path / "double.png", "one\ntwo")
    add_line(tmp_path / "latin.png", None)
    (tmp_path / "latin.gt.txt").write_bytes("Größe".encode("latin-1"))
    (tmp_path / "alone.gt.txt").write_text("nothing to see")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "broken.gt.txt").write_text("x")
    add_line(tmp_path / "folder.png")
    (tmp_path / "folder.gt.txt").unlink()
    (tmp_path / "folder.gt.txt").symlink_to(tmp_path / "gone")
    add_line(tmp_path / ".hidden.png")
    add_line(tmp_path / ".cache" / "x.png")
    (tmp_path / "notes.md").write_text("not part of it")
    (tmp_path / "good.pred.txt").write_text("a prediction")
    prepared = prepare(tmp_path, ALL)
    assert [example.id for example in prepared.splits["train"]] == ["good"]
    assert reasons(prepared) == {
        "alone": "has a text and no image",
        "broken": "is not an image that can be read; expected PNG, JPEG, TIFF, BMP, GIF, WebP or PNM",
        "double": "its text has more than one line",
        "empty": "its text is empty",
        "folder": "its text cannot be read: No such file or directory",
        "latin": "its text is not UTF-8",
        "silent": "has no text (.gt.txt)",
    }


@pytest.mark.parametrize("linked", ["x.wav", "x.txt"])
def test_links_out_of_the_folder(tmp_path: Path, linked: str) -> None:
    """A folder from somewhere cannot put other files of the user's into a manifest."""
    add_utterance(tmp_path / "private/x.wav", "secret")
    add_utterance(tmp_path / "corpus/x.wav")
    add_utterance(tmp_path / "corpus/store/y.wav")
    (tmp_path / "corpus" / linked).unlink()
    (tmp_path / "corpus" / linked).symlink_to(tmp_path / "private" / linked)
    (tmp_path / "corpus/z.wav").symlink_to("store/y.wav")
    (tmp_path / "corpus/z.txt").symlink_to("store/y.txt")
    (tmp_path / "corpus/folder").symlink_to(tmp_path / "private")
    prepared = prepare(tmp_path / "corpus", ALL)
    assert [example.id for example in prepared.splits["train"]] == ["store/y", "z"]
    assert "leads out of" in reasons(prepared)["x"] and "--media" in reasons(prepared)["x"]
    allowed = prepare(tmp_path / "corpus", ALL, media=tmp_path / "private")
    assert [example.id for example in allowed.splits["train"]] == ["store/y", "x", "z"]


def test_unreadable_audio_is_left_out(tmp_path: Path) -> None:
    add_utterance(tmp_path / "good.wav")
    add_utterance(tmp_path / "bad.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (tmp_path / "readme.txt").write_text("about this folder")
    prepared = prepare(tmp_path, ALL)
    assert [example.id for example in prepared.splits["train"]] == ["good"]
    assert set(reasons(prepared)) == {"bad", "readme"}
    assert str(tmp_path) not in reasons(prepared)["bad"]


def test_examples_in_no_split_are_left_out(tmp_path: Path) -> None:
    add_line(tmp_path / "train" / "1.png")
    add_line(tmp_path / "2.png")
    prepared = prepare(tmp_path, by_top_folder())
    assert {name: [example.id for example in found] for name, found in prepared.splits.items()} == {
        "train": ["train/1"]
    }
    assert reasons(prepared) == {"2": "is in no split"}


def test_top_folders_do_not_count_as_writers(tmp_path: Path) -> None:
    add_line(tmp_path / "train" / "anna" / "1.png")
    add_line(tmp_path / "test" / "2.png")
    prepared = prepare(tmp_path, by_top_folder())
    assert prepared.splits["train"][0].writer == "anna"
    assert prepared.splits["test"][0].writer is None


def test_lists_name_files_or_ids(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.nrm.png", "a/3.png"):
        add_line(tmp_path / "corpus" / name)
    (tmp_path / "train.txt").write_text("a/1.png\na/2.nrm.png\n")
    (tmp_path / "test.txt").write_text("a/9\n")
    split = by_list({"train": tmp_path / "train.txt", "test": tmp_path / "test.txt"}, ENDINGS)
    prepared = prepare(tmp_path / "corpus", split)
    assert [example.id for example in prepared.splits["train"]] == ["a/1", "a/2"]
    assert list(prepared.splits["test"]) == []
    assert reasons(prepared) == {"a/3": "is in no split", "a/9": f"is named in {tmp_path / 'test.txt'} and not there"}


def test_splits_do_not_depend_on_order_or_on_what_else_is_there(tmp_path: Path) -> None:
    names = [f"{book}/{number}.png" for book in "abc" for number in range(12)]
    split = by_fraction({"train": 0.6, "test": 0.4})
    made = {}
    for seed in range(2):
        order = names[seed * 5 :]
        random.Random(seed).shuffle(order)
        for name in order:
            add_line(tmp_path / str(seed) / name)
        prepared = prepare(tmp_path / str(seed), split)
        made[seed] = {example.id: name for name, found in prepared.splits.items() for example in found}
    assert len(made[0]) == 36 and set(made[0].values()) == {"train", "test"}
    assert made[1].items() <= made[0].items()


def test_both_kinds_need_a_choice(tmp_path: Path) -> None:
    add_line(tmp_path / "a.png")
    add_utterance(tmp_path / "b.wav")
    with pytest.raises(CorpusError, match="1 lines and 1 utterances; choose one with --kind"):
        prepare(tmp_path, ALL)
    assert [example.id for example in prepare(tmp_path, ALL, "lines").splits["train"]] == ["a"]
    assert [example.id for example in prepare(tmp_path, ALL, "utterances").splits["train"]] == ["b"]


def test_kind_is_that_of_the_pairs(tmp_path: Path) -> None:
    add_line(tmp_path / "cover.png", None)
    add_utterance(tmp_path / "b.wav")
    assert [example.id for example in prepare(tmp_path, ALL).splits["train"]] == ["b"]


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        prepare(tmp_path / "none", ALL)
    with pytest.raises(CorpusError, match=r"no media in it; expected x\.png"):
        prepare(tmp_path, ALL)
    add_line(tmp_path / "a.png")
    with pytest.raises(CorpusError, match="no audio files below it"):
        prepare(tmp_path, ALL, "utterances")
