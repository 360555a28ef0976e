"""Whether examples are of the language and in the characters that a model was made for, as far as that can be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctcrec.checkpoint import Checkpoint
    from ctcrec.records import Example

__all__ = ["misfits"]

_SHOWN = 20


def misfits(folder: Path, checkpoint: Checkpoint, examples: Sequence[Example]) -> Iterator[str]:
    """What to say of examples with text before a model transcribes them: characters that it cannot write, and, where
    its `about.yaml` names its languages, other languages."""
    from ctcrec.pretrained import read_about

    about = read_about(folder)
    if about is not None and about.languages:
        others = Counter(e.language for e in examples if e.language is not None and e.language not in about.languages)
        for language, count in others.most_common():
            made = ", ".join(about.languages)
            yield f"{count} of {len(examples)} examples are in {language}, and {folder.name} was made for {made}"
    tokenizer, normalizer = checkpoint.tokenizer, checkpoint.normalizer
    lacking: Counter[str] = Counter()
    for example in examples:
        lacking.update(tokenizer.missing(normalizer.normalize(example.text or "")))
    if lacking:
        shown = " ".join(f"{character!r} ({count})" for character, count in lacking.most_common(_SHOWN))
        more = " …" if len(lacking) > _SHOWN else ""
        yield f"characters that the model cannot write, and the number of texts with each: {shown}{more}"
