"""Images in memory give what their files give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.lines import draw_line
from PIL import Image

from ctcrec.errors import InputError
from ctcrec.ocr.media import load_line
from ctcrec.ocr.memory import line_of
from ctcrec.ocr.preprocessor import LinePreprocessor

LINE = draw_line(size=48)


@pytest.mark.parametrize(
    "given",
    [
        LINE,
        LINE[:, :, None],
        np.repeat(LINE[:, :, None], 3, axis=2),
        np.repeat(LINE[None], 3, axis=0),
        LINE[None],
        LINE.astype(np.float32) / 255,
        LINE.astype(np.float64),
        LINE.astype(np.int64),
        255 - LINE,
        Image.fromarray(LINE),
        Image.fromarray(LINE).convert("RGB"),
    ],
    ids=["hw", "hw1", "hwc", "chw", "1hw", "unit", "float", "int", "inverse", "pillow", "pillow-rgb"],
)
def test_every_form_is_the_same_line(given: Any) -> None:
    found = line_of(given)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), LINE, atol=1)


def test_files_and_memory_agree(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "RGBA", "P", "1"):
        image = Image.fromarray(LINE).convert(mode)
        image.save(tmp_path / "line.png")
        np.testing.assert_array_equal(line_of(image), load_line(tmp_path / "line.png"))


def test_deep_images_are_spread_as_files_are(tmp_path: Path) -> None:
    deep = LINE.astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "line.png")
    np.testing.assert_array_equal(line_of(deep), load_line(tmp_path / "line.png"))


def test_bool_is_ink_and_paper() -> None:
    assert set(np.unique(line_of(LINE > 128)).tolist()) == {0, 255}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((5, 6, 7), np.uint8), "shape"),
        (np.zeros((0, 6), np.uint8), "shape"),
        (np.zeros((2, 60), np.uint8), "2 pixels"),
        (np.full((20, 60), np.nan), "not finite"),
        (np.full((20, 60), "x"), "expected bool"),
    ],
)
def test_what_is_no_line_is_refused(given: np.ndarray, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        line_of(given)


def test_an_image_has_no_rate() -> None:
    with pytest.raises(InputError, match="sample rate belongs to audio"):
        LinePreprocessor().from_memory(LINE, 16000)
