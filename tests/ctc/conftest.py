"""What several of these tests need."""

from __future__ import annotations

import pytest

from ctcrec.ctc import threads


@pytest.fixture
def small_calls_use_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, calls as small as those of tests are done by the calling thread alone."""
    monkeypatch.setattr(threads, "_LEAST", 1)
