"""ctcrec: speech and text-line recognition with CTC.

    from ctcrec import Recognizer, ctc_loss

Everything here is imported when it is first used, so that `import ctcrec` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctcrec.config import Config, load_config
    from ctcrec.ctc import (
        AlignedToken,
        CTCLoss,
        LabelPriors,
        consistency_loss,
        ctc_loss,
        ctc_loss_from_logits,
        ctc_posteriors,
        forced_align,
        intermediate_loss,
        is_feasible,
        merge_tokens,
        min_frames,
    )
    from ctcrec.decoding import BeamDecoder
    from ctcrec.lm import NGramLM
    from ctcrec.recognizer import Recognizer, load_model
    from ctcrec.records import Example, Hypothesis
    from ctcrec.training import train

__version__ = "0.1.0"

__all__ = [
    "AlignedToken",
    "BeamDecoder",
    "CTCLoss",
    "Config",
    "Example",
    "Hypothesis",
    "LabelPriors",
    "NGramLM",
    "Recognizer",
    "consistency_loss",
    "ctc_loss",
    "ctc_loss_from_logits",
    "ctc_posteriors",
    "forced_align",
    "intermediate_loss",
    "is_feasible",
    "load_config",
    "load_model",
    "merge_tokens",
    "min_frames",
    "train",
]

_HOMES = {
    "AlignedToken": "ctcrec.ctc",
    "BeamDecoder": "ctcrec.decoding",
    "CTCLoss": "ctcrec.ctc",
    "Config": "ctcrec.config",
    "Example": "ctcrec.records",
    "Hypothesis": "ctcrec.records",
    "LabelPriors": "ctcrec.ctc",
    "NGramLM": "ctcrec.lm",
    "Recognizer": "ctcrec.recognizer",
    "consistency_loss": "ctcrec.ctc",
    "ctc_loss": "ctcrec.ctc",
    "ctc_loss_from_logits": "ctcrec.ctc",
    "ctc_posteriors": "ctcrec.ctc",
    "forced_align": "ctcrec.ctc",
    "intermediate_loss": "ctcrec.ctc",
    "is_feasible": "ctcrec.ctc",
    "load_config": "ctcrec.config",
    "load_model": "ctcrec.recognizer",
    "merge_tokens": "ctcrec.ctc",
    "min_frames": "ctcrec.ctc",
    "train": "ctcrec.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ctcrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
