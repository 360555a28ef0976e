"""What would break or spoil a training, found in the data beforehand: `ctcrec check`."""

from ctcrec.checking.check import Report, check
from ctcrec.checking.findings import KINDS, Finding
from ctcrec.checking.target import Target

__all__ = ["KINDS", "Finding", "Report", "Target", "check"]
