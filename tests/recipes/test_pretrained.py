"""What the recipe of the pretrained models does besides running commands: its text and its splits."""

from __future__ import annotations

import importlib.util
import lzma
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from ctcrec.config import DecodingConfig
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.evaluation import evaluate
from ctcrec.pretrained import find_model
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example

RECIPE = Path(__file__).resolve().parents[2] / "recipes/pretrained"
SAMPLES = Path(__file__).resolve().parents[2] / "samples/lines/test"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pretrained_{name}", RECIPE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize(
    ("plain", "printed"),
    [
        ('"Well," he said.', "“Well,” he said."),
        ("It's the boys' \"own\".", "It’s the boys’ “own”."),
        ("'Yes'--\"no--\"", "‘Yes’—“no—”"),
        ('("so")', "(“so”)"),
        ("plain", "plain"),
    ],
)
def test_quotes_and_dashes_are_set_as_in_print(plain: str, printed: str) -> None:
    assert module("typesetting").typeset(plain) == printed


def test_texts_are_repeated_for_several_fonts(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [Example("a", Path("a.png"), "one"), Example("b", Path("b.png"), "two")])
    out = module("typesetting").write_transcripts(tmp_path / "m.jsonl", tmp_path / "deep/text.txt", 2)
    assert out.read_text() == "one\ntwo\none\ntwo\n"


def test_language_model_learns_words_in_capitals_and_capitals_in_small(tmp_path: Path) -> None:
    write_manifest(
        tmp_path / "m.jsonl", [Example("a", Path("a.png"), "un été"), Example("b", Path("b.png"), "à PARIS le 3")]
    )
    out = module("typesetting").write_in_both_cases(tmp_path / "m.jsonl", tmp_path / "text.txt")
    assert out.read_text().splitlines() == ["un été", "à PARIS le 3", "UN ETE", "A PARIS LE 3", "à paris le 3"]


def test_signs_and_accents_get_into_the_book_text(tmp_path: Path) -> None:
    rows = [f"Row {number} of plain words, as novels have them, on and on." for number in range(400)]
    rows[7] = "The only façade of the book."
    with lzma.open(tmp_path / "books.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows))
    typesetting = module("typesetting")
    chosen = typesetting.write_book_text(tmp_path / "books.xz", tmp_path / "text.txt", 200).read_text()
    assert len(chosen.splitlines()) == 201 and "façade" in chosen
    changed = [row for row in chosen.splitlines() if row not in rows]
    assert 10 < len(changed) < 45
    assert len(set(chosen) & set("%+=/§£°½é")) > 4
    assert typesetting.write_book_text(tmp_path / "books.xz", tmp_path / "b.txt", 200).read_text() == chosen


def line(folder: Path, name: str) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 20), 255).save(path)
    path.with_suffix(".gt.txt").write_text("texte")


def test_pages_and_hands_are_held_out_whole(tmp_path: Path) -> None:
    for page in range(10):
        for number in range(3):
            line(tmp_path / "lines/peraire", f"D-{page}-carnet-{page:04}_{number:03}")
    for hand in "abc":
        line(tmp_path / "lines/mss19", f"{hand}/x")
    module("preparation").handwriting_fr(tmp_path, tmp_path / "out")
    splits = {
        name: read_manifest(tmp_path / f"out/{name}.jsonl") for name in ("train", "dev-peraire", "dev-mss19", "valid")
    }
    pages = {name: {example.extra.get("page") for example in examples} for name, examples in splits.items()}
    assert len(pages["dev-peraire"]) == 2 and not pages["train"] & pages["dev-peraire"]
    assert {e.writer for e in splits["dev-mss19"]}.isdisjoint({e.writer for e in splits["train"]})
    assert len(splits["train"]) == 8 * 3 + 2 and len(splits["dev-mss19"]) == 1 and len(splits["valid"]) == 7
    assert all(e.language == "fr" and e.extra["license"] == "CC BY 4.0" for e in splits["train"])
    assert all(e.id.startswith(("peraire/", "mss19/")) for e in splits["train"])


def test_words_of_lines_are_put_together_anew(tmp_path: Path) -> None:
    files = sorted(SAMPLES.glob("*/*.png"))[:12]
    examples = [
        Example(file.stem, file, file.with_suffix(".gt.txt").read_text().strip(), writer="w", extra={"page": page})
        for file, page in zip(files, "aabbccaabbcc", strict=True)
    ]
    write_manifest(tmp_path / "lines.jsonl", examples)
    recombination = module("recombination")
    manifest = recombination.recombine("print-de-fraktur", tmp_path / "lines.jsonl", tmp_path / "new")
    made = read_manifest(manifest)
    for page in "abc":
        before = [word for e in examples if e.extra["page"] == page for word in (e.text or "").split()]
        after = [word for e in made if e.extra["page"] == page for word in (e.text or "").split()]
        with_figures = Counter(word for word in before if any(sign.isdecimal() for sign in word))
        rewritten = Counter(after) - Counter(before)
        assert before != after[: len(before)] and not Counter(before) - Counter(after)
        assert rewritten.total() == len(after) - len(before) == 2 * with_figures.total()
        pattern = [re.sub(r"\d+", "0", word) for word in with_figures.elements()]
        assert Counter(re.sub(r"\d+", "0", word) for word in rewritten.elements()) == Counter(2 * pattern)
    widths = [Image.open(example.source).size for example in made]
    assert widths == [(example.width, 64) for example in made]
    report = evaluate(Recognizer.load(find_model("print-de-fraktur"), "cpu", DecodingConfig()), made).report
    assert report.cer < 0.1  # cut between words, not through them
    again = read_manifest(recombination.recombine("print-de-fraktur", tmp_path / "lines.jsonl", tmp_path / "again"))
    assert [example.text for example in again] == [example.text for example in made]


def test_words_are_written_anew_from_letters_that_do_not_touch() -> None:
    recombination = module("recombination")
    text, widths = "AB. 12 ab", {"A": 6, "B": 8, ".": 3, "1": 4, "2": 9, "a": 5, "b": 7, " ": 0}
    image = np.full((64, 100), 255, np.uint8)
    places, column = [], 4
    for letter in text:
        image[30 - widths[letter] : 30 + widths[letter], column : column + widths[letter]] = 0
        places.append((column + widths[letter] / 2) / 100)
        column += widths[letter] + (0 if letter == "a" else 3)  # a and b touch
    words = recombination._words(text, image, places)
    assert [[piece.text for piece in word.pieces] for word in words] == [["A", "B", "."], ["1", "2"], ["ab"]]
    assert np.array_equal(np.concatenate([word.pixels for word in words], axis=1), image)
    made = recombination._rewritten(words * 8, np.random.default_rng(0))
    texts = {word.text for word in made}
    assert texts > {"AB.", "12", "ab"} and texts <= {f"{a}{b}." for a in "AB" for b in "AB"} | {
        "11",
        "12",
        "21",
        "22",
        "ab",
    }
    assert len(made) == 8 * (3 + 3 + 1)
    for word in made:
        ink = (word.pixels == 0).sum()
        assert ink == sum(2 * widths[letter] ** 2 for letter in word.text)
