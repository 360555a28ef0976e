"""A text line cut out of its page: masked by its polygon, and straightened along its baseline where it has one.

Along a baseline, a pixel has the coordinates (s, t): s is the length of the baseline up to its foot, t its distance
below (above: negative). The crop shows the rectangle of the (s, t) plane that the polygon covers, s to the right and t
downwards, so a slanting, curved or vertical line comes out level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ctcrec.corpora.files import Unusable
from ctcrec.ocr.media import MAX_PIXELS, MIN_SIDE, normalize_polarity

__all__ = ["Point", "crop_line"]

Point = tuple[float, float]
Points = npt.NDArray[np.float64]  # (P, 2), x and y in pixels, y downwards

_LONGEST_BASELINE = 3.0  # in half circumferences of the polygon's box; a longer one turns back on itself
_MARGIN = 2  # pixels around the polygon, for interpolation at its edge


def crop_line(page: Image.Image, polygon: Sequence[Point], baseline: Sequence[Point] | None = None) -> Image.Image:
    """The line as an image of mode L, dark ink on light paper.

    What is outside of the polygon gets the paper's gray level, the median inside of it. A baseline that runs from right
    to left is turned round: points in the wrong order are more usual than lines upside down.

    Args:
        page: of mode L.
        polygon: at least 3 points in pixels of the page; parts beyond the page are cut off.
        baseline: at least 2 points in the same pixels; None = the crop is the polygon's upright box.

    Raises:
        Unusable: the polygon shows nothing of the page, or the baseline is none.
    """
    outline = _clipped(polygon, page)
    if len(outline) < 3:
        raise Unusable("its polygon has fewer than 3 points")
    left, top = (np.floor(outline.min(axis=0)) - _MARGIN).astype(int).tolist()
    right, bottom = (np.floor(outline.max(axis=0)) + 1 + _MARGIN).astype(int).tolist()
    window = page.crop((left, top, right, bottom))
    mask = Image.new("L", window.size, 0)
    outline = outline - (left, top)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=255, outline=255)
    if baseline is None:
        box = (_MARGIN, _MARGIN, window.width - _MARGIN, window.height - _MARGIN)
        window, mask = window.crop(box), mask.crop(box)
    else:
        size, mesh = _mesh(outline, _clipped(baseline, page) - (left, top))
        window = window.transform(size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
        mask = mask.transform(size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    return _on_paper(np.asarray(window), np.asarray(mask) >= 128)


def _clipped(points: Sequence[Point], page: Image.Image) -> Points:
    """Points on the page, without those equal to the one before."""
    array = np.clip(np.asarray(points, dtype=np.float64).reshape(-1, 2), 0, (page.width - 1, page.height - 1))
    moved = np.ones(len(array), dtype=bool)
    moved[1:] = (np.diff(array, axis=0) != 0).any(axis=1)
    return array[moved]


def _on_paper(pixels: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> Image.Image:
    if min(pixels.shape) < MIN_SIDE or not inside.any():
        raise Unusable("its polygon shows too few pixels of the page to hold a line")
    paper = np.uint8(np.median(pixels[inside]))
    return Image.fromarray(normalize_polarity(np.where(inside, pixels, paper)))


def _mesh(
    outline: Points, baseline: Points
) -> tuple[tuple[int, int], list[tuple[tuple[int, int, int, int], tuple[float, ...]]]]:
    """Size of the crop, and strips of it with the quadrilateral of the page that each shows (Pillow's MESH)."""
    if len(baseline) < 2:
        raise Unusable("its baseline has fewer than 2 points")
    across, downwards = baseline[-1] - baseline[0]
    if across < -abs(downwards):
        baseline = baseline[::-1]
    steps = np.hypot(*np.diff(baseline, axis=0).T)
    length = float(steps.sum())
    if length > _LONGEST_BASELINE * (np.ptp(outline, axis=0).sum() + np.ptp(baseline, axis=0).sum()):
        raise Unusable("its baseline turns back on itself")
    height = max(8.0, _area(outline) / max(length, 1.0))
    path = _Path(baseline, np.concatenate([[0.0], np.cumsum(steps)]), step=height / 4, smoothing=height)
    along, below = path.coordinates(outline)
    width, rows = int(np.ceil(np.ptp(along))) + 1, int(np.ceil(np.ptp(below))) + 1
    if width * rows > MAX_PIXELS:
        raise Unusable("its polygon is far larger than a text line")
    edges = np.unique(np.append(np.arange(0, width, max(1, round(height / 4))), width))
    points, down = path.at(along.min() + edges)
    upper, lower = points + below.min() * down, points + (below.min() + rows) * down
    return (width, rows), [
        (
            (int(edges[k]), 0, int(edges[k + 1]), rows),
            tuple(float(value) for value in (*upper[k], *lower[k], *lower[k + 1], *upper[k + 1])),
        )
        for k in range(len(edges) - 1)
    ]


def _area(outline: Points) -> float:
    """Area of a polygon (shoelace formula)."""
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


class _Path:
    """A baseline as nodes at equal distances, with a smoothed direction at each.

    Args:
        points: (P, 2).
        lengths: (P,) length of the baseline up to each.
        step: about the distance of the nodes.
        smoothing: length over which directions are averaged, so that a corner bends the letters and does not cut them.
    """

    def __init__(self, points: Points, lengths: npt.NDArray[np.float64], step: float, smoothing: float) -> None:
        count = max(2, int(np.ceil(lengths[-1] / step)) + 1)
        self.s = np.linspace(0.0, lengths[-1], count)
        self.nodes = np.stack([np.interp(self.s, lengths, points[:, axis]) for axis in (0, 1)], axis=1)
        half = max(1, round(smoothing / (lengths[-1] / (count - 1))))
        index = np.arange(count)
        chords = self.nodes[np.minimum(index + half, count - 1)] - self.nodes[np.maximum(index - half, 0)]
        norms = np.hypot(*chords.T)[:, None]
        whole = self.nodes[-1] - self.nodes[0]
        if not norms.all() or not whole.any():
            raise Unusable("its baseline turns back on itself")
        self.direction = chords / norms
        self.down = np.stack([-self.direction[:, 1], self.direction[:, 0]], axis=1)

    def coordinates(self, points: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(s, t) of points, from the node that is nearest to each."""
        nearest = [int(((self.nodes - point) ** 2).sum(axis=1).argmin()) for point in points]
        away = points - self.nodes[nearest]
        return self.s[nearest] + (away * self.direction[nearest]).sum(axis=1), (away * self.down[nearest]).sum(axis=1)

    def at(self, s: npt.NDArray[np.float64]) -> tuple[Points, Points]:
        """Points of the path, continued straight beyond its ends, and the unit vectors down from it."""
        inside = np.clip(s, 0.0, self.s[-1])
        points, down, direction = (
            np.stack([np.interp(inside, self.s, values[:, axis]) for axis in (0, 1)], axis=1)
            for values in (self.nodes, self.down, self.direction)
        )
        return points + (s - inside)[:, None] * direction, down / np.hypot(*down.T)[:, None]
