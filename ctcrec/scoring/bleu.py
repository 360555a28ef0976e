"""Corpus BLEU by sacrebleu (Post 2018), beside the error rates: texts as they are scored, tokenized by spaces alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctcrec.errors import ConfigError, InputError

__all__ = ["CorpusBleu", "corpus_bleu"]


@dataclass(frozen=True, slots=True)
class CorpusBleu:
    """BLEU from 0 to 100, and sacrebleu's signature, which says how it was computed."""

    score: float
    signature: str

    def text(self) -> str:
        """One line for people."""
        return f"BLEU {self.score:.2f}  {self.signature}"

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"score": self.score, "signature": self.signature}


def corpus_bleu(references: Sequence[str], hypotheses: Sequence[str]) -> CorpusBleu:
    """BLEU of order 4 over all texts, exponentially smoothed (sacrebleu's default).

    Words are what spaces separate: the texts are normalized already, and sacrebleu's own tokenizer would cut them up
    once more, by rules that error rates do not know.

    Raises:
        InputError: the numbers of texts differ, or there are none.
        ConfigError: sacrebleu is not installed.
    """
    if not references or len(references) != len(hypotheses):
        raise InputError(
            f"{len(references)} references and {len(hypotheses)} hypotheses; there must be as many of each"
        )
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise ConfigError("BLEU is computed by sacrebleu, which is not installed: pip install sacrebleu") from None
    metric = BLEU(tokenize="none", force=True)  # force: no warning about texts that look tokenized
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return CorpusBleu(float(score.score), str(metric.get_signature()))
