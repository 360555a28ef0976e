"""Text on its way in and out: conventions (`normalization`) and token ids (`tokenizers`)."""

from ctcrec.text.normalization import CONVENTIONS, Convention, Normalizer
from ctcrec.text.tokenizers import (
    BLANK,
    BLANK_TOKEN,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

__all__ = [
    "BLANK",
    "BLANK_TOKEN",
    "CONVENTIONS",
    "CharTokenizer",
    "Convention",
    "Normalizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_tokenizer",
]
