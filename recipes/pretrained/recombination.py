"""Lines put together anew from the words and letters of training lines: other texts in the same hands, pens and papers.

A trained model aligns each line with its text; where it sees a space, the line is cut at the column with the least ink.
The words of a page are shuffled and set side by side as lines of the usual widths. What stands next to a word then says
nothing of it, so that a model trained on such lines must read it.

Words, in turn, are cut where columns between two letters have no ink. Of these pieces words are written anew: capitals
and figures with other ones from the page, which no vocabulary helps to guess, all else with the same letters written
elsewhere on the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ctcrec.corpora.prepared import Prepared, write_prepared
from ctcrec.ctc import forced_align, merge_tokens
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import InfeasibleError
from ctcrec.ocr.features import LineScaler
from ctcrec.ocr.media import load_line
from ctcrec.recognizer import Recognizer, load_model
from ctcrec.records import Example

HEIGHT = 64  # pixel rows of the lines that are made
LEAST_SCORE = -1.5  # mean log-probability of a text's characters: below it, line and text may not belong together
CHUNK = 64  # lines that are encoded at once
PAPER = 200  # gray level of a column's four darkest pixels, on average, above which it has no ink
INK = 128  # gray level of a piece's pixels below which they are ink for certain
LEAST_INK = 3  # such pixels in a column of a word's first or last letter
LEAST_GAP = 2  # columns without ink between the pieces of a word
COPIES = 2  # of a word with capitals or figures, besides the word as it was, with other capitals and figures
CANDIDATES = 3  # pieces of which the one nearest in height is taken
SHARE = 0.5  # of the other words that are written anew


@dataclass(frozen=True, slots=True)
class Piece:
    """One or more characters and their pixels, uint8 (HEIGHT, W), with half of the gaps to their neighbours."""

    text: str
    pixels: np.ndarray
    middle: int  # the median row of its ink
    height: int  # of nine tenths of its ink


@dataclass(frozen=True, slots=True)
class Word:
    """The pieces of a word, and the paper before and after it."""

    before: np.ndarray
    pieces: list[Piece]
    after: np.ndarray

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def kinds(self) -> list[str]:
        """What may stand in a piece's place: figures for figures, capitals for capitals, if the word has no small
        letters; else the same text."""
        capitals = self.text.isupper()
        return [
            "figures" if text.isdecimal() else "capitals" if capitals and text.isalpha() else f"={text}"
            for text in (piece.text for piece in self.pieces)
        ]

    @property
    def width(self) -> int:
        return self.before.shape[1] + sum(piece.pixels.shape[1] for piece in self.pieces) + self.after.shape[1]

    @property
    def pixels(self) -> np.ndarray:
        return np.concatenate([self.before, *(piece.pixels for piece in self.pieces), self.after], axis=1)


def recombine(model: str | Path, manifest: Path, out: Path, seed: int = 0) -> Path:
    """Write lines of shuffled words, and their manifest `lines.jsonl`, which is returned.

    Args:
        model: of `ctcrec models`, or a run's directory: aligns lines and texts.
        manifest: of the training lines; words are shuffled among lines of equal `page`, or else of equal `writer`.
        out: folder of the lines.
        seed: of the shuffling.
    """
    examples = read_manifest(manifest)
    words: dict[str, list[Word]] = defaultdict(list)
    widths: dict[str, list[int]] = defaultdict(list)
    firsts: dict[str, Example] = {}
    for example, line in _cut(load_model(model), examples):
        place = str(example.extra.get("page") or example.writer or "")
        words[place] += line
        widths[place].append(_width(line))
        firsts.setdefault(place, example)
    generator = np.random.default_rng(seed)
    rows: list[Example] = []
    (out / "lines").mkdir(parents=True, exist_ok=True)
    for place in sorted(words):
        for line in _shuffled(_rewritten(words[place], generator), widths[place], generator):
            path = out / "lines" / f"{len(rows):06d}.png"
            pixels = np.concatenate([word.pixels for word in line], axis=1)
            Image.fromarray(pixels).save(path)
            rows.append(
                replace(
                    firsts[place],
                    id=f"recombined/{seed}-{path.stem}",
                    source=path,
                    text=" ".join(word.text for word in line),
                    width=pixels.shape[1],
                    height=HEIGHT,
                )
            )
    write_prepared(Prepared({"lines": rows}, []), out)
    return out / "lines.jsonl"


def _cut(recognizer: Recognizer, examples: Sequence[Example]) -> Iterator[tuple[Example, list[Word]]]:
    """The words of each line that the model finds in it; a line that does not agree with its text is passed over."""
    tokenizer, preprocessor = recognizer.checkpoint.tokenizer, recognizer.checkpoint.preprocessor
    for first in range(0, len(examples), CHUNK):
        chosen = examples[first : first + CHUNK]
        images = [load_line(example.source) for example in chosen]
        emissions = recognizer.emissions([preprocessor.features(image) for image in images])
        for example, image, log_probs in zip(chosen, images, emissions, strict=True):
            text = recognizer.checkpoint.normalizer.normalize(example.text or "")
            ids = tokenizer.encode(text)
            try:
                paths, scores = forced_align(log_probs[None], torch.tensor([ids]))
            except InfeasibleError:
                continue
            spans = merge_tokens(paths[0], scores[0])
            if np.mean([span.score for span in spans]) < LEAST_SCORE:
                continue
            yield example, _words(text, _clean(image), [(span.start + span.end) / 2 / len(log_probs) for span in spans])


def _words(text: str, image: np.ndarray, places: Sequence[float]) -> list[Word]:
    """The line cut at spaces and between letters that do not touch; `places` of its characters, shares of the width."""
    columns = [int(place * image.shape[1]) for place in places]
    bare = np.sort(image, axis=0)[:4].mean(0) > PAPER
    words: list[Word] = []
    cuts: list[tuple[int, int]] = []  # of a word: character and column where a piece begins
    first, start = 0, 0
    for index in range(1, len(text) + 1):
        if index == len(text) or text[index] == " ":
            end = image.shape[1]
            if index < len(text):
                end = max(start, _emptiest(image, columns[index - 1], columns[index + 1]))
            if end - start > 2 * (index - first):
                words.append(_word(text[first:index], image[:, start:end], cuts))
            cuts, first, start = [], index + 1, end
        elif text[index - 1] != " ":
            gap = _gap(bare, columns[index - 1], columns[index] + 1)
            if gap is not None and gap > start:
                cuts.append((index - first, gap - start))
    return words


def _word(text: str, image: np.ndarray, cuts: Sequence[tuple[int, int]]) -> Word:
    """The word with its paper at both ends taken off, cut at the cuts between."""
    ink = np.flatnonzero((image < INK).sum(0) >= LEAST_INK)
    left, right = (max(0, int(ink[0]) - 1), int(ink[-1]) + 2) if len(ink) else (0, image.shape[1])
    inner = [(character, column) for character, column in cuts if left < column < right]
    characters, columns = zip((0, left), *inner, (len(text), right), strict=True)
    pieces = []
    for index, (first, end) in enumerate(pairwise(columns)):
        pixels = image[:, first:end]
        rows = np.nonzero(pixels < INK)[0]
        low, middle, high = np.quantile(rows, [0.05, 0.5, 0.95]) if len(rows) else (0, HEIGHT / 2, HEIGHT)
        pieces.append(Piece(text[characters[index] : characters[index + 1]], pixels, round(middle), round(high - low)))
    return Word(image[:, :left], pieces, image[:, right:])


def _clean(image: np.ndarray) -> np.ndarray:
    """The line at HEIGHT rows, black on white, so that words of different lines have the same paper."""
    return (255.0 * (1.0 - LineScaler(HEIGHT)(image).T)).astype(np.uint8)


def _gap(bare: np.ndarray, first: int, end: int) -> int | None:
    """The middle of the run of LEAST_GAP columns without ink or more; None unless there is just one."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bare[first:end].astype(np.int8), [0]))))
    gaps = [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop - start >= LEAST_GAP]
    return first + int(sum(gaps[0])) // 2 if len(gaps) == 1 else None


def _emptiest(image: np.ndarray, start: int, end: int) -> int:
    """The column between two letters with the least ink; among equals that nearest to their middle."""
    first, last = start, max(end, start + 1)
    paper = image[:, first:last].astype(np.float32)
    brightness = np.sort(paper, axis=0)[: HEIGHT // 4].mean(0)  # of the darkest quarter of a column
    distance = np.abs(np.arange(first, last) - (start + end) / 2)
    return first + int(np.argmax(brightness - 0.5 * distance))


def _rewritten(words: Sequence[Word], generator: np.random.Generator) -> list[Word]:
    """The words, and some of them written anew with the pieces of all."""
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for word in words:
        for kind, piece in zip(word.kinds, word.pieces, strict=True):
            pieces[kind].append(piece)

    def another(kind: str, piece: Piece) -> Piece:
        others = pieces[kind]
        chosen = [others[index] for index in generator.integers(len(others), size=CANDIDATES)]
        best = min(chosen, key=lambda other: abs(other.height - piece.height))
        return _lowered(best, piece.middle - best.middle)

    def anew(word: Word) -> Word:
        return replace(word, pieces=[another(*pair) for pair in zip(word.kinds, word.pieces, strict=True)])

    result: list[Word] = []
    for word in words:
        if any(not kind.startswith("=") for kind in word.kinds):
            result += [word, *(anew(word) for _ in range(COPIES))]
        else:
            result.append(anew(word) if generator.random() < SHARE else word)
    return result


def _lowered(piece: Piece, rows: int) -> Piece:
    """The piece some rows further down (negative: up), so that it stands on the line of its new neighbours."""
    pixels = np.full_like(piece.pixels, 255)
    source = piece.pixels[max(0, -rows) : HEIGHT - max(0, rows)]
    pixels[max(0, rows) : max(0, rows) + len(source)] = source
    return replace(piece, pixels=pixels, middle=piece.middle + rows)


def _width(line: Sequence[Word]) -> int:
    return sum(word.width for word in line)


def _shuffled(words: Sequence[Word], widths: Sequence[int], generator: np.random.Generator) -> Iterator[list[Word]]:
    """Lines of the words in another order, each about as wide as one of the `widths`."""
    line: list[Word] = []
    target = generator.choice(widths)
    for index in generator.permutation(len(words)):
        line.append(words[index])
        if _width(line) >= target:
            yield line
            line, target = [], generator.choice(widths)
    if line:
        yield line
