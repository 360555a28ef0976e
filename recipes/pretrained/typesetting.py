"""Text as printers set it, for `ctcrec render`: the book text has straight quotes and `--`; print has neither. And text
as language models want it."""

import lzma
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from ctcrec.data.manifest import read_manifest

_OPENING = re.compile(r"(?<![\w.,;:!?)\]])(['\"])(?=[\w(\[—'\"])")


def typeset(text: str) -> str:
    """Curly quotes, by what stands beside them, and long dashes."""
    text = text.replace("--", "—")
    text = _OPENING.sub(lambda found: {"'": "‘", '"': "“"}[found[1]], text)
    return text.replace("'", "’").replace('"', "”")


_SIGNS = (
    "{}%", "{} %", "({} + {})", "{} + {} = {}", "{}/{}", "and/or", "§ {}", "§§ {}, {}", "@ {}d.", "#{}", "£{} {}s.",
    "${}.{}", "{}° {}′", "{} × {}", "¶ {}", "†", "‡", "*", "[{}]", "{}½", "{}¼", "{}¾", "<{}>", "A_{}", "~{}", "{}|{}",
    "a\\b", "^{}", "{{{}}}", "é", "è", "à la", "café", "naïve", "rôle", "fête", "Zoë", "señor", "garçon", "Ægean",
    "œuvre", "Köln", "Møller", "Århus", "Škoda", "€{}", "{}–{}", "« {} »", "Éire", "Ürgüp",
)  # fmt: skip


def write_book_text(source: Path, out: Path, paragraphs: int) -> Path:
    """So many paragraphs of the book text, drawn evenly from all of it; and among them every paragraph with letters or
    signs beyond ASCII, which are few. Into one in eight comes a sign or a foreign word, for novels have hardly any.
    """
    with lzma.open(source, "rt", encoding="utf-8") as file:
        rows = [row.strip() for row in file]
    step = max(1, len(rows) // paragraphs)
    chance = random.Random(0)
    chosen = (row for number, row in enumerate(rows) if number % step == 0 or not row.isascii())
    return _write(out, _with_signs((typeset(row) for row in chosen), chance))


def _with_signs(rows: Iterable[str], chance: random.Random) -> Iterator[str]:
    for row in rows:
        words = row.split(" ")
        if chance.random() < 0.125:
            for place in range(chance.randrange(12), len(words), 13):
                numbers = (str(chance.randrange(1, 10 ** chance.randrange(1, 4))) for _ in range(3))
                words[place] += " " + chance.choice(_SIGNS).format(*numbers)
        yield " ".join(words)


def write_transcripts(manifest: Path, out: Path, times: int = 1) -> Path:
    """The texts of a manifest, each so many times, so that they are drawn in several fonts."""
    texts = [example.text or "" for example in read_manifest(manifest)]
    return _write(out, (text for _ in range(times) for text in texts))


def write_in_both_cases(manifest: Path, out: Path) -> Path:
    """The texts of a manifest for a language model of hands that write any word in capitals: each text as it is, in
    capitals without accents, and, if words of it are capitals, with these in small letters.
    """
    texts = [example.text or "" for example in read_manifest(manifest)]
    capitals = [_without_accents(text.upper()) for text in texts]
    small = [
        " ".join(word.lower() if word.isupper() and len(word) > 2 else word for word in text.split(" "))
        for text in texts
    ]
    return _write(out, [*texts, *capitals, *(new for new, text in zip(small, texts, strict=True) if new != text)])


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))


def _write(out: Path, lines: Iterable[str]) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out
