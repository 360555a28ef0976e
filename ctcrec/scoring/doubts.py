"""Warnings about what makes a score doubtful: above all, references and hypotheses that were normalized differently.

A fold (lower case, no punctuation, ...) that changes many texts of one side and few of the other, and that makes word
errors vanish when both sides go through it, points at a convention that only one side follows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from ctcrec.scoring.rates import word_counts

__all__ = ["id_warnings", "markup_warnings", "normalization_warnings"]

_SAMPLE = 2000  # examples looked at, spread evenly
_GAP = 0.25  # of the texts: how much more often a fold changes one side than the other
_FEWEST = 5  # word errors that the fold must remove, so that one odd text is no reason to warn
_GAIN = 0.05  # of the word errors that the fold removes; less than that does not distort a score


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


_QUOTES = str.maketrans("‘’“”„", '\'\'"""')
_DASHES = str.maketrans("‐‑–—", "----")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_FOLDS: Mapping[str, tuple[Callable[[str], str], str]] = {
    "upper and lower case": (str.lower, "lowercase"),
    "capitals only": (str.upper, "uppercase"),
    "punctuation": (lambda text: _PUNCTUATION.sub(" ", text), "punctuation-to-space+collapse-spaces"),
    "Unicode form": (lambda text: unicodedata.normalize("NFC", text), "nfc"),
    "curly quotes": (lambda text: text.translate(_QUOTES), "fold-quotes"),
    "kinds of dashes": (lambda text: text.translate(_DASHES), "fold-dashes"),
    "accents": (_without_accents, "strip-accents"),
}


def normalization_warnings(references: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """One sentence for each way in which the two sides, N texts each, look normalized differently."""
    step = max(1, len(references) // _SAMPLE)
    pairs = [(r, h) for r, h in zip(references[::step], hypotheses[::step], strict=True) if r and h]
    errors = sum(word_counts(r, h).errors for r, h in pairs if r != h)
    warnings: list[str] = []
    if errors == 0:
        return warnings
    for name, (fold, remedy) in _FOLDS.items():
        left = sum(fold(reference) != reference for reference, _ in pairs) / len(pairs)
        right = sum(fold(hypothesis) != hypothesis for _, hypothesis in pairs) / len(pairs)
        if abs(left - right) < _GAP:
            continue
        remaining = sum(word_counts(fold(r), fold(h)).errors for r, h in pairs)
        if errors - remaining >= max(_GAIN * errors, _FEWEST):
            warnings.append(
                f"references and hypotheses look normalized differently ({name}): folding it changes {left:.0%} of the "
                f"references and {right:.0%} of the hypotheses, and removes {1 - remaining / errors:.0%} of the word "
                f"errors; score with a text convention that contains {remedy}, if that is meant"
            )
    return warnings


def id_warnings(missing: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Sentences about ids that are on one side only."""
    warnings = []
    if missing:
        warnings.append(f"{len(missing)} references have no hypothesis, {', '.join(missing[:5])} among them")
    if extra:
        shown = ", ".join(extra[:5])
        warnings.append(f"{len(extra)} hypotheses have no reference and are not scored, {shown} among them")
    return warnings


def markup_warnings(references: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """A sentence about words that sclite would not count as words."""
    from ctcrec.scoring.sclite import has_sclite_markup

    found = sum(has_sclite_markup(text) for text in (*references, *hypotheses))
    if not found:
        return []
    return [f"{found} texts contain words that sclite reads as markup (@, {{, }}, a:b, a;b, a*); here they are words"]
