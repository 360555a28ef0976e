"""Run `ctcrec` as its entry point does, in this process."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """Runs commands: `command("train", path, "--overfit", 3)`; see `ctcrec.cli.main.main`."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Finished:
        from ctcrec.cli.main import main

        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["ctcrec", *map(str, arguments)])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        out, err = self.capsys.readouterr()
        return Finished(code if isinstance(code, int) else 0, out, err)

    def fails(self, *arguments: object, lines: int | None = 1) -> str:
        """The message of a command that must fail: on standard error, without a traceback, of so many lines."""
        finished = self(*arguments)
        assert finished.code == 1
        assert finished.err.startswith("ctcrec: ")
        assert "Traceback" not in finished.err
        if lines is not None:
            assert len(finished.err.splitlines()) == lines
        return finished.err.removeprefix("ctcrec: ").strip()
