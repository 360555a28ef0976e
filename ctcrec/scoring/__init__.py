"""Scores of recognized text: error counts, alignments, intervals, comparisons of systems, and reports."""

from ctcrec.scoring.alignment import align, aligned_pairs, format_alignment
from ctcrec.scoring.rates import ErrorCounts, character_counts, error_counts, grapheme_counts, word_counts

__all__ = [
    "ErrorCounts",
    "align",
    "aligned_pairs",
    "character_counts",
    "error_counts",
    "format_alignment",
    "grapheme_counts",
    "word_counts",
]
