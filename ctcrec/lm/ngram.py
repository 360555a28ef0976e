"""`NGramLM`: a back-off n-gram model in memory or memory-mapped, scoring as KenLM does (Heafield 2011)."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ctcrec.errors import DataError, InputError
from ctcrec.lm.automaton import NGramTables, score_sequence

__all__ = ["MAX_ORDER", "NGramLM", "Perplexity", "WordScore"]

MAX_ORDER = 6
_MAGIC = b"ctcrec-ngram-1\n"
_ALIGNMENT = 64


class WordScore(NamedTuple):
    """One word of a scored sentence: log10 probability, length of the n-gram found for it, out of vocabulary."""

    log10_prob: float
    length: int
    unknown: bool


class Perplexity(NamedTuple):
    """Perplexity of a text, with and without the words that the model does not know; </s> counts as a word."""

    with_unknown: float
    without_unknown: float
    words: int
    unknown: int
    sentences: int
    log10_prob: float


class NGramLM:
    """A back-off n-gram model.

    `NGramLM.load` reads ARPA (plain or gzip) and the binary form that `save` writes, which is memory-mapped.

    Attributes:
        words: the vocabulary; a word's number is its place.
        tables: arrays for compiled code, see `ctcrec.lm.automaton`.
        order: longest n-gram.
        counts: how many n-grams of each length.
        unknown, start, end: numbers of <unk>, <s> and </s>.
    """

    def __init__(self, words: Sequence[str] | bytes, tables: NGramTables, counts: Sequence[int]) -> None:
        self._words = words
        self.tables = tables
        self.counts = tuple(counts)
        self.order = len(self.counts)
        self.unknown, self.start, self.end = 0, 1, 2  # whoever makes a model numbers its words so

    @classmethod
    def load(cls, path: str | Path) -> NGramLM:
        """Read a model: ARPA, gzipped ARPA, or the binary form.

        Raises:
            DataError: the file is missing, damaged or of another kind; names file and line.
        """
        try:
            with open(path, "rb") as file:
                head = file.read(len(_MAGIC))
        except OSError as error:
            raise DataError(f"{path}: cannot read the language model ({error.strerror})") from error
        if head == _MAGIC:
            return cls._map(Path(path))
        from ctcrec.lm.arpa import read_arpa

        return read_arpa(path)

    @cached_property
    def words(self) -> list[str]:
        if isinstance(self._words, bytes):
            return self._words.decode("utf-8").split("\n")
        return list(self._words)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @property
    def start_state(self) -> int:
        """The state after <s>."""
        return int(self.tables.next_state[1 + self.start])

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def index(self, word: str) -> int:
        """The word's number; <unk>'s if the model does not know it."""
        return self._index.get(word, self.unknown)

    def _numbers(self, sentence: str, eos: bool) -> npt.NDArray[np.int32]:
        numbers = [self._index.get(word, self.unknown) for word in sentence.split()]
        return np.array([*numbers, self.end] if eos else numbers, dtype=np.int32)

    def score_words(self, sentence: str, *, bos: bool = True, eos: bool = True) -> list[WordScore]:
        """Score every word of a whitespace-separated sentence, and </s> if `eos`, as KenLM's `full_scores` does."""
        numbers = self._numbers(sentence, eos)
        log10_probs, lengths, _ = score_sequence(self.tables, self.start_state if bos else 0, numbers)
        unknown = (numbers == self.unknown).tolist()
        return [WordScore(*one) for one in zip(log10_probs.tolist(), lengths.tolist(), unknown, strict=True)]

    def score(self, sentence: str, *, bos: bool = True, eos: bool = True) -> float:
        """log10 probability of a whitespace-separated sentence."""
        start = self.start_state if bos else 0
        return float(score_sequence(self.tables, start, self._numbers(sentence, eos))[0].sum())

    def state_after(self, words: Sequence[str], state: int) -> int:
        """The state that `words` lead to from `state`."""
        numbers = np.array([self.index(word) for word in words], dtype=np.int32)
        return int(score_sequence(self.tables, state, numbers)[2])

    def perplexity(self, sentences: Iterable[str]) -> Perplexity:
        """Perplexity over sentences, each with <s> before and </s> after it.

        Raises:
            InputError: there is no sentence.
        """
        total = unknown_total = 0.0
        words = unknown = count = 0
        for sentence in sentences:
            numbers = self._numbers(sentence, True)
            log10_probs, _, _ = score_sequence(self.tables, self.start_state, numbers)
            outside = numbers == self.unknown
            count += 1
            words += len(numbers)
            unknown += int(outside.sum())
            total += float(log10_probs.sum())
            unknown_total += float(log10_probs[outside].sum())
        if count == 0:
            raise InputError("there is no sentence to compute the perplexity of")
        known = (total - unknown_total) / (words - unknown)  # there is at least </s>
        return Perplexity(10 ** (-total / words), 10**-known, words, unknown, count, total)

    def save(self, path: str | Path) -> None:
        """Write the binary form: a line of JSON, then the arrays as they are in memory, little-endian, aligned."""
        vocabulary = self._words if isinstance(self._words, bytes) else "\n".join(self._words).encode("utf-8")
        blobs: dict[str, np.ndarray[Any, Any]] = {"words": np.frombuffer(vocabulary, np.uint8)}
        blobs |= self.tables._asdict()
        place = 0
        layout: dict[str, tuple[str, int, int]] = {}
        for name, array in blobs.items():
            layout[name] = (array.dtype.newbyteorder("<").str, place, len(array))
            place = -(-(place + array.nbytes) // _ALIGNMENT) * _ALIGNMENT
        head = json.dumps({"counts": list(self.counts), "bytes": place, "arrays": layout}).encode()
        head += b" " * (-(len(_MAGIC) + len(head) + 1) % _ALIGNMENT) + b"\n"
        with open(path, "wb") as file:
            file.write(_MAGIC + head)
            for name, array in blobs.items():
                file.seek(len(_MAGIC) + len(head) + layout[name][1])
                file.write(array.astype(layout[name][0], copy=False).tobytes())
            file.truncate(len(_MAGIC) + len(head) + place)

    @classmethod
    def _map(cls, path: Path) -> NGramLM:
        with open(path, "rb") as file:
            file.seek(len(_MAGIC))
            line = file.readline()
            begin = file.tell()
            try:
                head = json.loads(line)
                if begin + head["bytes"] != path.stat().st_size:
                    raise ValueError("wrong size")
                # a private copy-on-write mapping: kernels are compiled for writable arrays
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
                arrays = {
                    name: np.frombuffer(data, np.dtype(kind), count, begin + place)
                    for name, (kind, place, count) in head["arrays"].items()
                }
                words = arrays.pop("words").tobytes()
                return cls(words, NGramTables(**arrays), head["counts"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}: the binary language model is damaged ({error}); make it again from the ARPA file"
                ) from error
