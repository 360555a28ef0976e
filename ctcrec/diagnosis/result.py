"""A diagnosis: findings, as text or as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctcrec.signals import Finding

__all__ = ["Diagnosis"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, and the files that show more of it."""

    subject: str
    findings: tuple[Finding, ...]
    files: tuple[Path, ...] = ()

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings beyond their limits."""
        return tuple(finding for finding in self.findings if finding.fault)

    def text(self) -> str:
        """What is well, a line each, then the faults with reasons and advice, then a summary."""
        well = [finding.text() for finding in self.findings if not finding.fault]
        bad = [finding.text() for finding in self.faults]
        files = [f"written: {path}" for path in self.files]
        verdict = f"{self.subject}: {len(self.faults)} faults in {len(self.findings)} findings"
        if self.faults:
            verdict += f": {', '.join(finding.name for finding in self.faults)}"
        return "\n".join([*well, *bad, *files, verdict])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "subject": self.subject,
            "faults": [finding.name for finding in self.faults],
            "findings": [finding.to_dict() for finding in self.findings],
            "files": [str(path) for path in self.files],
        }
