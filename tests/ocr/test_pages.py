"""Telling a page from a line, on real lines and on pages stacked of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from real import real_lines

from ctcrec.errors import MediaError
from ctcrec.ocr.media import load_line
from ctcrec.ocr.pages import count_text_rows, is_page
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example

if TYPE_CHECKING:
    from conftest import Trained

LINES = [load_line(example.source) for example in real_lines(60)]


def stacked(lines: list[np.ndarray], gap: int = 6, degrees: float = 0.0) -> np.ndarray:
    """The lines below each other, and turned."""
    paper = int(np.median(lines[0]))
    page = np.full((sum(len(line) + gap for line in lines), max(line.shape[1] for line in lines)), paper, np.uint8)
    top = 0
    for line in lines:
        page[top : top + len(line), : line.shape[1]] = line
        top += len(line) + gap
    return np.asarray(Image.fromarray(page).rotate(degrees, expand=True, fillcolor=paper))


def test_lines_are_no_pages() -> None:
    assert [index for index, line in enumerate(LINES) if is_page(line)] == []


@pytest.mark.parametrize("rows", [6, 12, 40])
@pytest.mark.parametrize("degrees", [0.0, 1.0])
def test_pages_are(rows: int, degrees: float) -> None:
    assert is_page(stacked(LINES[:rows], degrees=degrees))


def test_rows_are_counted() -> None:
    counts = [count_text_rows(stacked(LINES[first : first + 8])) for first in range(0, 40, 8)]
    assert all(6 <= count <= 10 for count in counts)


@pytest.mark.parametrize("shape", [(4, 4), (64, 40), (8, 3000), (900, 4)])
def test_any_image_has_an_answer(shape: tuple[int, int]) -> None:
    for image in (np.full(shape, 255, np.uint8), np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)):
        assert count_text_rows(image) >= 0


def test_a_page_is_refused_with_what_to_do(trained_models: dict[str, Trained], tmp_path: Path) -> None:
    recognizer = Recognizer.load(trained_models["ocr"].run, "cpu")
    path = tmp_path / "page.png"
    Image.fromarray(stacked(LINES[:12])).save(path)
    with pytest.raises(MediaError, match=r"page.png: shows several rows of text.*cut the lines out first"):
        recognizer.transcribe(path)
    [unknown, known] = recognizer.transcribe_all([Example("a", path), Example("b", path, "it has a text")])
    assert isinstance(unknown.error, MediaError) and unknown.hypothesis is None
    assert known.error is None and known.hypothesis is not None
