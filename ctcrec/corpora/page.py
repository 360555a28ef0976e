"""PAGE XML (PRImA), every published version from 2009-03-16 to 2024-07-15, as Transkribus, eScriptorium, kraken and
Aletheia write it. https://github.com/PRImA-Research-Lab/PAGE-XML
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

_NAMESPACE = re.compile(r"https?://schema\.primaresearch\.org/PAGE/gts/pagecontent/\d{4}-\d\d-\d\d")
_CUSTOM_ORDER = re.compile(r"readingOrder\s*\{\s*index\s*:\s*(\d{1,9})\s*;?\s*\}")
_REGIONS = ("TextRegion", "TableCell")  # the second is Transkribus's own
_GROUPS = ("OrderedGroup", "UnorderedGroup", "OrderedGroupIndexed", "UnorderedGroupIndexed")


def prepare(source: Path, out: Path, media: Path | None = None, done: Callable[[int], None] | None = None) -> Prepared:
    """Lines of PAGE XML files; see `ctcrec.corpora.pages.prepare_pages`."""
    return prepare_pages(source, out, parse, media, done)


def parse(path: Path) -> Page:
    """A page: regions in the order of `ReadingOrder`, those not in it last; lines in that of their `index`. Without
    these, both are in the order of Transkribus's `custom="readingOrder {index:n;}"`, else of the file. Of several
    `TextEquiv`, the one with the lowest index counts.

    Raises:
        CorpusError: the file is no PAGE XML.
    """
    root = read_xml(path)
    if local_name(root) != "PcGts" or _NAMESPACE.fullmatch(namespace_of(root)) is None:
        raise CorpusError(
            f"{path}: is no PAGE XML: expected <PcGts> of a namespace like"
            f" http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15, found <{local_name(root)}> of"
            f" {namespace_of(root)[:80] or 'no namespace'}"
        )
    page = next(children(root, "Page"), None)
    if page is None:
        raise CorpusError(f"{path}: has no <Page>")
    lines: list[PageLine] = []
    left_out: list[tuple[str, str]] = []
    for number, element in enumerate(_ordered_lines(page), start=1):
        identifier = element.get("id") or f"line{number}"
        try:
            lines.append(_line(element, identifier))
        except Unusable as reason:
            left_out.append((identifier, str(reason)))
    return Page(page.get("imageFilename", ""), _size(page, path), True, lines, left_out)


def _size(page: _Element, path: Path) -> tuple[float, float] | None:
    """The image's size; None where it is not told, or told as 0."""
    values = page.get("imageWidth", "0"), page.get("imageHeight", "0")
    if not all(re.fullmatch(r"[0-9]{1,9}", value) for value in values):
        raise CorpusError(f"{path}: imageWidth and imageHeight must be whole numbers, got {values[0][:20]!r}")
    width, height = map(int, values)
    return (width, height) if width and height else None


def _ordered_lines(page: _Element) -> Iterator[_Element]:
    rank = {reference: number for number, reference in enumerate(_reading_order(page))}
    regions = [element for element in page.iter() if local_name(element) in _REGIONS]
    if rank:
        regions.sort(key=lambda region: rank.get(region.get("id", ""), len(rank)))
    else:
        regions = _in_custom_order(regions)
    for region in regions:
        lines = list(children(region, "TextLine"))
        yield from sorted(lines, key=_index) if all(line.get("index") for line in lines) else _in_custom_order(lines)


def _in_custom_order(elements: list[_Element]) -> list[_Element]:
    """As `custom` says, if it says it of all."""
    orders = [_CUSTOM_ORDER.search(element.get("custom", "")) for element in elements]
    numbers = [int(order[1]) for order in orders if order]
    if len(numbers) < len(elements):
        return elements
    return [elements[place] for place in sorted(range(len(elements)), key=lambda place: numbers[place])]


def _reading_order(page: _Element) -> Iterator[str]:
    """The regions that `ReadingOrder` names, in its order. A group may itself stand for a region."""
    stack = [group for order in children(page, "ReadingOrder") for group in children(order, *_GROUPS)][::-1]
    while stack:
        element = stack.pop()
        if element.get("regionRef"):
            yield element.get("regionRef", "")
        members = list(children(element, "RegionRef", "RegionRefIndexed", *_GROUPS))
        stack += sorted(members, key=_index)[::-1]


def _index(element: _Element) -> int:
    value = element.get("index", "")
    return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else 0


def _line(element: _Element, identifier: str) -> PageLine:
    coords = next(children(element, "Coords"), None)
    if coords is None:
        raise Unusable("has no polygon (Coords)")
    baseline = next(children(element, "Baseline"), None)
    text = _text(element)
    if text is None:
        words = [_text(word) for word in children(element, "Word")]
        text = " ".join(word for word in words if word)
    return PageLine(identifier, _points(coords), None if baseline is None else _points(baseline), text)


def _points(element: _Element) -> tuple[Point, ...]:
    """`points="x,y x,y"` since 2013, `<Point x="" y=""/>` before."""
    points = element.get("points")
    if points is None:
        points = " ".join(f"{point.get('x', '')},{point.get('y', '')}" for point in children(element, "Point"))
    return parse_points(points)


def _text(element: _Element) -> str | None:
    """The text of a line or word; None where it has none of its own."""
    for equivalent in sorted(children(element, "TextEquiv"), key=_index):
        for name in ("Unicode", "PlainText"):
            for content in children(equivalent, name):
                return "".join(content.itertext())
    return None
