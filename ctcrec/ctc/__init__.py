"""The mathematics of CTC, usable on its own: loss, alignment and posteriors."""

from ctcrec.ctc.inputs import is_feasible, min_frames
from ctcrec.ctc.loss import CTCLoss, ctc_loss, ctc_loss_from_logits

__all__ = ["CTCLoss", "ctc_loss", "ctc_loss_from_logits", "is_feasible", "min_frames"]
