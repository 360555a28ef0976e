"""ALTO XML (Library of Congress), versions 1 to 4, as OCR engines, libraries and eScriptorium write it.
https://www.loc.gov/standards/alto/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ctcrec.corpora.crops import Point
from ctcrec.corpora.files import Unusable
from ctcrec.corpora.markup import children, local_name, namespace_of, read_xml
from ctcrec.corpora.pages import Page, PageLine, parse_points, prepare_pages
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["parse", "prepare"]

# Version 1 had the namespace of the company that made it, or none
_NAMESPACE = re.compile(r"(https?://www\.loc\.gov/standards/alto/ns-v\d#|https?://schema\.ccs-gmbh\.com/ALTO)?")
_UNITS = ("pixel", "mm10", "inch1200")


def prepare(source: Path, out: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """Lines of ALTO files; see `ctcrec.corpora.pages.prepare_pages`."""
    return prepare_pages(source, out, parse, media, done)


def parse(path: Path) -> Page:
    """A page: blocks or lines in the order of `ReadingOrder` (since 4.3), else following `IDNEXT`, else as in the file.

    Polygons are those of `Shape`, else the line's box. `BASELINE` may be a height (before version 4.1) or points.

    Raises:
        CorpusError: the file is no ALTO, or not of one page.
    """
    root = read_xml(path)
    if local_name(root).lower() != "alto" or _NAMESPACE.fullmatch(namespace_of(root)) is None:
        raise CorpusError(
            f"{path}: is no ALTO: expected <alto> of a namespace like http://www.loc.gov/standards/alto/ns-v4#, found"
            f" <{local_name(root)}> of {namespace_of(root)[:80] or 'no namespace'}"
        )
    pages = [page for layout in children(root, "Layout") for page in children(layout, "Page")]
    if len(pages) != 1:
        raise CorpusError(f"{path}: has {len(pages)} pages, expected one; write each to a file of its own")
    unit = next((_content(item) for item in root.iter() if local_name(item) == "MeasurementUnit"), "") or "pixel"
    if unit not in _UNITS:
        raise CorpusError(f"{path}: measures in {unit[:20]!r}; expected one of {', '.join(_UNITS)}")
    lines: list[PageLine] = []
    left_out: list[tuple[str, str]] = []
    for number, element in enumerate(_ordered_lines(root, pages[0]), start=1):
        identifier = element.get("ID") or f"line{number}"
        try:
            lines.append(_line(element, identifier))
        except Unusable as reason:
            left_out.append((identifier, str(reason)))
    image = next((_content(item) for item in root.iter() if local_name(item) == "fileName"), "")
    return Page(image, _size(pages[0]), unit == "pixel", lines, left_out)


def _content(element: _Element) -> str:
    return "".join(element.itertext()).strip()


def _number(element: _Element, name: str) -> float | None:
    """A finite number of an attribute, None where it is missing or none."""
    value = element.get(name, "")
    return float(value) if re.fullmatch(r"[-+]?\d{1,9}(\.\d{0,9})?", value.strip(), re.ASCII) else None


def _size(page: _Element) -> tuple[float, float] | None:
    width, height = _number(page, "WIDTH"), _number(page, "HEIGHT")
    return (width, height) if width and height and width > 0 and height > 0 else None


def _ordered_lines(root: _Element, page: _Element) -> list[_Element]:
    blocks = [element for element in page.iter() if local_name(element) == "TextBlock"]
    references = [
        element.get("REF", "")
        for order in children(root, "ReadingOrder")
        for element in order.iter()
        if local_name(element) == "ElementRef"
    ]
    if not references:
        return [line for block in _chained(blocks) for line in children(block, "TextLine")]
    rank = {reference: number for number, reference in reversed(list(enumerate(references)))}
    ranked = [
        (rank.get(line.get("ID", ""), rank.get(block.get("ID", ""), len(rank))), line)
        for block in blocks
        for line in children(block, "TextLine")
    ]
    return [line for _, line in sorted(ranked, key=lambda pair: pair[0])]


def _chained(blocks: list[_Element]) -> Iterator[_Element]:
    """Each block, followed by those that `IDNEXT` leads to."""
    by_id = {block.get("ID", ""): block for block in blocks}
    given = set()
    for block in blocks:
        following: _Element | None = block
        while following is not None and following not in given:
            given.add(following)
            yield following
            following = by_id.get(following.get("IDNEXT", "") or "\0")


def _line(element: _Element, identifier: str) -> PageLine:
    box = [_number(element, name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")]
    polygon = _polygon(element)
    if polygon is None:
        left, top, width, height = box
        if left is None or top is None or width is None or height is None:
            raise Unusable("has neither a polygon (Shape) nor a box (HPOS, VPOS, WIDTH, HEIGHT)")
        right, bottom = left + width, top + height
        polygon = ((left, top), (right, top), (right, bottom), (left, bottom))
    return PageLine(identifier, polygon, _baseline(element, polygon), _text(element))


def _polygon(element: _Element) -> tuple[Point, ...] | None:
    for shape in children(element, "Shape"):
        for polygon in children(shape, "Polygon"):
            return parse_points(polygon.get("POINTS", ""))
    return None


def _baseline(element: _Element, polygon: tuple[Point, ...]) -> tuple[Point, ...] | None:
    if not element.get("BASELINE", "").strip():
        return None
    height = _number(element, "BASELINE")
    if height is not None:
        return (min(x for x, _ in polygon), height), (max(x for x, _ in polygon), height)
    return parse_points(element.get("BASELINE", ""))


def _text(element: _Element) -> str:
    """The words of a line. Where it has no spaces (SP) at all, they are understood between its words."""
    parts = list(children(element, "String", "SP", "HYP"))
    spaced = any(local_name(part) == "SP" for part in parts)
    text = ""
    for part in parts:
        if local_name(part) == "SP":
            text += " "
        else:
            joined = spaced or local_name(part) == "HYP" or not text
            text += ("" if joined else " ") + part.get("CONTENT", "")
    return text
