"""Pages with transcribed lines: what PAGE and ALTO readers give, and the line images made of it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.crops import Point, crop_line
from ctcrec.corpora.files import MediaFolder, Unusable, find_files, write_medium
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError, MediaError
from ctcrec.ocr.media import EXTENSIONS, load_gray

__all__ = ["Page", "PageLine", "parse_points", "prepare_pages"]

_MOST_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class PageLine:
    """A line of a page: polygon and baseline in the page's units, and its text."""

    id: str
    polygon: tuple[Point, ...]
    baseline: tuple[Point, ...] | None
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a file says of a page.

    Attributes:
        image: name of its image; empty where there is none.
        size: width and height of the image in the page's units, None where it is not told.
        pixels: whether those units are pixels.
        lines: in reading order.
        left_out: (id, reason) of lines that cannot be used.
    """

    image: str
    size: tuple[float, float] | None
    pixels: bool
    lines: Sequence[PageLine]
    left_out: Sequence[tuple[str, str]] = ()


def parse_points(text: str) -> tuple[Point, ...]:
    """Points from `x,y x,y ...` or `x y x y ...`. Raises Unusable where they are none, or absurdly many."""
    fields = re.split(r"[\s,]+", text.strip())
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise Unusable("has a polygon or baseline that is no list of points") from None
    if len(numbers) % 2 or len(numbers) > 2 * _MOST_POINTS or not all(map(math.isfinite, numbers)):
        raise Unusable("has a polygon or baseline that is no list of points")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def prepare_pages(
    source: Path,
    out: Path,
    parse: Callable[[Path], Page],
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """One split, `all`: the lines of all pages, in the order of the files and their reading order.

    Line images are written to `out/lines/<page>/<number>.png`. Ids are `<page>/<id of the line>`, where a page is the
    path of its file below `source` without the ending. Pages that cannot be used are left out, with the reason.

    Args:
        source: a folder with pages and images, or one page; images are looked for as the page names them, then by the
            page's own name, in its folder and the one above it.
        out: the folder of the manifests.
        parse: reads a page; raises CorpusError.
        media: a second folder that images may be in.
        done: called with the number of lines looked at.

    Raises:
        CorpusError: there is no page, or `out` cannot be written.
    """
    root = source if source.is_dir() else source.parent
    paths = find_files(source, (".xml",)) if source.is_dir() else [source]
    if not paths:
        raise CorpusError(f"{source}: no .xml files in it; name the folder with the pages")
    collector = Collector(done)
    collector.splits["all"] = []
    folder = MediaFolder(root, media)
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            page = parse(path)
            image = _load(_find_image(path, page.image, root, folder))
            scale = _scale(page, image)
        except CorpusError as error:
            collector.leave_out(path.relative_to(root).as_posix(), str(error).removeprefix(f"{path}: "))
        except Unusable as reason:
            collector.leave_out(path.relative_to(root).as_posix(), reason)
        else:
            for identifier, why in page.left_out:
                collector.leave_out(f"{name}/{identifier}", why)
            _add_lines(collector, name, page, image, scale, out)
    return collector.prepared()


def _add_lines(
    collector: Collector, name: str, page: Page, image: Image.Image, scale: tuple[float, float], out: Path
) -> None:
    for number, line in enumerate(page.lines, start=1):
        target = out / "lines" / name / f"{number:04d}.png"
        collector.add(
            "all",
            f"{name}/{line.id}",
            partial(_write_crop, image, line, scale, target),
            line.text,
            "lines",
            extra={"page": name},
        )


def _write_crop(image: Image.Image, line: PageLine, scale: tuple[float, float], path: Path) -> Path:
    """Cut out a line; raises Unusable where it shows nothing."""
    crop = crop_line(image, _scaled(line.polygon, scale), line.baseline and _scaled(line.baseline, scale))
    encoded = io.BytesIO()
    crop.save(encoded, "PNG")
    return write_medium(path, encoded.getvalue())


def _find_image(path: Path, name: str, root: Path, folder: MediaFolder) -> Path:
    """The page's image: as it is named, then by the page's own name, beside it or one folder above."""
    plain = PurePosixPath(name.replace("\\", "/")).name
    names = [name, plain, *(path.stem + ending for ending in sorted(EXTENSIONS))]
    first: Unusable | None = None
    for candidate in _places(path, root, dict.fromkeys(item for item in names if item)):
        try:
            return folder.find(candidate)
        except Unusable as reason:
            first = first or reason
    assert first is not None
    raise first


def _places(path: Path, root: Path, names: Iterable[str]) -> Iterator[str]:
    parents = [path.parent] if path.parent == root else [path.parent, path.parent.parent]
    for name in names:
        for parent in parents:
            yield name if name.startswith("/") or "://" in name else (parent.relative_to(root) / name).as_posix()


def _load(path: Path) -> Image.Image:
    try:
        return Image.fromarray(load_gray(path))
    except MediaError as error:
        raise Unusable(f"its image {error}") from None


def _scale(page: Page, image: Image.Image) -> tuple[float, float]:
    """Pixels in a unit of the page, in x and y."""
    if page.pixels:
        if page.size is not None and page.size != image.size:
            width, height = page.size
            raise Unusable(
                "describes an image of another size than there is",
                f"{width:g}×{height:g} pixels, there are {image.width}×{image.height}",
            )
        return 1.0, 1.0
    if page.size is None:
        raise Unusable("is measured in millimetres or inches and does not tell the size of its page")
    return image.width / page.size[0], image.height / page.size[1]


def _scaled(points: Iterable[Point], scale: tuple[float, float]) -> tuple[Point, ...]:
    return tuple((x * scale[0], y * scale[1]) for x, y in points)
