"""From running text to lines as printers set them: broken at spaces, and now and then within a word, with a hyphen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

__all__ = ["break_lines"]

_BREAK_PROBABILITY = 0.25  # of the lines that end within a text end within a word
_LEAST_PART = 2  # letters on either side of a hyphen


def break_lines(
    texts: Iterable[str], characters: tuple[int, int], hyphen: str, generator: np.random.Generator
) -> Iterator[str]:
    """Lines of at most so many characters each, a number drawn from the range for each line.

    Args:
        texts: paragraphs or lines; white space counts as one space. None goes on in the line of another.
        characters: fewest and most characters that a line may have; a last line may be shorter, a longer word is kept.
        hyphen: what ends a line within a word; empty = words stay whole.
        generator: of the lengths and of the words that are broken.
    """
    for text in texts:
        words = text.split()
        line = ""
        limit = _draw(characters, generator)
        while words:
            word = words.pop(0)
            longer = f"{line} {word}" if line else word
            if len(longer) <= limit or not line:
                line = longer
                continue
            room = limit - len(line) - 1 - len(hyphen)
            if hyphen and generator.random() < _BREAK_PROBABILITY and _breakable(word, room):
                line, word = f"{line} {word[:room]}{hyphen}", word[room:]
            yield line
            line, limit = "", _draw(characters, generator)
            words.insert(0, word)
        if line:
            yield line


def _draw(characters: tuple[int, int], generator: np.random.Generator) -> int:
    return int(generator.integers(characters[0], characters[1], endpoint=True))


def _breakable(word: str, room: int) -> bool:
    """Whether a hyphen after `room` letters stands between letters, with enough of them on either side."""
    around = word[max(0, room - _LEAST_PART) : room + _LEAST_PART]
    return room >= _LEAST_PART and len(around) == 2 * _LEAST_PART and around.isalpha()
