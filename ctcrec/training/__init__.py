"""Training: `train` runs a configuration and leaves a checkpoint."""

from ctcrec.training.loop import Summary, train

__all__ = ["Summary", "train"]
