"""Reading line images: modes, polarity, orientation, and files that cannot be used."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.lines import draw_line
from PIL import Image, ImageFilter

from ctcrec.errors import MediaError
from ctcrec.ocr.media import EXTENSIONS, ImageInfo, load_line, normalize_polarity, probe_image

LINE = draw_line()


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", sorted(EXTENSIONS))
def test_every_extension_is_written_by_pillow_and_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"line{ending}"
    bilevel = ending == ".pbm"
    Image.fromarray(LINE).convert("1" if bilevel else "L").save(path)
    assert probe_image(path) == ImageInfo(LINE.shape[1], LINE.shape[0])
    loaded = load_line(path)
    assert loaded.shape == LINE.shape and loaded.dtype == np.uint8
    assert np.abs(loaded.astype(int) - LINE).mean() < (30 if bilevel else 6)


def test_path_string_bytes_and_stream_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    path.write_bytes(encode(LINE))
    for media in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(load_line(media), LINE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"])
def test_modes(mode: str) -> None:
    gray = Image.fromarray(LINE)
    if mode == "I;16":
        image = Image.fromarray(LINE.astype(np.uint16) * 16)  # 12 of 16 bits are used
    elif mode == "LAB":
        neutral = Image.new("L", gray.size, 128)
        image = Image.merge("LAB", [gray, neutral, neutral])
    else:
        image = gray.convert(mode)
    loaded = load_line(encode(image, "TIFF" if mode in ("CMYK", "I", "F", "LAB", "YCbCr") else "PNG"))
    assert loaded.shape == LINE.shape
    correlation = np.corrcoef(loaded.ravel(), LINE.ravel())[0, 1]
    assert correlation > (0.8 if mode == "1" else 0.999)  # Pillow dithers to 1 bit


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_images_use_the_whole_range(bits: int) -> None:
    loaded = load_line(encode(LINE.astype(np.uint16) << (bits - 8)))
    assert loaded.min() == 0 and loaded.max() == 255


def test_transparency_is_white_paper() -> None:
    ink = np.zeros((*LINE.shape, 4), np.uint8)
    ink[..., 3] = 255 - LINE  # black everywhere, letters by opacity alone
    np.testing.assert_allclose(load_line(encode(ink)), LINE, atol=1)
    palette = Image.fromarray(np.where(LINE < 128, 1, 0).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    loaded = load_line(encode(palette, transparency=0))
    np.testing.assert_array_equal(loaded, np.where(LINE < 128, 0, 255))


@pytest.mark.parametrize("size", [12, 32, 90])
@pytest.mark.parametrize(("paper", "ink"), [(240, 20), (255, 0), (130, 90), (200, 180)])
def test_inverted_lines_are_turned(size: int, paper: int, ink: int) -> None:
    line = draw_line(size=size, paper=paper, ink=ink)
    np.testing.assert_array_equal(load_line(encode(line)), line)
    np.testing.assert_array_equal(load_line(encode(255 - line)), line)


def test_polarity_of_bold_tight_crops() -> None:
    bold = Image.fromarray(draw_line("Heimberg und Wald", 40)).filter(ImageFilter.MinFilter(3))
    line = np.array(bold)[8:-8, 8:-8]
    assert (line < 128).mean() > 0.3
    np.testing.assert_array_equal(normalize_polarity(line), line)
    np.testing.assert_array_equal(normalize_polarity(255 - line), line)


@pytest.mark.parametrize(("surrounding", "paper", "ink"), [(0, 240, 20), (255, 240, 20), (255, 150, 90)])
def test_polarity_with_something_else_behind_the_page(surrounding: int, paper: int, ink: int) -> None:
    line = draw_line(paper=paper, ink=ink)
    framed = np.full((line.shape[0] * 2, line.shape[1] + 80), surrounding, np.uint8)
    framed[20 : 20 + line.shape[0], 30 : 30 + line.shape[1]] = line
    np.testing.assert_array_equal(normalize_polarity(framed), framed)
    np.testing.assert_array_equal(normalize_polarity(255 - framed), framed)


def test_polarity_with_paper_that_darkens() -> None:
    shade = np.linspace(1.0, 0.3, LINE.shape[1])
    line = np.round(LINE * shade).astype(np.uint8)
    np.testing.assert_array_equal(normalize_polarity(line), line)
    np.testing.assert_array_equal(normalize_polarity(255 - line), line)


@pytest.mark.parametrize("level", [0, 100, 255])
def test_blank_image_is_blank_paper(level: int) -> None:
    loaded = load_line(encode(np.full((48, 300), level, np.uint8)))
    assert (loaded >= 128).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int, tmp_path: Path) -> None:
    # what a camera stores for each orientation, so that turning it upright gives the line
    stored = {
        1: LINE,
        2: LINE[:, ::-1],
        3: LINE[::-1, ::-1],
        4: LINE[::-1],
        5: LINE.T,
        6: LINE.T[::-1],
        7: LINE.T[::-1, ::-1],
        8: LINE.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "line"
    path.write_bytes(encode(np.ascontiguousarray(stored), kind, exif=exif))
    assert probe_image(path) == ImageInfo(LINE.shape[1], LINE.shape[0])
    loaded = load_line(path)
    assert loaded.shape == LINE.shape
    assert np.abs(loaded.astype(int) - LINE).mean() < 6


def test_jpeg_called_png(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    path.write_bytes(encode(LINE, "JPEG"))
    assert load_line(path).shape == LINE.shape


def test_probing_does_not_decode_pixels(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    path.write_bytes(png_header(700, 50))
    assert probe_image(path) == ImageInfo(700, 50)
    with pytest.raises(MediaError, match="truncated or damaged"):
        load_line(path)


def test_pages(tmp_path: Path) -> None:
    page = Image.fromarray(LINE)
    path = tmp_path / "scan.tif"
    page.save(path, save_all=True, append_images=[page, page])
    for read in (probe_image, load_line):
        with pytest.raises(MediaError, match=r"scan\.tif: has 3 pages"):
            read(path)
    with_preview = tmp_path / "preview.tif"
    preview = page.resize((60, 10))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(with_preview, save_all=True, append_images=[preview])
    with Image.open(with_preview) as image:
        assert image.n_frames == 2
    assert probe_image(with_preview) == ImageInfo(LINE.shape[1], LINE.shape[0])
    np.testing.assert_array_equal(load_line(with_preview), LINE)


def test_animation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    Image.fromarray(LINE).save(path, save_all=True, append_images=[Image.fromarray(255 - LINE)])
    with pytest.raises(MediaError, match=r"moving\.gif: has 2 pages or frames"):
        load_line(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"not an image at all", "is not an image that can be read; expected PNG"),
        ("sound.png", b"RIFF\x24\x00\x00\x00WAVEfmt ", "looks like audio"),
        ("paper.png", b"%PDF-1.7 ", "is a PDF"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image that can be read"),
        ("dot.png", encode(np.zeros((1, 1), np.uint8)), "is 1×1 pixels, too small"),
        ("thread.png", encode(np.zeros((20000, 1), np.uint8)), "is 1×20000 pixels, too small"),
        ("rule.png", encode(np.zeros((1, 20000), np.uint8)), "is 20000×1 pixels, too small"),
        ("nothing.png", png_header(0, 10), r"nothing\.png: is "),
        ("large.png", png_header(40000, 2001), "far larger than a text line"),
        ("bomb.png", png_header(60000, 60000), "far larger than a text line"),
        ("float.tif", encode(np.full((9, 9), np.nan, np.float32), "TIFF"), "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_files_are_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=message) as caught:
        load_line(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(MediaError, match="<bytes>: "):
        load_line(content)


def test_paths_that_are_no_image_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"missing\.png: no such file"):
        load_line(tmp_path / "missing.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(MediaError, match="is a folder or a device"):
            probe_image(path)
    with pytest.raises(MediaError, match="cannot be read: File name too long"):
        probe_image("x" * 5000)
    with pytest.raises(MediaError, match="null"):
        probe_image("a\0b.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM"])
def test_truncated_files_are_refused(kind: str) -> None:
    data = encode(LINE, kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(MediaError):
            load_line(data[: int(len(data) * share)])


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_files_raise_nothing_but_media_errors(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM"]))
    content = bytearray(encode(LINE[:, :80], kind))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
        if not content:
            break
    try:
        line = load_line(bytes(content))
    except MediaError as error:
        assert str(error).startswith("<bytes>: ")
    else:
        assert line.dtype == np.uint8 and line.ndim == 2
