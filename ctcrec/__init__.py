"""ctcrec: speech and text-line recognition with CTC.

    from ctcrec import Recognizer, ctc_loss

Everything here is imported when it is first used, so that `import ctcrec` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctcrec.config import Config, load_config
    from ctcrec.ctc import CTCLoss, ctc_loss, ctc_loss_from_logits
    from ctcrec.recognizer import Recognizer
    from ctcrec.records import Example, Hypothesis
    from ctcrec.training import train

__version__ = "0.1.0"

__all__ = [
    "CTCLoss",
    "Config",
    "Example",
    "Hypothesis",
    "Recognizer",
    "ctc_loss",
    "ctc_loss_from_logits",
    "load_config",
    "train",
]

_HOMES = {
    "CTCLoss": "ctcrec.ctc",
    "Config": "ctcrec.config",
    "Example": "ctcrec.records",
    "Hypothesis": "ctcrec.records",
    "Recognizer": "ctcrec.recognizer",
    "ctc_loss": "ctcrec.ctc",
    "ctc_loss_from_logits": "ctcrec.ctc",
    "load_config": "ctcrec.config",
    "train": "ctcrec.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ctcrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
