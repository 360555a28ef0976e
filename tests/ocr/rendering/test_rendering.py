"""Drawn lines: their fonts, their text, their looks, and the folder they are written to."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ctcrec.corpora.pairs import prepare
from ctcrec.corpora.splits import by_fraction
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import DataError
from ctcrec.ocr.augmentation import LineAugmenter
from ctcrec.ocr.rendering.drawing import Page, draw_line
from ctcrec.ocr.rendering.fonts import Font, choose_font, find_fonts
from ctcrec.ocr.rendering.lines import break_lines
from ctcrec.ocr.rendering.render import SCAN, draw, render

if TYPE_CHECKING:
    from command import Command

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf"  # a font that comes with a dependency
CLEAN: dict[str, Any] = {}


def part_of(name: str, characters: str, out: Path) -> Path:
    """DejaVu with these characters alone."""
    options = subset.Options(notdef_outline=True, name_IDs=["*"])
    font = subset.load_font(DEJAVU / f"{name}.ttf", options)
    chosen = subset.Subsetter(options)
    chosen.populate(text=characters)
    chosen.subset(font)
    out.parent.mkdir(parents=True, exist_ok=True)
    font.save(out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sans with the letters a to d, and a serif with a to f."""
    folder = tmp_path_factory.mktemp("fonts")
    part_of("DejaVuSans", "abcd ", folder / "sans.ttf")
    part_of("DejaVuSerif", "abcdef ;-", folder / "deep" / "serif.ttf")
    return folder


@pytest.fixture(scope="module")
def fonts(folder: Path) -> list[Font]:
    return find_fonts(folder)


# ── fonts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fonts_are_found_with_their_characters(fonts: list[Font]) -> None:
    assert [font.name for font in fonts] == ["DejaVu-Serif-Book", "DejaVu-Sans-Book"]
    serif, sans = fonts
    assert sans.lacks("abed fg") == {"e", "f", "g"} and serif.lacks("bed fg") == {"g"}


def test_a_folder_without_fonts(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font at all")
    with pytest.raises(DataError, match="no fonts below it"):
        find_fonts(tmp_path)


def test_boxes_and_empty_glyphs_do_not_count_as_characters(tmp_path: Path) -> None:
    path = part_of("DejaVuSans", "abcd ", tmp_path / "font.ttf")
    with TTFont(path) as font:
        for table in font["cmap"].tables:
            table.cmap[ord("e")] = ".notdef"
            table.cmap[ord("f")] = "space"
        font.save(path)
    [read] = find_fonts(tmp_path)
    assert read.lacks("abcdef ") == {"e", "f"}


def test_a_line_goes_to_a_font_that_has_its_characters(fonts: list[Font]) -> None:
    chosen = [choose_font(fonts, "ace", np.random.default_rng(seed)) for seed in range(40)]
    assert {font.name for font, _ in chosen if font} == {"DejaVu-Serif-Book"}
    assert {refused for _, refused in chosen} == {0, 1}
    either = {font.name for font, _ in (choose_font(fonts, "abc", np.random.default_rng(s)) for s in range(40)) if font}
    assert len(either) == 2
    assert choose_font(fonts, "agc", np.random.default_rng(0)) == (None, 2)


def test_families_are_equally_likely_whatever_their_styles(tmp_path: Path) -> None:
    for style in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif"):
        part_of(style, "ab ", tmp_path / f"{style}.ttf")
    fonts = find_fonts(tmp_path)
    assert len(fonts) == 4
    families = [choose_font(fonts, "ab", np.random.default_rng(seed))[0] for seed in range(300)]
    serif = sum(font is not None and "Serif" in font.family for font in families)
    assert 110 < serif < 190


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(st.sampled_from("abcdefgh .,"), max_size=300), st.integers(0, 5))
def test_broken_lines_are_the_text_again(text: str, seed: int) -> None:
    lines = list(break_lines([text], (8, 20), "=", np.random.default_rng(seed)))
    joined = " ".join(lines).replace("= ", "")
    assert joined == " ".join(text.split())
    assert all(len(line) <= 20 or " " not in line for line in lines)
    assert all(line == line.strip() and line for line in lines)


def test_words_are_broken_only_with_a_hyphen_and_within() -> None:
    text = "together " * 400
    lines = list(break_lines([text], (10, 30), "-", np.random.default_rng(0)))
    ends = [line.split()[-1] for line in lines if line.endswith("-")]
    assert 0.1 < len(ends) / len(lines) < 0.5
    assert all(3 <= len(end) <= 7 for end in ends)  # two letters at least on either side
    assert not any("-" in line for line in break_lines([text], (10, 30), "", np.random.default_rng(0)))


# ── looks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_dark_on_light_and_cut_out_with_a_margin(fonts: list[Font]) -> None:
    page = Page(margin=(0.1, 0.1), ink=(20, 21), paper=(240, 241), space=(1.0, 1.0))
    image = draw_line("abcd", fonts[1], 40, page, np.random.default_rng(0))
    assert image.dtype == np.uint8 and image.max() == 240 and image.min() == 20
    rows, columns = np.nonzero((image < 130).any(1))[0], np.nonzero((image < 130).any(0))[0]
    assert [rows[0], image.shape[0] - 1 - rows[-1]] == pytest.approx([4, 4], abs=1)
    assert [columns[0], image.shape[1] - 1 - columns[-1]] == pytest.approx([8, 8], abs=1)
    assert image.shape[1] == pytest.approx(fonts[1].face(40).getlength("abcd") + 16, abs=8)


def test_resolution_and_spaces_are_drawn_from_their_ranges(fonts: list[Font]) -> None:
    page = Page(dpi=(100, 400), points=(10, 10))
    sizes = [page.draw_size(np.random.default_rng(seed)) for seed in range(300)]
    assert all(100 <= dpi <= 400 and abs(size - 10 * dpi / 72) <= 1 for dpi, size in sizes)
    assert 0.4 < np.mean([dpi < 200 for dpi, _ in sizes]) < 0.6  # evenly in octaves
    widths = {
        space: draw_line(
            "ab cd", fonts[1], 40, Page(space=(space, space), margin=(0, 0)), np.random.default_rng(0)
        ).shape[1]
        for space in (1.0, 2.0)
    }
    assert widths[2.0] - widths[1.0] == pytest.approx(fonts[1].face(40).getlength(" "), abs=2)


def test_small_type_is_drawn_large_and_reduced(fonts: list[Font]) -> None:
    small = draw_line("abcd", fonts[1], 12, Page(margin=(0, 0)), np.random.default_rng(0))
    assert 8 <= small.shape[0] <= 13
    assert len(np.unique(small)) > 20  # soft edges, as optics make them


def test_degradation_is_that_of_training(fonts: list[Font]) -> None:
    page = Page(ink=(0, 1), paper=(254, 255))
    plain, _ = draw("abcd", tuple(fonts), LineAugmenter(), page, np.random.default_rng(5))
    changed, _ = draw("abcd", tuple(fonts), LineAugmenter(binary_probability=1.0), page, np.random.default_rng(5))
    assert plain is not None and changed is not None
    assert set(np.unique(changed.image).tolist()) == {0, 255}
    assert len(np.unique(plain.image)) > 10
    assert LineAugmenter(**SCAN).binary_probability == SCAN["binary_probability"]


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_lines_do_not_depend_on_the_number_of_processes(fonts: list[Font], tmp_path: Path) -> None:
    texts = ["abc abd", "cab fab", "abc; def", "bad", "aged"]
    for name, processes, seed in (("one", 1, 1), ("two", 2, 1), ("other", 1, 2)):
        rows, counts = render(texts, fonts, tmp_path / name, processes=processes, seed=seed)
        assert [row["text"] for row in rows] == texts[:4]
        assert (counts.lines, counts.left_out, counts.missing) == (4, 1, {"g": 1})
        assert sum(counts.fonts.values()) == 4
    assert written(tmp_path / "one") == written(tmp_path / "two") != written(tmp_path / "other")
    assert len(written(tmp_path / "one")) == 8


def test_lines_that_needed_another_font_are_counted(fonts: list[Font], tmp_path: Path) -> None:
    rows, counts = render(["face"] * 20, fonts, tmp_path, processes=1, degradation=CLEAN)
    assert {row["writer"] for row in rows} == {"DejaVu-Serif-Book"}
    assert 2 <= counts.elsewhere <= 18 and counts.left_out == 0


def test_no_more_text_is_read_than_is_drawn(fonts: list[Font], tmp_path: Path) -> None:
    taken = itertools.count()
    texts = (f"ab {'abc'[next(taken) % 3]}" for _ in itertools.repeat(None))  # never ends
    rows, _ = render(texts, fonts, tmp_path, processes=1, degradation=CLEAN)
    assert len(list(itertools.islice(rows, 3))) == 3
    assert next(taken) <= 257


def test_a_folder_that_cannot_be_written(fonts: list[Font], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rows, _ = render(["ab"], fonts, tmp_path / "file", processes=1)
    with pytest.raises(DataError, match="cannot be written"):
        list(rows)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("abba dada cafe decade;\nzig fade\n" * 5)
    return path


def test_the_command_writes_pairs_and_a_manifest(command: Command, folder: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--lines", 12, "--characters", 4, 12, "--language", "xx", "--processes", 1)
    ended = command("render", text, "--fonts", folder, "--out", out, *options)
    assert ended.code == 0, ended.err
    examples = read_manifest(out / "lines.jsonl")
    assert f"{len(examples)} lines in" in ended.out and "went to another font" in ended.out
    assert "characters that no font has: " in ended.out and "'z'" in ended.out
    pairs = {example.id: example for example in prepare(out, by_fraction({"all": 1.0})).splits["all"]}
    assert pairs.keys() == {example.id for example in examples}
    for example in examples:
        found = pairs[example.id]
        assert (found.text, found.writer, found.width) == (example.text, example.writer, example.width)
        assert example.language == "xx" and 100 <= example.extra["dpi"] <= 600
        assert len(example.text or "") <= 12
        assert Image.open(example.source).size == (example.width, example.height)


def test_the_command_changes_the_degradation(command: Command, folder: Path, text: Path, tmp_path: Path) -> None:
    def modes(name: str, *settings: str) -> set[str]:
        options = [word for setting in settings for word in ("--set", setting)]
        command("render", text, "--fonts", folder, "--out", tmp_path / name, "--lines", 6, "--processes", 1, *options)
        return {Image.open(path).mode for path in (tmp_path / name).rglob("*.png")}

    assert modes("binary", "binary_probability=1") == {"1"}
    assert modes("gray", "binary_probability=0", "jpeg_probability=0") == {"L"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--set", "blur_sigm=2"), "blur_sigm: unknown key; did you mean blur_sigma?"),
        (("--set", "blur_probability=0", "--set", "blur_sigma=2"), "blur_sigma: no effect without blur_probability"),
        (("--set", "time_masks=2"), "masks are made in training"),
        (("--dpi", "600", "100"), "--dpi 600 100: the first must not be more"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, folder: Path, text: Path, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    assert expected in command.fails("render", text, "--fonts", folder, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_read(command: Command, folder: Path, text: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "no fonts below it" in command.fails("render", text, "--fonts", tmp_path, *out)
    assert "cannot be read" in command.fails("render", tmp_path / "none.txt", "--fonts", folder, *out)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in command.fails("render", tmp_path / "bad.txt", "--fonts", folder, *out)
