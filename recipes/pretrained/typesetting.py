"""Text as printers set it, for `ctcrec render`: the book text has straight quotes and `--`; print has neither."""

import itertools
import lzma
import re
from collections.abc import Iterable
from pathlib import Path

from ctcrec.data.manifest import read_manifest

_OPENING = re.compile(r"(?<![\w.,;:!?)\]])(['\"])(?=[\w(\[—'\"])")


def typeset(text: str) -> str:
    """Curly quotes, by what stands beside them, and long dashes."""
    text = text.replace("--", "—")
    text = _OPENING.sub(lambda found: {"'": "‘", '"': "“"}[found[1]], text)
    return text.replace("'", "’").replace('"', "”")


def write_book_text(source: Path, out: Path, paragraphs: int) -> Path:
    """So many paragraphs of the book text, drawn evenly from all of it."""
    with lzma.open(source, "rt", encoding="utf-8") as file:
        rows = sum(1 for _ in file)
    step = max(1, rows // paragraphs)
    with lzma.open(source, "rt", encoding="utf-8") as file:
        return _write(out, (typeset(row.strip()) for row in itertools.islice(file, 0, None, step)))


def write_transcripts(manifest: Path, out: Path, times: int = 1) -> Path:
    """The texts of a manifest, each so many times, so that they are drawn in several fonts."""
    texts = [example.text or "" for example in read_manifest(manifest)]
    return _write(out, (text for _ in range(times) for text in texts))


def _write(out: Path, lines: Iterable[str]) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out
