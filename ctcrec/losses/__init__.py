"""Losses of token sequences (cross-entropy, minimum risk, distillation) and of hidden frames (InfoNCE).

CTC's own are in `ctcrec.ctc`.
"""

from ctcrec.losses.contrastive import InfoNCE, draw_spans, info_nce
from ctcrec.losses.cross_entropy import Smoothing, sequence_cross_entropy
from ctcrec.losses.distillation import frame_distillation, nbest_cross_entropy
from ctcrec.losses.minimum_risk import expected_risk, reinforce_loss
from ctcrec.losses.risks import bleu_risk, character_errors, sentence_bleu, word_errors

__all__ = [
    "InfoNCE",
    "Smoothing",
    "bleu_risk",
    "character_errors",
    "draw_spans",
    "expected_risk",
    "frame_distillation",
    "info_nce",
    "nbest_cross_entropy",
    "reinforce_loss",
    "sentence_bleu",
    "sequence_cross_entropy",
    "word_errors",
]
