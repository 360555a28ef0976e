"""Reading files of a corpus that may come from anywhere: text, JSON rows, and paths that must not lead out of it."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ctcrec.errors import CorpusError

__all__ = [
    "MediaFolder",
    "Unusable",
    "decode_text",
    "find_files",
    "number_of",
    "read_bytes",
    "read_json",
    "read_json_rows",
    "read_lines",
    "string_of",
    "walk_files",
    "write_medium",
]

_LONGEST_LINE = 2**24  # bytes; no transcript is longer, and a packed file of zeros would fill the memory
_LARGEST_FILE = 2**28  # bytes of a file that is read as a whole


class Unusable(Exception):
    """Why an example is left out. `detail` is what differs between examples with the same reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 text file, from 1, without line ends; `.gz` is unpacked on the way.

    Raises:
        CorpusError: the file cannot be read, is no UTF-8 text, or has a line beyond all reason.
    """
    number = 1
    try:
        with _opened(path) as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise CorpusError(f"{path}:{number}: a line of more than {_LONGEST_LINE} bytes is no transcript")
                yield number, decode_text(line.rstrip(b"\r\n"), f"{path}:{number}", first=number == 1)
                number += 1
    except (EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: is truncated or damaged gzip data ({error}); fetch it again") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def decode_text(data: bytes, where: str, first: bool = True) -> str:
    """UTF-8 bytes as text, without a byte order mark if they are the first of a file.

    Raises:
        CorpusError: they are no UTF-8; the message starts with `where`.
    """
    try:
        return data.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{where}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None


def read_bytes(path: Path) -> bytes:
    """A whole file.

    Raises:
        CorpusError: it cannot be read, or is larger than any text file of a corpus.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if len(data) > _LARGEST_FILE:
        raise CorpusError(f"{path}: is larger than {_LARGEST_FILE // 2**20} MiB, which no such file should be")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object. Raises CorpusError where it does not."""
    return _object(decode_text(read_bytes(path), str(path)), str(path))


def read_json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, object) of each row of a JSONL file; empty lines are passed over.

    Raises:
        CorpusError: see `read_lines`; or a row is no JSON object.
    """
    for number, line in read_lines(path):
        if line.strip():
            yield f"{path}:{number}", _object(line, f"{path}:{number}")


def number_of(row: dict[str, Any], key: str, where: str) -> float | None:
    """A finite number ≥ 0 of a row, None where the key is missing or null. Raises CorpusError for anything else."""
    value = row.get(key)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise CorpusError(f"{where}: {key} must be a number ≥ 0, got {str(value)[:40]!r}")
    return number


def string_of(row: dict[str, Any], key: str) -> str | None:
    """A text of a row; None where the key is missing, empty, or something else."""
    value = row.get(key)
    return value if isinstance(value, str) and value else None


def walk_files(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each visible folder from `source` on, with the names of its visible files. Links to folders are not followed.

    Raises:
        CorpusError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}")

    for folder, folders, names in os.walk(source, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield Path(folder), [name for name in names if not name.startswith(".")]


def find_files(source: Path, endings: tuple[str, ...]) -> list[Path]:
    """All visible files below a folder whose lower-case names end so, sorted; see `walk_files`."""
    walked = walk_files(source)
    return sorted(folder / name for folder, names in walked for name in names if name.lower().endswith(endings))


def write_medium(path: Path, data: bytes) -> Path:
    """A medium that was inside another file, in one of its own. Raises CorpusError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
    return path


class MediaFolder:
    """Finds the media that a corpus names, and refuses those that lie elsewhere.

    Names are relative to `base`, else to `media`; what they lead to, links resolved, must lie below `base`, `media` or
    `source`. So a corpus from somewhere cannot make ctcrec read other files of the user's.
    """

    def __init__(self, base: Path, media: Path | None = None, source: Path | None = None) -> None:
        if media is not None and not media.is_dir():
            raise CorpusError(f"{media}: no such folder; --media names the folder that holds the media")
        self.base = base
        self._bases = [base] if media is None else [base, media]
        self._roots = [Path(os.path.realpath(folder)) for folder in (*self._bases, source) if folder is not None]

    def find(self, name: str) -> Path:
        """The file called `name`.

        Raises:
            Unusable: there is none, or it lies outside of the folders.
        """
        if not name.strip() or "\0" in name:
            raise Unusable("names no file")
        if "://" in name:
            raise Unusable("is an address, not a file; fetch it first", name)
        outside = False
        for base in self._bases:
            path = base / name
            try:
                inside = self._is_inside(path)
                if inside and path.exists():
                    return path
            except (OSError, ValueError):
                raise Unusable("has a path that no file can have", name[:100]) from None
            outside = outside or not inside
        if outside:
            raise self._leads_out(name)
        raise Unusable("its medium is not there", name)

    def check(self, path: Path) -> Path:
        """A file or folder that was found by looking; raises Unusable where links lead from it out of the folders."""
        if not self._is_inside(path):
            raise self._leads_out("a link")
        return path

    def identifier(self, path: Path) -> str:
        """A found file's path below its folder, with `/` and without its ending."""
        for base in self._bases:
            if path.is_relative_to(base):
                return path.relative_to(base).with_suffix("").as_posix()
        real = Path(os.path.realpath(path))
        root = next(root for root in self._roots if real.is_relative_to(root))
        return real.relative_to(root).with_suffix("").as_posix()

    def _is_inside(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._roots)

    def _leads_out(self, name: str) -> Unusable:
        folders = " and ".join(map(str, self._bases))
        return Unusable(f"leads out of {folders}; if its media lie elsewhere, name their folder with --media", name)


def _opened(path: Path) -> BinaryIO:
    packed = path.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def _unreadable(path: Path, error: OSError | ValueError) -> CorpusError:
    if isinstance(error, FileNotFoundError):
        return CorpusError(f"{path}: no such file")
    return CorpusError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row
