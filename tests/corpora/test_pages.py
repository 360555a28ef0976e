"""PAGE and ALTO: every version gives the same lines, texts and crops; order, odd files and hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from page_files import ALTO_NAMESPACES, PAGE_VERSIONS, UNITS, alto_xml, draw_page, page_xml, texts, write_page
from PIL import Image

from ctcrec.corpora import Prepared, alto, page
from ctcrec.corpora.markup import read_xml
from ctcrec.corpora.prepared import write_prepared
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError
from ctcrec.ocr.media import load_line

if TYPE_CHECKING:
    from command import Command

PAGE_START = (
    '<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">'
    '<Page imageFilename="p1.png" imageWidth="200" imageHeight="100">'
)
PAGE_END = "</Page></PcGts>"
COORDS = '<Coords points="10,10 90,10 90,40 10,40"/>'
ALTO_START = '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">'


def page_line(identifier: str, inside: str = "", attributes: str = "") -> str:
    text = inside or f"<TextEquiv><Unicode>{identifier}</Unicode></TextEquiv>"
    return f'<TextLine id="{identifier}" {attributes}>{COORDS}{text}</TextLine>'


def alto_block(identifier: str, following: str = "") -> str:
    place = 'HPOS="10" VPOS="10" WIDTH="80" HEIGHT="30"'
    line = f'<TextLine ID="line-{identifier}" {place}><String CONTENT="{identifier}"/></TextLine>'
    return f'<TextBlock ID="{identifier}" {following}>{line}</TextBlock>'


def alto_page(blocks: str, before: str = "") -> str:
    return f"{ALTO_START}{before}<Layout><Page><PrintSpace>{blocks}</PrintSpace></Page></Layout></alto>"


def write(folder: Path, xml: str, name: str = "p1.xml") -> Path:
    """A description beside a blank page of 200×100."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (200, 100), 230).save(folder / "p1.png")
    (folder / name).write_text(xml, encoding="utf-8")
    return folder


def reasons(prepared: Prepared) -> dict[str, str]:
    return {item.what: item.reason for item in prepared.left_out}


def crops(prepared: Prepared) -> list[np.ndarray]:
    return [load_line(example.source).astype(float) for example in prepared.splits["all"]]


def assert_alike(first: Prepared, second: Prepared) -> None:
    """The same lines and texts, and crops that agree within 2 pixels in size and place."""
    assert [item.text for item in first.splits["all"]] == [item.text for item in second.splits["all"]]
    for one, other in zip(crops(first), crops(second), strict=True):
        assert abs(one.shape[0] - other.shape[0]) <= 2 and abs(one.shape[1] - other.shape[1]) <= 2
        height, width = min(one.shape[0], other.shape[0]) - 4, min(one.shape[1], other.shape[1]) - 4
        inner = one[2 : 2 + height, 2 : 2 + width].ravel()
        likeness = max(
            np.corrcoef(inner, other[y : y + height, x : x + width].ravel())[0, 1]
            for y in range(5)
            for x in range(5)
            if y + height <= other.shape[0] and x + width <= other.shape[1]
        )
        assert likeness > 0.9


@pytest.mark.parametrize("version", PAGE_VERSIONS)
def test_every_version_of_page(tmp_path: Path, version: str) -> None:
    drawn = draw_page()
    folder = write_page(tmp_path / version, drawn, page_xml(drawn, "p1.png", version))
    prepared = page.prepare(folder, tmp_path / "out")
    assert [item.text for item in prepared.splits["all"]] == texts(drawn.lines)
    assert [item.id for item in prepared.splits["all"]] == [f"p1/l{number}" for number in range(5)]
    newest = write_page(tmp_path / "newest", drawn, page_xml(drawn, "p1.png"))
    reference = page.prepare(newest, tmp_path / "reference")
    for one, other in zip(crops(prepared), crops(reference), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("namespace", "unit"),
    [*((namespace, "pixel") for namespace in ALTO_NAMESPACES), *((ALTO_NAMESPACES[-1], unit) for unit in UNITS)],
)
@pytest.mark.parametrize("baselines", [False, True])
def test_alto_agrees_with_page(tmp_path: Path, namespace: str, unit: str, baselines: bool) -> None:
    slant = 0.015 if namespace.endswith("v4#") or not baselines else 0.0
    drawn = draw_page(3, slant=slant, baselines=baselines)
    first = page.prepare(write_page(tmp_path / "page", drawn, page_xml(drawn, "p1.png")), tmp_path / "out1")
    described = alto_xml(drawn, "p1.png", namespace, unit, comma="," if unit == "pixel" else " ")
    second = alto.prepare(write_page(tmp_path / "alto", drawn, described), tmp_path / "out2")
    assert len(first.splits["all"]) == 3 and not first.left_out and not second.left_out
    assert_alike(first, second)


def test_a_slanted_line_is_straightened(tmp_path: Path) -> None:
    drawn = draw_page(slant=0.03)
    folder = write_page(tmp_path / "page", drawn, page_xml(drawn, "p1.png"))
    straight = page.prepare(folder, tmp_path / "out").splits["all"]
    drawn.lines = [type(line)(line.id, line.text, line.polygon, None) for line in drawn.lines]
    (folder / "p1.xml").write_text(page_xml(drawn, "p1.png"), encoding="utf-8")
    as_they_are = page.prepare(folder, tmp_path / "out2").splits["all"]
    assert [item.height for item in straight] == pytest.approx([48] * 5, abs=2)
    assert (as_they_are[4].height or 0) > 100


def test_what_a_row_holds(tmp_path: Path) -> None:
    drawn = draw_page(2)
    write_page(tmp_path / "source/book", drawn, page_xml(drawn, "../images/x.png"), image="unused.png")
    (tmp_path / "source/images").mkdir()
    drawn.image.save(tmp_path / "source/images/x.png")
    prepared = page.prepare(tmp_path / "source", tmp_path / "out")
    example = prepared.splits["all"][1]
    assert example.id == "book/p1/l1" and example.extra == {"page": "book/p1"}
    assert example.source == tmp_path / "out/lines/book/p1/0002.png"
    assert (example.width, example.height) == Image.open(example.source).size
    write_prepared(prepared, tmp_path / "out", say=lambda text: None)
    assert read_manifest(tmp_path / "out/all.jsonl") == prepared.splits["all"]


@pytest.mark.parametrize("name", ["p1.png", "elsewhere/p1.png", "C:\\scans\\p1.png", "", "https://x.org/p1.png"])
def test_the_image_is_found_by_name(tmp_path: Path, name: str) -> None:
    drawn = draw_page(1)
    folder = write_page(tmp_path / "source", drawn, page_xml(drawn, name))
    assert len(page.prepare(folder, tmp_path / "out").splits["all"]) == 1
    (folder / "page").mkdir()
    (folder / "p1.xml").rename(folder / "page/p1.xml")  # as Transkribus lays it out
    assert len(page.prepare(folder, tmp_path / "out").splits["all"]) == 1
    assert len(page.prepare(folder / "page/p1.xml", tmp_path / "out", folder).splits["all"]) == 1


def test_reading_order_of_page(tmp_path: Path) -> None:
    order = (
        '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="1" regionRef="a"/>'
        '<UnorderedGroupIndexed index="0"><RegionRef regionRef="c"/></UnorderedGroupIndexed>'
        "</OrderedGroup></ReadingOrder>"
    )
    regions = (
        f'<TextRegion id="a">{page_line("a1")}{page_line("a2")}</TextRegion>'
        f'<TextRegion id="b">{page_line("b1")}<TextRegion id="c">{page_line("c1")}</TextRegion></TextRegion>'
        f'<TableRegion><TextRegion id="d">{page_line("d2", "", custom(1))}{page_line("d1", "", custom(0))}</TextRegion>'
        f'<TableCell id="e" row="0" col="0">{page_line("e1")}</TableCell></TableRegion>'
    )
    folder = write(tmp_path / "x", PAGE_START + order + regions + PAGE_END)
    assert [line.text for line in page.parse(folder / "p1.xml").lines] == ["c1", "a1", "a2", "b1", "d1", "d2", "e1"]
    by_index = page_line("second", "", 'index="1"') + page_line("first", "", 'index="0"')
    regions = (
        f'<TextRegion id="x" {custom(1)}>{by_index}</TextRegion><TextRegion {custom(0)}>{page_line("y")}</TextRegion>'
    )
    write(folder, PAGE_START.replace("http:", "https:") + regions + PAGE_END)
    assert [line.text for line in page.parse(folder / "p1.xml").lines] == ["y", "first", "second"]


def custom(index: int) -> str:
    return f'custom="structure {{type:x;}} readingOrder {{index:{index};}}"'


def test_texts_of_page(tmp_path: Path) -> None:
    def equivalent(text: str, attributes: str = "") -> str:
        return f"<TextEquiv {attributes}><Unicode>{text}</Unicode></TextEquiv>"

    word = "<Word>" + equivalent("one") + "</Word><Word>" + equivalent("two") + "</Word>"
    lines = (
        page_line("several", equivalent("second", 'index="1"') + equivalent("first", 'index="0"'))
        + page_line("words", word)
        + page_line("both", word + equivalent("the line"))
        + page_line("plain", "<TextEquiv><PlainText>plain</PlainText></TextEquiv>")
        + page_line("empty", equivalent(""))
        + '<TextLine id="nowhere">'
        + equivalent("x")
        + "</TextLine>"
        + '<TextLine id="odd"><Coords points="1,2 3"/>'
        + equivalent("x")
        + "</TextLine>"
        + '<TextLine id="nan"><Coords points="1,2 3,4 nan,5"/>'
        + equivalent("x")
        + "</TextLine>"
    )
    folder = write(tmp_path / "x", f'{PAGE_START}<TextRegion id="a">{lines}</TextRegion>{PAGE_END}')
    prepared = page.prepare(folder, tmp_path / "out")
    assert {item.id: item.text for item in prepared.splits["all"]} == {
        "p1/several": "first",
        "p1/words": "one two",
        "p1/both": "the line",
        "p1/plain": "plain",
    }
    assert reasons(prepared) == {
        "p1/nowhere": "has no polygon (Coords)",
        "p1/odd": "has a polygon or baseline that is no list of points",
        "p1/nan": "has a polygon or baseline that is no list of points",
        "p1/empty": "its text is empty",
    }


def test_reading_order_of_alto(tmp_path: Path) -> None:
    blocks = alto_block("a") + f"<ComposedBlock>{alto_block('b')}</ComposedBlock>" + alto_block("c")
    ordered = '<ReadingOrder><OrderedGroup><ElementRef REF="c"/><ElementRef REF="a"/></OrderedGroup></ReadingOrder>'
    by_line = ordered.replace('REF="c"', 'REF="line-b"')
    chained = alto_block("a", 'IDNEXT="c"') + alto_block("b") + alto_block("c", 'IDNEXT="a"')
    for xml, expected in (
        (alto_page(blocks), "abc"),
        (alto_page(blocks, ordered), "cab"),
        (alto_page(blocks, by_line), "bac"),
        (alto_page(chained), "acb"),
    ):
        folder = write(tmp_path / expected, xml)
        assert "".join(line.text for line in alto.parse(folder / "p1.xml").lines) == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ('<String CONTENT="a"/><SP/><String CONTENT="b"/>', "a b"),
        ('<String CONTENT="a"/><String CONTENT="b"/>', "a b"),
        ('<String CONTENT="a"/><SP/><String CONTENT="b"/><String CONTENT="."/>', "a b."),
        ('<String CONTENT="a"/><String CONTENT="be"/><HYP CONTENT="-"/>', "a be-"),
        ('<String CONTENT="whole line"/>', "whole line"),
    ],
)
def test_texts_of_alto(tmp_path: Path, inside: str, expected: str) -> None:
    line = f'<TextBlock><TextLine HPOS="1" VPOS="1" WIDTH="9" HEIGHT="9">{inside}</TextLine></TextBlock>'
    folder = write(tmp_path / "x", alto_page(line))
    assert alto.parse(folder / "p1.xml").lines[0].text == expected


def test_alto_without_boxes_or_units(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", alto_page('<TextBlock><TextLine><String CONTENT="a"/></TextLine></TextBlock>'))
    assert reasons(alto.prepare(folder, tmp_path / "out")) == {
        "p1/line1": "has neither a polygon (Shape) nor a box (HPOS, VPOS, WIDTH, HEIGHT)"
    }
    unit = "<Description><MeasurementUnit>mm10</MeasurementUnit></Description>"
    folder = write(tmp_path / "y", alto_page(alto_block("a"), unit))
    assert reasons(alto.prepare(folder, tmp_path / "out")) == {
        "p1.xml": "is measured in millimetres or inches and does not tell the size of its page"
    }
    folder = write(tmp_path / "z", alto_page(alto_block("a"), unit.replace("mm10", "furlong")))
    assert "measures in 'furlong'" in reasons(alto.prepare(folder, tmp_path / "out"))["p1.xml"]


def test_pages_that_cannot_be_used(tmp_path: Path) -> None:
    region = f'<TextRegion id="a">{page_line("a1")}</TextRegion>'
    folder = write(tmp_path / "x", PAGE_START + region + PAGE_END)
    write(folder, "<mets/>", "mets.xml")
    write(folder, PAGE_START.replace("2019-07-15", "next-year") + region + PAGE_END, "future.xml")
    write(folder, PAGE_START.replace('"200"', '"400"') + region + PAGE_END, "size.xml")
    write(folder, PAGE_START.replace('"200"', '"wide"') + region + PAGE_END, "width.xml")
    write(folder, PAGE_START.replace("p1.png", "gone.png") + region + PAGE_END, "image.xml")
    write(folder, PAGE_START.replace("p1.png", "torn.png") + region + PAGE_END, "torn.xml")
    (folder / "torn.png").write_bytes((folder / "p1.png").read_bytes()[:60])
    write(folder, PAGE_START.replace("p1.png", "../../secret.png") + region + PAGE_END, "out.xml")
    (tmp_path / "secret.png").write_bytes((folder / "p1.png").read_bytes())
    (folder / "linked.png").symlink_to(tmp_path / "secret.png")
    write(folder, PAGE_START.replace("p1.png", "linked.png") + region + PAGE_END, "link.xml")
    write(folder, PAGE_START, "torn-xml.xml")
    (folder / "empty.xml").touch()
    prepared = page.prepare(folder, tmp_path / "out")
    assert [item.id for item in prepared.splits["all"]] == ["p1/a1"]
    why = {what.partition(" ")[0]: reason for what, reason in reasons(prepared).items()}
    assert "is no PAGE XML: expected <PcGts>" in why["mets.xml"]
    assert "found <PcGts> of http://schema.primaresearch.org/PAGE/gts/pagecontent/next-year" in why["future.xml"]
    assert why["size.xml"] == "describes an image of another size than there is"
    assert "must be whole numbers" in why["width.xml"]
    assert why["image.xml"] == "its medium is not there"
    assert "torn.png: is truncated or damaged" in why["torn.xml"]
    assert "leads out of" in why["out.xml"] and "leads out of" in why["link.xml"]
    assert "is not well-formed XML" in why["torn-xml.xml"] and "is not well-formed XML" in why["empty.xml"]
    assert len(reasons(prepared)) == 10
    write(tmp_path / "unknown", PAGE_START.replace('"200"', '"0"') + region + PAGE_END)
    assert len(page.prepare(tmp_path / "unknown", tmp_path / "out").splits["all"]) == 1


HOSTILE: dict[str, Callable[[Path], str]] = {
    "external": lambda secret: f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><a>&x;</a>',
    "attribute": lambda secret: f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><a b="&x;"/>',
    "parameter": lambda secret: f'<!DOCTYPE a [<!ENTITY % x SYSTEM "file://{secret}"> %x;]><a/>',
    "laughs": lambda secret: (
        "<!DOCTYPE a ["
        + '<!ENTITY x0 "ha">'
        + "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 10))
        + "]><a>&x9;</a>"
    ),
    "quadratic": lambda secret: f'<!DOCTYPE a [<!ENTITY x "{"a" * 50_000}">]><a b="{"&x;" * 20_000}"/>',
    "huge attribute": lambda secret: f'<a b="{"x" * 11_000_000}"/>',
    "deep": lambda secret: "<a>" * 100_000,
    "elsewhere": lambda secret: '<!DOCTYPE a SYSTEM "a.dtd"><a>x&nbsp;y</a>',
    "elsewhere, attribute": lambda secret: '<!DOCTYPE a SYSTEM "a.dtd"><a b="x&nbsp;y"/>',
    "undefined entity": lambda secret: "<a>&nbsp;</a>",
    "null": lambda secret: "<a>\0</a>",
    "encoding": lambda secret: '<?xml version="1.0" encoding="no-such"?><a/>',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_xml(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    (tmp_path / "x.xml").write_text(HOSTILE[kind](tmp_path / "secret.txt"))
    with pytest.raises(CorpusError, match=r"x\.xml: (declares or uses XML entities|is not well-formed XML)") as raised:
        read_xml(tmp_path / "x.xml")
    assert "TOP SECRET" not in str(raised.value)


def test_a_document_type_is_not_fetched(tmp_path: Path) -> None:
    """IAM's forms name a DTD; nothing of it is read."""
    (tmp_path / "form.dtd").write_text('<!ENTITY x "from the DTD"><!ATTLIST a b CDATA "default">')
    (tmp_path / "x.xml").write_text('<!DOCTYPE a SYSTEM "form.dtd"><a c="&amp;x;">&lt;&#228;&amp;nbsp;</a>')
    root = read_xml(tmp_path / "x.xml")
    assert dict(root.attrib) == {"c": "&x;"} and root.text == "<ä&nbsp;"


def test_commands(tmp_path: Path, command: Command) -> None:
    drawn = draw_page(3)
    for name, describe in (("page", page_xml), ("alto", alto_xml)):
        folder = write_page(tmp_path / name, drawn, describe(drawn, "p1.png"))
        finished = command("prepare", name, folder, "--out", tmp_path / "out" / name)
        assert finished.code == 0, finished.err
        manifest = read_manifest(tmp_path / "out" / name / "all.jsonl")
        assert [example.text for example in manifest] == texts(drawn.lines)
    assert "no .xml files" in command.fails("prepare", "page", tmp_path / "out", "--out", tmp_path / "o")
