"""Odd images that people have, and bombs: what they give, or the message that names them."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.lines import draw_line
from PIL import Image

from ctcrec.errors import MediaError
from ctcrec.ocr.media import ImageInfo, load_gray, load_line, probe_image

LINE = draw_line()
PICTURE = Image.fromarray(LINE)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def save(folder: Path, name: str, image: Image.Image = PICTURE, **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def status(key: str) -> float:
    """MiB; VmHWM is the peak of VmRSS."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def with_chunk(kind: bytes, start: bytes, unpacked: int) -> bytes:
    """The line as PNG with one more chunk, which unpacks to so many million bytes."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"A" * 1_000_000) for _ in range(unpacked)) + packer.flush()
    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    data = file.getvalue()
    return data[:33] + chunk(kind, start + packed) + data[33:]


def text_bomb(folder: Path) -> Path:
    """A comment of 300 MB in 290 kB."""
    (folder / "text.png").write_bytes(with_chunk(b"zTXt", b"Comment\0\0", 300))
    return folder / "text.png"


def profile_bomb(folder: Path) -> Path:
    """A color profile of 200 MB in 190 kB."""
    (folder / "profile.png").write_bytes(with_chunk(b"iCCP", b"x\0\0", 200))
    return folder / "profile.png"


def pixel_bomb(folder: Path) -> Path:
    """900 million white pixels in 110 kB."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(3751)) for _ in range(30_000)) + packer.flush()
    (folder / "pixels.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return folder / "pixels.png"


def claim(folder: Path) -> Path:
    """A TIFF of a few kB whose header promises 64 million pixels, which is allowed."""
    file = io.BytesIO()
    PICTURE.save(file, "TIFF")
    data = bytearray(file.getvalue())
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):  # width and height
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 8000)
    (folder / "claim.tif").write_bytes(data)
    return folder / "claim.tif"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text_bomb, "is truncated or damaged .*too large"),
        (profile_bomb, "is truncated or damaged .*too large"),
        (pixel_bomb, "is far larger than a text line"),
        (claim, "is truncated or damaged"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_are_refused_and_cost_little(tmp_path: Path, make: Any, message: str) -> None:
    path = make(tmp_path)
    assert path.stat().st_size < 400_000
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    with pytest.raises(MediaError, match=message) as caught:
        load_line(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert status("VmHWM") - before < 100  # 64 million pixels may be allocated, but not 200 MB of a profile


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM"])
def test_fuzz(kind: str) -> None:
    """1,500 damaged copies of a file of each kind: bytes changed, cut out, doubled, cut off, in header and body."""
    generator = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(LINE[:, :80]).save(file, kind)
    for _ in range(1500):
        data = bytearray(file.getvalue())
        for _ in range(int(generator.integers(1, 6))):
            size = max(1, len(data) if generator.random() < 0.5 else min(200, len(data)))
            place, length = int(generator.integers(size)), int(generator.integers(1, 9))
            match int(generator.integers(4)):
                case 0:
                    data[place : place + length] = generator.bytes(length)
                case 1:
                    del data[place : place + length]
                case 2:
                    data[place:place] = data[place : place + length]
                case _ if generator.random() < 0.3:
                    del data[max(1, place) :]
        try:
            line = load_line(bytes(data))
        except MediaError as error:
            assert str(error).startswith("<bytes>: ")
        else:
            assert line.dtype == np.uint8 and line.ndim == 2


def test_a_very_long_line_is_read_whole(tmp_path: Path) -> None:
    long = np.tile(LINE, (1, 20_000 // LINE.shape[1] + 1))[:, :20_000]
    path = save(tmp_path, "long.png", Image.fromarray(long))
    assert probe_image(path) == ImageInfo(20_000, LINE.shape[0])
    np.testing.assert_array_equal(load_line(path), long)


@pytest.mark.parametrize(
    ("name", "image", "options", "closeness"),
    [
        ("x.jpg", PICTURE.convert("CMYK"), {"quality": 95}, 0.99),  # stored inverted, as Adobe does
        ("x.jpg", PICTURE, {"quality": 95, "progressive": True}, 0.99),
        ("x.tif", PICTURE.convert("1"), {"compression": "group4"}, 0.8),  # of fax and scanners
        ("x.tif", PICTURE, {"compression": "tiff_lzw"}, 0.9999),
        ("x.tif", PICTURE, {"compression": "tiff_adobe_deflate"}, 0.9999),
        ("x.png", PICTURE.quantize(3), {"bits": 2}, 0.95),
        ("x.webp", PICTURE, {"lossless": True}, 0.9999),
    ],
)
def test_kinds_of_compression(
    tmp_path: Path, name: str, image: Image.Image, options: dict[str, Any], closeness: float
) -> None:
    loaded = load_line(save(tmp_path, name, image, **options))
    assert loaded.shape == LINE.shape
    assert np.corrcoef(loaded.ravel(), LINE.ravel())[0, 1] > closeness


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.gif"])
def test_animations_are_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, name, save_all=True, append_images=[Image.fromarray(255 - LINE)])
    with pytest.raises(MediaError, match=f"{path}: has 2 pages or frames"):
        probe_image(path)


def test_a_tiff_whose_pages_go_in_a_circle(tmp_path: Path) -> None:
    path = save(tmp_path, "x.tif")
    data = bytearray(path.read_bytes())
    directory = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, directory)[0]
    struct.pack_into("<I", data, directory + 2 + 12 * entries, directory)  # the next page is this page
    path.write_bytes(data)
    np.testing.assert_array_equal(load_line(path), LINE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_nonsense_in_exif_turns_nothing(tmp_path: Path) -> None:
    nonsense = Image.Exif()
    nonsense[0x0112] = 77
    for exif in (nonsense, b"Exif\0\0II*\0\xff\xff\xff\xff"):
        assert load_line(save(tmp_path, "x.jpg", exif=exif)).shape == LINE.shape


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        b"GIF89a",
        b"BM",
    ],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=f"{path}: is "):
        load_line(path)


def test_gray_levels_keep_the_polarity_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, "x.png", Image.fromarray(255 - LINE))
    np.testing.assert_array_equal(load_gray(path), 255 - LINE)
    np.testing.assert_array_equal(load_line(path), LINE)
