"""Read many media in processes of their own, in order, in bounded memory, and remember what was read.

The record of what was read is a JSONL file that grows while reading goes on, so that whatever stops it, the next run
goes on from there. A medium is taken from the record where its file has the same size and time of change.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, TypeVar

from ctcrec.checking.media import Medium, MediumRequest, read_media
from ctcrec.errors import DataError

__all__ = ["MediaReader"]

_CHUNK = 16  # media a process reads at a time
_AHEAD = 4  # chunks in work or waiting, for each process
_HEADER = {"format": "ctcrec-media-1"}

_Item = TypeVar("_Item")
_Stamp = tuple[int, int]  # size and time of change of a file


class MediaReader:
    """Reads media with `processes` processes (0: in this one).

        with MediaReader(2, whole=True, record=Path("findings.media.jsonl")) as reader:
            for example, medium in reader.read((example, request_of(example)) for example in examples):
                ...

    Args:
        processes: how many.
        whole: decode the content, not only the header.
        record: where to remember what was read; None = nowhere.

    Attributes:
        n_read, n_remembered: media read in this run, and taken from the record.

    Raises:
        DataError: the record is another file, or cannot be read or written.
    """

    def __init__(self, processes: int, whole: bool, record: Path | None = None) -> None:
        self.whole = whole
        self.n_read = 0
        self.n_remembered = 0
        self._path = record
        self._processes = processes
        self._known: dict[str, tuple[_Stamp, bool, Medium]] = {}
        self._file: BinaryIO | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> MediaReader:
        if self._path is not None:
            self._known, size = _load(self._path)
            self._file = _open_for_more(self._path, size)
        if self._processes:
            self._pool = _start_pool(self._processes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._file is not None:
            self._file.close()

    def read(self, items: Iterable[tuple[_Item, MediumRequest]]) -> Iterator[tuple[_Item, Medium]]:
        """Each item with its medium, in order. A file that kills the process that reads it is an unreadable medium.

        Raises:
            DataError: the record cannot be written.
        """
        waiting: deque[_Chunk[_Item]] = deque()
        iterator = iter(items)
        while items_of_chunk := list(islice(iterator, _CHUNK)):
            waiting.append(self._begin(items_of_chunk))
            if len(waiting) > _AHEAD * max(1, self._processes):
                yield from self._finish(waiting.popleft())
        while waiting:
            yield from self._finish(waiting.popleft())

    def _begin(self, items: list[tuple[_Item, MediumRequest]]) -> _Chunk[_Item]:
        stamps = [_stamp(request.path) for _, request in items]
        known = [self._remember(request, stamp) for (_, request), stamp in zip(items, stamps, strict=True)]
        missing = [request for (_, request), medium in zip(items, known, strict=True) if medium is None]
        future = None
        if missing and self._pool is not None:
            with contextlib.suppress(BrokenProcessPool):  # seen again when the chunk that broke it is finished
                future = self._pool.submit(read_media, missing, self.whole)
        return _Chunk(items, stamps, known, missing, future)

    def _finish(self, chunk: _Chunk[_Item]) -> Iterator[tuple[_Item, Medium]]:
        fresh = iter(self._read_missing(chunk))
        self.n_read += len(chunk.missing)
        self.n_remembered += len(chunk.items) - len(chunk.missing)
        lines = []
        for (item, request), stamp, known in zip(chunk.items, chunk.stamps, chunk.known, strict=True):
            medium = next(fresh) if known is None else known
            if known is None and self._file is not None and stamp is not None and medium.error is None:
                row = {"key": request.key, "stamp": stamp, "whole": self.whole, "medium": medium.to_dict()}
                lines.append(json.dumps(row) + "\n")
            yield item, medium
        self._write("".join(lines))

    def _read_missing(self, chunk: _Chunk[_Item]) -> list[Medium]:
        if self._pool is None or not chunk.missing:
            return read_media(chunk.missing, self.whole)
        try:
            if chunk.future is not None:
                return chunk.future.result()
        except BrokenProcessPool:
            pass
        return [self._read_alone(request) for request in chunk.missing]

    def _read_alone(self, request: MediumRequest) -> Medium:
        """Read one medium while nothing else is read, so that it is known what kills a process."""
        assert self._pool is not None
        for _ in range(2):  # the first try may find a pool that another file has broken
            try:
                return self._pool.submit(read_media, [request], self.whole).result()[0]
            except BrokenProcessPool:
                self._pool.shutdown()
                self._pool = _start_pool(self._processes)
        return Medium(
            f"{request.path}: kills the process that reads it, perhaps for want of memory; cut it, or convert it"
        )

    def _remember(self, request: MediumRequest, stamp: _Stamp | None) -> Medium | None:
        """What the record says of a file that has not changed since."""
        found = self._known.get(request.key)
        if found is None or found[0] != stamp or (self.whole and not found[1]):
            return None
        return found[2]

    def _write(self, lines: str) -> None:
        if self._file is None or not lines:
            return
        try:
            self._file.write(lines.encode())
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error.strerror or error}; free space") from None


@dataclass(frozen=True, slots=True)
class _Chunk(Generic[_Item]):
    """Items on their way: what the record knows of them, and what is being read."""

    items: list[tuple[_Item, MediumRequest]]
    stamps: list[_Stamp | None]
    known: list[Medium | None]
    missing: list[MediumRequest]
    future: Future[list[Medium]] | None


def _start_pool(processes: int) -> ProcessPoolExecutor:
    """Processes that run already. A fork shares all that is loaded; it comes before the thread of a progress bar."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(processes, context, initializer=_leave_interrupts_to_the_parent)
    pool.submit(os.getpid).result()
    return pool


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent decides when its processes end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _load(path: Path) -> tuple[dict[str, tuple[_Stamp, bool, Medium]], int]:
    """The record by request, and its size in bytes without a last line that a kill cut off."""
    known: dict[str, tuple[_Stamp, bool, Medium]] = {}
    size = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                if size:
                    known[row["key"]] = (tuple(row["stamp"]), row["whole"], Medium(**row["medium"]))
                elif row != _HEADER:
                    raise ValueError
                size += len(line)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; choose another --out") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: is not what this version of `ctcrec check` remembers its reading in, or is damaged; remove it, or"
            " choose another --out"
        ) from None
    return known, size


def _open_for_more(path: Path, size: int) -> BinaryIO:
    """The record cut to `size`, with its first line, ready for more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("r+b" if path.exists() else "wb")
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        if not size:
            file.write(json.dumps(_HEADER).encode() + b"\n")
        return file
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
