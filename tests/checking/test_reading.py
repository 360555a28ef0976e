"""Reading in processes: order, what is remembered, and files that kill their reader."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from tiny import draw_text

from ctcrec.checking import media, reading
from ctcrec.checking.media import Medium, MediumRequest
from ctcrec.checking.reading import MediaReader
from ctcrec.errors import DataError

COUNT = 100  # more than are in work at a time


@pytest.fixture
def requests(tmp_path: Path) -> list[MediumRequest]:
    made = []
    for number in range(COUNT):
        path = tmp_path / f"{number:03}.png"
        Image.fromarray(draw_text("abcd"[: 1 + number % 4] * (1 + number // 4))).save(path)
        made.append(MediumRequest(str(path), "ocr"))
    return made


def read(
    requests: Sequence[MediumRequest], processes: int, whole: bool, record: Path | None
) -> tuple[list[Medium], int]:
    """The media in order, and how many were read and not remembered."""
    with MediaReader(processes, whole, record) as reader:
        items = list(reader.read((number, request) for number, request in enumerate(requests)))
        assert [item for item, _ in items] == list(range(len(requests)))
        assert reader.n_read + reader.n_remembered == len(requests)
        return [medium for _, medium in items], reader.n_read


@pytest.mark.parametrize("whole", [True, False])
def test_processes_do_not_change_the_result(requests: list[MediumRequest], whole: bool) -> None:
    alone, _ = read(requests, 0, whole, None)
    assert read(requests, 2, whole, None) == (alone, COUNT)
    assert len({medium.width for medium in alone}) > 20


def test_what_has_not_changed_is_not_read_again(requests: list[MediumRequest], tmp_path: Path) -> None:
    record = tmp_path / "sub" / "x.media.jsonl"
    headers, n_read = read(requests, 0, False, record)
    assert n_read == COUNT
    assert read(requests, 0, False, record) == (headers, 0)
    whole, n_read = read(requests, 0, True, record)  # headers are not enough
    assert n_read == COUNT
    assert read(requests, 2, True, record) == (whole, 0)
    assert read(requests, 2, False, record)[1] == 0
    Path(requests[7].path).write_bytes(Path(requests[30].path).read_bytes())
    os.utime(requests[8].path, ns=(1, 1))
    again, n_read = read(requests, 0, True, record)
    assert n_read == 2
    assert again[7] == whole[30] and again[8] == whole[8]


def test_failures_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_text("no image")
    record = tmp_path / "x.media.jsonl"
    for _ in range(2):
        [medium], n_read = read([MediumRequest(str(path), "ocr")], 0, True, record)
        assert n_read == 1 and medium.error is not None


def test_a_stopped_reading_goes_on(requests: list[MediumRequest], tmp_path: Path) -> None:
    record = tmp_path / "x.media.jsonl"
    with MediaReader(2, True, record) as reader:
        for item, _ in reader.read(enumerate(requests)):
            if item == 50:
                break
    whole, n_read = read(requests, 2, True, record)
    assert 0 < n_read < COUNT - 40
    content = record.read_bytes()
    record.write_bytes(content[: int(0.6 * len(content))])  # killed while it wrote
    again, n_read = read(requests, 0, True, record)
    assert again == whole and 30 < n_read < 50
    assert read(requests, 0, True, record) == (whole, 0)
    assert all(json.loads(row) for row in record.read_text().splitlines())


def test_another_file_in_the_place_of_the_record(requests: list[MediumRequest], tmp_path: Path) -> None:
    record = tmp_path / "x.media.jsonl"
    for content in ('{"id": "a"}\n', "no JSON\n", '{"format": "ctcrec-media-1"}\n{"key": 1}\n'):
        record.write_text(content)
        with pytest.raises(DataError, match=r"x\.media\.jsonl: is not what this version .* remove it"):
            read(requests, 0, False, record)
        assert record.read_text() == content
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read(requests, 0, False, tmp_path / "folder")


def test_only_a_few_media_are_ahead(requests: list[MediumRequest], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def ask() -> object:
        nonlocal asked
        for item in enumerate(requests * 20):
            asked += 1
            yield item

    with MediaReader(2, False, None) as reader:
        for taken, _ in reader.read(ask()):  # type: ignore[var-annotated, arg-type]
            assert asked <= taken + reading._CHUNK * (2 * reading._AHEAD + 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the patched function reaches forked processes only")
def test_a_file_that_kills_its_reader_is_one_finding(
    requests: list[MediumRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = media.read_medium

    def deadly(request: MediumRequest, whole: bool) -> Medium:
        if request.path.endswith("040.png"):
            os._exit(9)
        return harmless(request, whole)

    expected, _ = read(requests, 0, False, None)
    monkeypatch.setattr(media, "read_medium", deadly)
    result, _ = read(requests, 2, False, None)
    assert "040.png: kills the process that reads it" in (result[40].error or "")
    assert result[:40] + result[41:] == expected[:40] + expected[41:]


def test_memory_errors_are_findings(requests: list[MediumRequest], monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(path: str) -> None:
        raise MemoryError

    monkeypatch.setattr("ctcrec.ocr.media.probe_image", hungry)
    assert "more memory than there is" in (media.read_medium(requests[0], whole=False).error or "")
