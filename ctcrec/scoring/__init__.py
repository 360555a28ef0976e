"""Scores of recognized text: error counts, alignments, intervals, comparisons of systems, and reports."""

from ctcrec.scoring.alignment import ALIGNMENTS, Alignment, align, aligned_pairs, format_alignment
from ctcrec.scoring.collections import FORMATS, Collection, place_words, read_collection, write_collection
from ctcrec.scoring.comparison import Comparison, compare, compare_all
from ctcrec.scoring.formats import Entry, TimedWord
from ctcrec.scoring.nbest import oracle_counts, oracle_curve
from ctcrec.scoring.rates import ErrorCounts, character_counts, error_counts, grapheme_counts, word_counts
from ctcrec.scoring.report import Report
from ctcrec.scoring.scorer import score, score_collections
from ctcrec.scoring.voting import rover

__all__ = [
    "ALIGNMENTS",
    "FORMATS",
    "Alignment",
    "Collection",
    "Comparison",
    "Entry",
    "ErrorCounts",
    "Report",
    "TimedWord",
    "align",
    "aligned_pairs",
    "character_counts",
    "compare",
    "compare_all",
    "error_counts",
    "format_alignment",
    "grapheme_counts",
    "oracle_counts",
    "oracle_curve",
    "place_words",
    "read_collection",
    "rover",
    "score",
    "score_collections",
    "word_counts",
    "write_collection",
]
