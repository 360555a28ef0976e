"""Pages of sample lines, described in PAGE and in ALTO of every version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from PIL import Image

SAMPLES = Path(__file__).parents[1] / "samples/lines/test"
PAGE_VERSIONS = ("2009-03-16", "2010-01-12", "2010-03-19", "2013-07-15", "2016-07-15", "2017-07-15", "2018-07-15")
PAGE_VERSIONS += ("2019-07-15", "2024-07-15")
ALTO_NAMESPACES = (
    "",
    "http://schema.ccs-gmbh.com/ALTO",
    *(f"http://www.loc.gov/standards/alto/ns-v{n}#" for n in (2, 3, 4)),
)
UNITS = {"pixel": 1.0, "mm10": 254 / 300, "inch1200": 4.0}  # in a pixel of a page of 300 dpi

Points = list[tuple[float, float]]


@dataclass
class DrawnLine:
    """A line on a page."""

    id: str
    text: str
    polygon: Points
    baseline: Points | None


@dataclass
class DrawnPage:
    """A page of sample lines below each other, each a little more slanted than the one above."""

    image: Image.Image
    lines: list[DrawnLine] = field(default_factory=list)


def draw_page(count: int = 5, slant: float = 0.01, baselines: bool = True) -> DrawnPage:
    """Lines `count`; the n-th falls by `n * slant` pixels a pixel."""
    page = DrawnPage(Image.new("L", (900, 120 + 90 * count), 225))
    for number, path in enumerate(sorted(SAMPLES.rglob("*.png"))[:count]):
        text = path.with_name(path.name.replace(".png", ".gt.txt")).read_text(encoding="utf-8").strip()
        with Image.open(path) as opened:
            line = opened.convert("L")
        left, top, fall = 40 + 7 * number, 40 + 90 * number, number * slant
        for x in range(line.width):
            page.image.paste(line.crop((x, 0, x + 1, line.height)), (left + x, top + round(fall * x)))
        right, drop = left + line.width - 1, round(fall * line.width)
        bottom = top + line.height - 1
        page.lines.append(
            DrawnLine(
                f"l{number}",
                text,
                [(left, top), (right, top + drop), (right, bottom + drop), (left, bottom)],
                [(left, bottom - 12), (right, bottom - 12 + drop)] if baselines else None,
            )
        )
    return page


def _joined(points: Points, unit: float = 1.0, comma: str = ",") -> str:
    return " ".join(f"{round(x * unit)}{comma}{round(y * unit)}" for x, y in points)


def page_xml(page: DrawnPage, image: str, version: str = "2019-07-15") -> str:
    """PAGE XML; points are elements before 2013."""

    def points(tag: str, values: Points) -> str:
        if version < "2013":
            inner = "".join(f'<Point x="{round(x)}" y="{round(y)}"/>' for x, y in values)
            return f"<{tag}>{inner}</{tag}>"
        return f'<{tag} points="{_joined(values)}"/>'

    lines = "".join(
        f'<TextLine id="{line.id}">{points("Coords", line.polygon)}'
        + (points("Baseline", line.baseline) if line.baseline else "")
        + f"<TextEquiv><Unicode>{line.text}</Unicode></TextEquiv></TextLine>\n"
        for line in page.lines
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/{version}">\n<Metadata/>\n'
        f'<Page imageFilename={quoteattr(image)} imageWidth="{page.image.width}" imageHeight="{page.image.height}">\n'
        f'<TextRegion id="r1"><Coords points="0,0 9,0 9,9"/>\n{lines}</TextRegion>\n</Page></PcGts>\n'
    )


def alto_xml(
    page: DrawnPage, image: str, namespace: str = ALTO_NAMESPACES[-1], unit: str = "pixel", comma: str = ","
) -> str:
    """ALTO; the baseline is a height before version 4, so lines must be level then."""
    scale = UNITS[unit]

    def place(line: DrawnLine) -> str:
        xs, ys = zip(*line.polygon, strict=True)
        box = {"HPOS": min(xs), "VPOS": min(ys), "WIDTH": max(xs) - min(xs), "HEIGHT": max(ys) - min(ys)}
        place = " ".join(f'{name}="{round(value * scale)}"' for name, value in box.items())
        if line.baseline and namespace.endswith("v4#"):
            place += f' BASELINE="{_joined(line.baseline, scale, comma)}"'
        elif line.baseline:
            place += f' BASELINE="{round(line.baseline[0][1] * scale)}"'
        return place

    def words(line: DrawnLine) -> str:
        return "<SP/>".join(f"<String CONTENT={quoteattr(word)}/>" for word in line.text.split())

    lines = "".join(
        f'<TextLine ID="{line.id}" {place(line)}><Shape><Polygon POINTS="{_joined(line.polygon, scale, comma)}"/>'
        f"</Shape>{words(line)}</TextLine>\n"
        for line in page.lines
    )
    declared = f' xmlns="{namespace}"' if namespace else ""
    size = f'WIDTH="{round(page.image.width * scale)}" HEIGHT="{round(page.image.height * scale)}"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<alto{declared}>\n<Description><MeasurementUnit>{unit}'
        f"</MeasurementUnit><sourceImageInformation><fileName>{image}</fileName></sourceImageInformation></Description>\n"
        f'<Layout><Page ID="p1" {size}><PrintSpace><TextBlock ID="b1">\n{lines}</TextBlock></PrintSpace></Page>'
        "</Layout></alto>\n"
    )


def write_page(folder: Path, page: DrawnPage, xml: str, name: str = "p1", image: str = "p1.png") -> Path:
    """The page's image and description."""
    folder.mkdir(parents=True, exist_ok=True)
    page.image.save(folder / image)
    (folder / f"{name}.xml").write_text(xml, encoding="utf-8")
    return folder


def texts(lines: Sequence[DrawnLine]) -> list[str]:
    return [line.text for line in lines]
