"""Lines put together anew from the words of training lines: other texts in the same hands, pens and papers.

A trained model aligns each line with its text; where it sees a space, the line is cut at the column with the least ink.
The words of a page are shuffled and set side by side as lines of the usual widths. What stands next to a word then says
nothing of it, so that a model trained on such lines must read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its pixels, uint8 (HEIGHT, W), with half of the gaps at both sides."""

    text: str
    pixels: np.ndarray


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
        widths[place].append(sum(word.pixels.shape[1] for word in line))
        firsts.setdefault(place, example)
    generator = np.random.default_rng(seed)
    rows = []
    (out / "lines").mkdir(parents=True, exist_ok=True)
    for place in sorted(words):
        for line in _shuffled(words[place], widths[place], generator):
            path = out / "lines" / f"{len(rows):06d}.png"
            pixels = np.concatenate([word.pixels for word in line], axis=1)
            Image.fromarray(pixels).save(path)
            rows.append(
                replace(
                    firsts[place],
                    id=f"recombined/{path.stem}",
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
            scaled = _clean(image)
            columns = scaled.shape[1] / len(log_probs)
            gaps = [
                (spans[index - 1].end * columns, spans[index + 1].start * columns)
                for index, character in enumerate(text)
                if character == " "
            ]
            edges = [0, *(_emptiest(scaled, *gap) for gap in gaps), scaled.shape[1]]
            parts = [scaled[:, start:end] for start, end in zip(edges, edges[1:], strict=False)]
            yield example, [Word(*pair) for pair in zip(text.split(" "), parts, strict=True) if pair[1].shape[1] > 2]


def _clean(image: np.ndarray) -> np.ndarray:
    """The line at HEIGHT rows, black on white, so that words of different lines have the same paper."""
    return (255.0 * (1.0 - LineScaler(HEIGHT)(image).T)).astype(np.uint8)


def _emptiest(image: np.ndarray, start: float, end: float) -> int:
    """The column between two letters with the least ink; among equals that nearest to their middle."""
    first, last = int(start), max(int(end), int(start) + 1)
    paper = image[:, first:last].astype(np.float32)
    brightness = np.sort(paper, axis=0)[: HEIGHT // 4].mean(0)  # of the darkest quarter of a column
    distance = np.abs(np.arange(first, last) - (start + end) / 2)
    return first + int(np.argmax(brightness - 0.5 * distance))


def _shuffled(words: Sequence[Word], widths: Sequence[int], generator: np.random.Generator) -> Iterator[list[Word]]:
    """Lines of the words in another order, each about as wide as one of the `widths`."""
    line: list[Word] = []
    target = generator.choice(widths)
    for index in generator.permutation(len(words)):
        line.append(words[index])
        if sum(word.pixels.shape[1] for word in line) >= target:
            yield line
            line, target = [], generator.choice(widths)
    if line:
        yield line
