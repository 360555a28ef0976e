"""ARPA files, plain and gzipped: the text form of back-off n-gram models that SRILM, KenLM and others share."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from ctcrec.errors import DataError, InputError
from ctcrec.lm.build import NGramList, build_tables
from ctcrec.lm.ngram import MAX_ORDER, NGramLM

__all__ = ["SPECIAL", "read_arpa", "write_arpa"]

SPECIAL = ("<unk>", "<s>", "</s>")
_MISSING_UNKNOWN = -100.0  # log10; what KenLM gives <unk> if the file has none
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)\s*")


class _Reader:
    """Lines of the file, counted, so that an error can say where."""

    def __init__(self, path: str | Path, lines: Iterator[str]) -> None:
        self.path = path
        self.lines = lines
        self.number = 0

    def next(self) -> str:
        line = next(self.lines, None)
        if line is None:
            self.fail("the file ends here, without \\end\\; it is cut off")
        self.number += 1
        return line.rstrip("\r\n")

    def next_filled(self) -> str:
        while not (line := self.next()).strip():
            pass
        return line.strip()

    def fail(self, what: str) -> NoReturn:
        raise DataError(f"{self.path}:{self.number}: {what}")


def read_arpa(path: str | Path) -> NGramLM:
    """Read an ARPA file.

    `<UNK>` counts as `<unk>`; a model without it gets it with log10 probability -100, as in KenLM.

    Raises:
        DataError: the file is not ARPA, is cut off, or an entry is malformed (names the line).
    """
    try:
        with open(path, "rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if packed else open(path, encoding="utf-8") as file:
            return _read(_Reader(path, iter(file)))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the language model ({error})") from error


def _read(reader: _Reader) -> NGramLM:
    counts = _read_counts(reader)
    numbers: dict[str, int] = {word: number for number, word in enumerate(SPECIAL)}
    orders: list[NGramList] = []
    for length, count in enumerate(counts, start=1):
        if reader.next_filled() != f"\\{length}-grams:":
            reader.fail(f"expected \\{length}-grams: here, after {'the counts' if length == 1 else 'all n-grams'}")
        if length == 1:
            orders.append(_read_unigrams(reader, count, numbers))
        else:
            orders.append(_read_ngrams(reader, length, count, numbers, longest=length == len(counts)))
    if reader.next_filled() != "\\end\\":
        reader.fail("expected \\end\\ after the last n-gram; are there more than the header says?")
    try:
        tables = build_tables(orders)
    except InputError as error:
        words = list(numbers)
        text = re.sub(r"words \[([\d, ]+)\]", lambda m: " ".join(words[int(n)] for n in m[1].split(",")), str(error))
        raise DataError(f"{reader.path}: {text}") from error
    return NGramLM(list(numbers), tables, [len(ngrams.words) for ngrams in orders])


def _read_counts(reader: _Reader) -> list[int]:
    line = reader.next_filled()
    while line != "\\data\\":
        if reader.number > 1000:
            reader.fail("no \\data\\ so far; this is not an ARPA file")
        line = reader.next_filled()
    counts: list[int] = []
    while (line := reader.next().strip()) or not counts:
        if not line:
            continue
        match = _COUNT.fullmatch(line)
        if match is None or int(match[1]) != len(counts) + 1:
            reader.fail(f"expected 'ngram {len(counts) + 1}=COUNT', not {line!r}")
        counts.append(int(match[2]))
    if len(counts) > MAX_ORDER:
        reader.fail(f"the model has order {len(counts)}; at most {MAX_ORDER} can be used")
    return counts


def _read_unigrams(reader: _Reader, count: int, numbers: dict[str, int]) -> NGramList:
    prob: dict[int, float] = {}
    backoff: dict[int, float] = {}
    for _ in range(count):
        fields = reader.next().split()
        if len(fields) not in (2, 3):
            reader.fail("expected 'log10-probability word [log10-backoff]'")
        word = "<unk>" if fields[1] == "<UNK>" else fields[1]
        number = numbers.setdefault(word, len(numbers))
        if number in prob:
            reader.fail(f"the word {word!r} stands twice")
        prob[number] = _number(reader, fields[0])
        backoff[number] = _number(reader, fields[2]) if len(fields) == 3 else 0.0
    prob.setdefault(0, _MISSING_UNKNOWN)
    for special in (1, 2):
        if special not in prob:
            reader.fail(f"the model has no {SPECIAL[special]}; it must score whole sentences")
    total = len(numbers)
    return NGramList(
        np.arange(total, dtype=np.int32)[:, None],
        np.array([prob[number] for number in range(total)], dtype=np.float32),
        np.array([backoff.get(number, 0.0) for number in range(total)], dtype=np.float32),
    )


def _read_ngrams(reader: _Reader, length: int, count: int, numbers: dict[str, int], longest: bool) -> NGramList:
    words = np.empty((count, length), np.int32)
    prob = np.empty(count, np.float32)
    backoff = np.zeros(count, np.float32)
    for row in range(count):
        fields = reader.next().split()
        if len(fields) == length + 2 and not longest:
            backoff[row] = _number(reader, fields[-1])
        elif len(fields) != length + 1:
            reader.fail(f"expected 'log10-probability' and {length} words{'' if longest else ' [log10-backoff]'}")
        prob[row] = _number(reader, fields[0])
        try:
            words[row] = [numbers[word] for word in fields[1 : length + 1]]
        except KeyError:
            unknown = next(word for word in fields[1 : length + 1] if word not in numbers)
            if unknown != "<UNK>":
                reader.fail(f"the word {unknown!r} is not among the unigrams")
            words[row] = [numbers["<unk>" if word == "<UNK>" else word] for word in fields[1 : length + 1]]
    return NGramList(words, prob, backoff)


def _number(reader: _Reader, field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        reader.fail(f"{field!r} is not a number")
    if value != value or value == float("inf"):
        reader.fail(f"{field!r} is not a log10 probability")
    return value


def write_arpa(model: NGramLM, path: str | Path) -> None:
    """Write an ARPA file; gzipped if the name ends in `.gz`."""
    tables, words = model.tables, model.words
    packed = str(path).endswith(".gz")
    with (
        gzip.open(path, "wt", encoding="utf-8", compresslevel=6)
        if packed
        else open(path, "w", encoding="utf-8") as file
    ):
        file.write("\\data\\\n")
        file.writelines(f"ngram {length}={count}\n" for length, count in enumerate(model.counts, start=1))
        begin = 1
        context = [""]
        for length, count in enumerate(model.counts, start=1):
            file.write(f"\n\\{length}-grams:\n")
            end = begin + count
            states = np.searchsorted(tables.first_entry, np.arange(begin, end), side="right") - 1
            texts = _texts(context, states, begin - len(context), tables.word[begin:end], words)
            probs = tables.log10_prob[begin:end].tolist()
            if length == model.order:
                file.writelines(f"{prob:.7g}\t{text}\n" for prob, text in zip(probs, texts, strict=True))
            else:
                backoffs = tables.log10_backoff[begin:end].tolist()
                rows = zip(probs, texts, backoffs, strict=True)
                file.writelines(f"{prob:.7g}\t{text}\t{backoff:.7g}\n" for prob, text, backoff in rows)
                context = texts
            begin = end
        file.write("\n\\end\\\n")


def _texts(
    context: Sequence[str], states: np.ndarray, first_state: int, last: np.ndarray, words: Sequence[str]
) -> list[str]:
    """The n-grams of one length as text; `context` are those one word shorter, from state `first_state` on."""
    if first_state == 0 and len(context) == 1:
        return [words[word] for word in last.tolist()]
    pairs = zip((states - first_state).tolist(), last.tolist(), strict=True)
    return [f"{context[state]} {words[word]}" for state, word in pairs]
