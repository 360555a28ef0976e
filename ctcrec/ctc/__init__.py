"""The mathematics of CTC, usable on its own: loss, alignment and posteriors."""

from ctcrec.ctc.alignment import AlignedToken, ctc_posteriors, forced_align, merge_tokens
from ctcrec.ctc.auxiliary import LabelPriors, consistency_loss, intermediate_loss
from ctcrec.ctc.inputs import is_feasible, min_frames
from ctcrec.ctc.loss import CTCLoss, ctc_loss, ctc_loss_from_logits

__all__ = [
    "AlignedToken",
    "CTCLoss",
    "LabelPriors",
    "consistency_loss",
    "ctc_loss",
    "ctc_loss_from_logits",
    "ctc_posteriors",
    "forced_align",
    "intermediate_loss",
    "is_feasible",
    "merge_tokens",
    "min_frames",
]
