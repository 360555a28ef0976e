"""Lines cut out of pages: exact where nothing is straightened, level where a baseline slants, bends or stands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles.lines import draw_line
from PIL import Image

from ctcrec.corpora.crops import Point, crop_line
from ctcrec.corpora.files import Unusable

LINE = Image.fromarray(draw_line("Handgloves & 42 quick foxes", paper=240))
CENTRE = (400.0, 300.0)


def page_with(line: Image.Image, angle: float = 0.0) -> Image.Image:
    """A page of gray 240 with `line` in its middle, turned by `angle` degrees clockwise about its centre."""
    page = Image.new("L", (800, 600), 240)
    page.paste(line, (int(CENTRE[0]) - line.width // 2, int(CENTRE[1]) - line.height // 2))
    return page.rotate(-angle, Image.Resampling.BICUBIC, fillcolor=240, center=CENTRE)


def turned(points: list[Point], angle: float) -> list[Point]:
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    moved = [(x - CENTRE[0], y - CENTRE[1]) for x, y in points]
    return [(CENTRE[0] + cosine * x - sine * y, CENTRE[1] + sine * x + cosine * y) for x, y in moved]


def box_of(line: Image.Image) -> list[Point]:
    left, top = CENTRE[0] - line.width // 2, CENTRE[1] - line.height // 2
    right, bottom = left + line.width - 1, top + line.height - 1
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def likeness(first: Image.Image, second: Image.Image) -> float:
    """Correlation of two images of about the same size, best over shifts of up to 2 pixels."""
    width, height = min(first.width, second.width) - 4, min(first.height, second.height) - 4
    inner = np.asarray(first, dtype=float)[2 : 2 + height, 2 : 2 + width].ravel()
    other = np.asarray(second, dtype=float)
    return max(
        float(np.corrcoef(inner, other[y : y + height, x : x + width].ravel())[0, 1])
        for x in range(5)
        for y in range(5)
        if x + width <= other.shape[1] and y + height <= other.shape[0]
    )


def test_a_box_is_cut_out_exactly() -> None:
    crop = crop_line(page_with(LINE), box_of(LINE))
    assert np.array_equal(np.asarray(crop), np.asarray(LINE))


def test_a_level_baseline_changes_nothing() -> None:
    middle = [(100.0, CENTRE[1]), (700.0, CENTRE[1])]
    crop = crop_line(page_with(LINE), box_of(LINE), middle)
    assert crop.size == LINE.size
    assert np.abs(np.asarray(crop, dtype=int) - np.asarray(LINE)).max() <= 1


@pytest.mark.parametrize("angle", [-30, -7, 3, 12, 45, 85, -90, 90])
def test_a_slanting_line_comes_out_level(angle: float) -> None:
    page = page_with(LINE, angle)
    ends = [(CENTRE[0] - LINE.width / 2, CENTRE[1] + 8), (CENTRE[0] + LINE.width / 2, CENTRE[1] + 8)]
    crop = crop_line(page, turned(box_of(LINE), angle), turned(ends, angle))
    assert abs(crop.width - LINE.width) <= 2 and abs(crop.height - LINE.height) <= 2
    assert likeness(LINE, crop) > 0.95


def test_a_baseline_from_right_to_left_is_turned_round() -> None:
    page, polygon = page_with(LINE, 5), turned(box_of(LINE), 5)
    ends = turned([(150.0, 310.0), (650.0, 310.0)], 5)
    forwards, backwards = (crop_line(page, polygon, points) for points in (ends, ends[::-1]))
    assert np.array_equal(np.asarray(forwards), np.asarray(backwards))


@pytest.mark.parametrize("side", [1, -1])
def test_a_bent_line_comes_out_level(side: int) -> None:
    """The line on an arc about a centre below it (side 1) or above it: a pixel of the page at the angle a and the
    distance r from the centre shows the line's pixel in column radius · a and in row side · (radius - r)."""
    radius, foot = 900.0, 30
    x0, y0 = CENTRE[0], CENTRE[1] + side * radius
    y, x = np.mgrid[0:600, 0:800]
    column = np.round(radius * np.arctan2(x - x0, side * (y0 - y)) + LINE.width / 2).astype(int)
    row = np.round(side * (radius - np.hypot(x - x0, y - y0)) + foot).astype(int)
    shown = (column >= 0) & (column < LINE.width) & (row >= 0) & (row < LINE.height)
    pixels = np.full((600, 800), 240, dtype=np.uint8)
    pixels[shown] = np.asarray(LINE)[row[shown], column[shown]]
    page = Image.fromarray(pixels)
    angles = (np.linspace(0, LINE.width, 20) - LINE.width / 2) / radius

    def on_row(number: float) -> list[Point]:
        reach = radius + side * (foot - number)
        return [(x0 + reach * math.sin(angle), y0 - side * reach * math.cos(angle)) for angle in angles]

    polygon = on_row(0) + on_row(LINE.height - 1)[::-1]
    crop = crop_line(page, polygon, on_row(foot))
    assert abs(crop.height - LINE.height) <= 3 and abs(crop.width - LINE.width) <= 15
    assert likeness(LINE.resize(crop.size), crop) > 0.8
    assert crop_line(page, polygon).height > crop.height + 15


def test_what_is_outside_of_the_polygon_becomes_paper() -> None:
    page = page_with(LINE)
    left, top, right, bottom = 200.0, 280.0, 600.0, 320.0
    page.paste(0, (500, 270, 620, 290))  # a neighbour's ink in the corner of the box
    polygon = [(left, top), (480.0, top), (480.0, 300.0), (right, 300.0), (right, bottom), (left, bottom)]
    pixels = np.asarray(crop_line(page, polygon))
    assert pixels.shape == (41, 401)
    assert (pixels[:19, 282:] == 240).all()
    assert pixels[:, :280].min() < 60


def test_light_ink_on_dark_paper() -> None:
    negative = Image.fromarray(255 - np.asarray(page_with(LINE)))
    middle = [(100.0, CENTRE[1]), (700.0, CENTRE[1])]
    for baseline in (None, middle):
        crop = np.asarray(crop_line(negative, box_of(LINE), baseline), dtype=int)
        assert np.abs(crop - np.asarray(crop_line(page_with(LINE), box_of(LINE), baseline))).max() <= 1


def test_a_polygon_that_reaches_beyond_the_page() -> None:
    crop = crop_line(
        page_with(LINE), [(-500.0, 250.0), (900.0, 250.0), (1e9, 350.0), (-1e9, 350.0)], [(0, 300), (1e9, 300)]
    )
    assert crop.width in (800, 801) and crop.height in (101, 102)
    assert likeness(page_with(LINE).crop((0, 250, 800, 350)), crop) > 0.95


@pytest.mark.parametrize(
    ("polygon", "baseline", "message"),
    [
        ([(10, 10), (20, 20)], None, "fewer than 3 points"),
        ([(10, 10)] * 5, None, "fewer than 3 points"),
        ([(-10, -10), (-20, -10), (-20, -30)], None, "fewer than 3 points"),
        ([(5, 1000), (300, 1000), (200, 2000)], None, "too few pixels"),
        ([(100, 100), (300, 100), (300, 150), (100, 150)], [(100, 120)], "fewer than 2 points"),
        ([(100, 100), (300, 100), (300, 150), (100, 150)], [(0, 0), (799, 599)] * 50, "turns back"),
        ([(100, 100), (300, 100), (300, 150), (100, 150)], [(100, 120), (300, 120), (100, 120)], "turns back"),
    ],
)
def test_refused(polygon: list[Point], baseline: list[Point] | None, message: str) -> None:
    with pytest.raises(Unusable, match=message):
        crop_line(page_with(LINE), polygon, baseline)
