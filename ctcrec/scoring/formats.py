"""Rows of the file formats that hold transcripts: how each is read from and written to one line.

| format | a line                                              | id                         |
|--------|-----------------------------------------------------|----------------------------|
| lines  | the text                                            | the line's number, from 1  |
| trn    | the text, then the id in parentheses                | as given                   |
| kaldi  | id, space, text                                     | as given                   |
| tsv    | id, tab, text; or a header with id and text columns | as given                   |
| jsonl  | an object with id and text, further keys kept (1)   | as given                   |
| stm    | file channel speaker start end [<label>] text       | file-channel-start-end     |
| ctm    | file channel start duration word [confidence]       | file-channel; see `place_words` |

(1) Rows of one id that follow each other, each with a `score`, are its candidates, best first, as `ctcrec decode
--nbest` prints them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ctcrec.errors import DataError

__all__ = ["LINE_FORMATS", "Entry", "TimedWord", "parse_lines", "render_lines"]


class TimedWord(NamedTuple):
    """One recognized word: `start` and `end` in seconds or pixels, `confidence` a probability; None where unknown."""

    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One transcript: its id, its text, and what else its file says of it.

    `fields` are the values by which scores can be grouped (speaker, writer, any key of a manifest). `tokens` are what
    the recognizer put out, smaller than words, where they are known. `nbest` are further hypotheses, best first, the
    text itself among them.
    """

    id: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
    words: tuple[TimedWord, ...] = ()
    tokens: tuple[TimedWord, ...] = ()
    nbest: tuple[str, ...] = ()
    confidence: float | None = None


NumberedLines = Iterable[tuple[int, str]]
NumberedEntries = Iterator[tuple[int, Entry]]
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*", re.DOTALL)
_SPEAKER = re.compile(r"([^-_]+)[-_]")
_STM = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)(?:\s+(<[^>]*>))?(?:\s+(.*))?", re.DOTALL)
_IGNORED_SEGMENT = "IGNORE_TIME_SEGMENT_IN_SCORING"


def parse_lines(form: str, lines: Iterable[str], name: str) -> NumberedEntries:
    """Read the lines of a file of one of `LINE_FORMATS`.

    Returns:
        (line number, entry) for each. Of a ctm, one entry a file and channel, its words in the order of time.

    Raises:
        DataError: a line is malformed; the message starts with `name:line:`.
    """
    numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))
    return _PARSERS[form](numbered, name)


def _parse_plain(lines: NumberedLines, name: str) -> NumberedEntries:
    for number, line in lines:
        yield number, Entry(str(number), line)


def _parse_trn(lines: NumberedLines, name: str) -> NumberedEntries:
    for number, line in lines:
        if not line.strip() or line.startswith(";;"):
            continue
        match = _TRN.fullmatch(line)
        if match is None:
            raise DataError(
                f"{name}:{number}: a trn line is a text followed by its id in parentheses, got {line[:80]!r}"
            )
        speaker = _SPEAKER.match(match[2])
        yield number, Entry(match[2], match[1].strip(), {"speaker": speaker[1]} if speaker else {})


def _parse_kaldi(lines: NumberedLines, name: str) -> NumberedEntries:
    for number, line in lines:
        if line.strip():
            identifier, _, text = line.strip().partition(" ")
            if "\t" in identifier:
                identifier, _, rest = identifier.partition("\t")
                text = f"{rest} {text}"
            yield number, Entry(identifier, text.strip())


def _parse_tsv(lines: NumberedLines, name: str) -> NumberedEntries:
    header: list[str] | None = None
    for number, line in lines:
        if not line.strip():
            continue
        cells = line.split("\t")
        if header is None:
            names = [cell.strip().lower() for cell in cells]
            if "id" in names and "text" in names:
                header = names
                continue
            header = ["id", "text"]
        if len(cells) != len(header):
            expected = ", ".join(header)
            raise DataError(
                f"{name}:{number}: expected {len(header)} columns separated by tabs ({expected}), got {len(cells)}"
            )
        row = dict(zip(header, cells, strict=True))
        identifier, text = row.pop("id"), row.pop("text")
        yield number, Entry(identifier, text, row)


def _parse_jsonl(lines: NumberedLines, name: str) -> NumberedEntries:
    last: tuple[int, Entry] | None = None
    for number, entry in _json_rows(lines, name):
        if last is not None and last[1].id == entry.id and "score" in last[1].fields and "score" in entry.fields:
            last = last[0], replace(last[1], nbest=(*(last[1].nbest or (last[1].text,)), entry.text))
            continue
        if last is not None:
            yield last
        last = number, entry
    if last is not None:
        yield last


def _json_rows(lines: NumberedLines, name: str) -> NumberedEntries:
    for number, line in lines:
        if line.strip():
            try:
                row = json.loads(line)
                if "\\ud" in line.lower():  # an escape may spell half a surrogate pair, which is no character
                    json.dumps(row, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name}:{number}: is not valid JSON: {error}") from None
            yield number, _entry_of_json(row, f"{name}:{number}")


def _entry_of_json(row: Any, where: str) -> Entry:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object with id and text, got {type(row).__name__}")
    for key in ("id", "text"):
        if not isinstance(row.get(key), str):
            raise DataError(f"{where}: the key {key!r} must be a string, got {row.get(key)!r}")
    confidence = row.get("confidence")
    try:
        words, tokens = (
            tuple(
                TimedWord(str(span[key]), span.get("start"), span.get("end"), span.get("confidence"))
                for span in row.get(f"{key}s") or ()
            )
            for key in ("word", "token")
        )
        nbest = tuple(item if isinstance(item, str) else str(item["text"]) for item in row.get("nbest") or ())
    except (TypeError, KeyError, AttributeError):
        raise DataError(
            f"{where}: words (tokens) must be a list of objects with the key word (token), nbest a list of texts or of "
            "objects with text"
        ) from None
    fields = {
        key: str(value)
        for key, value in row.items()
        if key not in ("id", "text", "words", "tokens", "nbest", "confidence") and isinstance(value, str | int | float)
    }
    return Entry(
        row["id"],
        row["text"],
        fields,
        words,
        tokens,
        nbest,
        float(confidence) if isinstance(confidence, int | float) else None,
    )


def _parse_stm(lines: NumberedLines, name: str) -> NumberedEntries:
    for number, line in lines:
        if not line.strip() or line.startswith(";;"):
            continue
        match = _STM.fullmatch(line.strip())
        if match is None:
            raise DataError(f"{name}:{number}: a stm line is `file channel speaker start end [<label>] text`")
        file, channel, speaker, start, end, label, text = match.groups()
        times = [_number(value, f"{name}:{number}") for value in (start, end)]
        if times[1] < times[0]:
            raise DataError(f"{name}:{number}: the segment ends ({end}) before it starts ({start})")
        if text and text.strip() == _IGNORED_SEGMENT:
            continue
        fields = {"file": file, "channel": channel, "speaker": speaker, "start": start, "end": end}
        if label:
            fields["label"] = label
        yield number, Entry(f"{file}-{channel}-{start}-{end}", (text or "").strip(), fields)


def _parse_ctm(lines: NumberedLines, name: str) -> NumberedEntries:
    words: dict[tuple[str, str], list[TimedWord]] = {}
    first: dict[tuple[str, str], int] = {}
    for number, line in lines:
        cells = line.split()
        if not cells or line.startswith(";;"):
            continue
        if len(cells) < 5 or cells[4].startswith("<ALT"):
            raise DataError(
                f"{name}:{number}: a ctm line is `file channel start duration word [confidence]`, without alternatives"
            )
        start, duration = (_number(value, f"{name}:{number}") for value in cells[2:4])
        known = len(cells) > 5 and cells[5] != "NA"
        confidence = _number(cells[5], f"{name}:{number}") if known else None
        words.setdefault((cells[0], cells[1]), []).append(TimedWord(cells[4], start, start + duration, confidence))
        first.setdefault((cells[0], cells[1]), number)
    for (file, channel), timed in words.items():
        timed.sort(key=lambda word: word.start or 0.0)
        text = " ".join(word.word for word in timed)
        yield first[file, channel], Entry(f"{file}-{channel}", text, {"file": file, "channel": channel}, tuple(timed))


def _number(value: str, where: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DataError(f"{where}: expected a number, got {value!r}") from None


_PARSERS: Mapping[str, Callable[[NumberedLines, str], NumberedEntries]] = {
    "lines": _parse_plain,
    "trn": _parse_trn,
    "kaldi": _parse_kaldi,
    "tsv": _parse_tsv,
    "jsonl": _parse_jsonl,
    "stm": _parse_stm,
    "ctm": _parse_ctm,
}
LINE_FORMATS = tuple(_PARSERS)


def render_lines(form: str, entries: Iterable[Entry]) -> Iterator[str]:
    """The lines of a file of one of `LINE_FORMATS`, without line ends.

    Raises:
        DataError: an entry does not fit the format: an id or text with characters that separate its columns, or times
            missing for ctm and stm.
    """
    for entry in entries:
        yield from _RENDERERS[form](entry)


def _check(entry: Entry, form: str, forbidden_in_id: str, forbidden_in_text: str = "\r\n") -> None:
    wrong = set(entry.id) & set(forbidden_in_id)
    if wrong or not entry.id:
        raise DataError(f"id {entry.id!r} cannot be written as {form}, because of {sorted(wrong)}; write jsonl instead")
    wrong = set(entry.text) & set(forbidden_in_text)
    if wrong:
        raise DataError(f"the text of {entry.id!r} cannot be written as {form}, because of {sorted(wrong)}")


def _render_plain(entry: Entry) -> Iterator[str]:
    _check(entry, "lines", "")
    yield entry.text


def _render_trn(entry: Entry) -> Iterator[str]:
    _check(entry, "trn", " \t\r\n()")
    if entry.text.startswith(";;"):
        raise DataError(f"the text of {entry.id!r} cannot be written as trn: it would be read as a comment")
    yield f"{entry.text} ({entry.id})" if entry.text else f"({entry.id})"


def _render_kaldi(entry: Entry) -> Iterator[str]:
    _check(entry, "kaldi", " \t\r\n")
    yield f"{entry.id} {entry.text}" if entry.text else entry.id


def _render_tsv(entry: Entry) -> Iterator[str]:
    _check(entry, "tsv", "\t\r\n", "\t\r\n")
    yield f"{entry.id}\t{entry.text}"


def _render_jsonl(entry: Entry) -> Iterator[str]:
    row: dict[str, Any] = {"id": entry.id, "text": entry.text, **entry.fields}
    if entry.confidence is not None:
        row["confidence"] = entry.confidence
    for key, spans in (("word", entry.words), ("token", entry.tokens)):
        if spans:
            named = [{key: span.word, **span._asdict()} for span in spans]
            row[f"{key}s"] = [
                {k: v for k, v in span.items() if v is not None and (k != "word" or key == "word")} for span in named
            ]
    if entry.nbest:
        row["nbest"] = list(entry.nbest)
    yield json.dumps(row, ensure_ascii=False)


def _place(entry: Entry) -> tuple[str, str]:
    """File and channel of a ctm or stm line: as read, or the id itself."""
    return entry.fields.get("file", entry.id), entry.fields.get("channel", "1")


def _render_stm(entry: Entry) -> Iterator[str]:
    _check(entry, "stm", " \t\r\n")
    start = entry.fields.get("start", "0" if "duration" in entry.fields else None)
    end = entry.fields.get("end", entry.fields.get("duration"))
    if start is None or end is None:
        raise DataError(f"{entry.id!r} cannot be written as stm: its start and end, or its duration, is not known")
    file, channel = _place(entry)
    speaker = entry.fields.get("speaker", "unknown").replace(" ", "_")
    yield " ".join(filter(None, (file, channel, speaker, start, end, entry.fields.get("label"), entry.text)))


def _render_ctm(entry: Entry) -> Iterator[str]:
    _check(entry, "ctm", " \t\r\n")
    if len(entry.words) != len(entry.text.split()) or any(w.start is None or w.end is None for w in entry.words):
        raise DataError(f"{entry.id!r} cannot be written as ctm: the times of its words are not known")
    file, channel = _place(entry)
    for word, start, end, confidence in entry.words:
        assert start is not None and end is not None
        row = f"{file} {channel} {start:.3f} {end - start:.3f} {word}"
        yield row if confidence is None else f"{row} {confidence:.4f}"


_RENDERERS: Mapping[str, Callable[[Entry], Iterator[str]]] = {
    "lines": _render_plain,
    "trn": _render_trn,
    "kaldi": _render_kaldi,
    "tsv": _render_tsv,
    "jsonl": _render_jsonl,
    "stm": _render_stm,
    "ctm": _render_ctm,
}
