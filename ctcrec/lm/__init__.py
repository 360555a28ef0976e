"""Language models, lexicons and hotwords."""

from ctcrec.lm.ngram import NGramLM

__all__ = ["NGramLM"]
