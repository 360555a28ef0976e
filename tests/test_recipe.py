"""What recipes run: the commands of a training, by one process or several, from the start or going on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctcrec import recipe


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that a recipe runs, which end well without running."""
    found: list[list[str]] = []

    def note(command: list[str], check: bool) -> SimpleNamespace:
        found.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", note)
    return found


def test_a_training_by_several_processes_goes_on_with_as_many(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"seconds": 1.5}\n{"seconds": 4.5}\n')
    arguments = (Path("c.yaml"), run, [Path("a.jsonl"), Path("b.jsonl")], [Path("v.jsonl")], ["seed=2"])
    assert recipe.train(*arguments) == 4.5
    recipe.train(*arguments, processes=2)
    (run / "state.safetensors").touch()
    recipe.train(*arguments, processes=2)
    alone = [sys.executable, "-m", "ctcrec"]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ctcrec"]
    settings = ["data.train=[a.jsonl,b.jsonl]", "data.valid=[v.jsonl]", "seed=2"]
    new = ["train", "c.yaml", "--out", str(run), *(word for setting in settings for word in ("--set", setting))]
    assert commands == [[*alone, *new], [*together, *new], [*together, "train", "--resume", str(run)]]
    said = capsys.readouterr().out
    assert "\n$ ctcrec train c.yaml" in said
    assert f"\n$ torchrun --standalone --nproc-per-node=2 -m ctcrec train --resume {run}" in said
    (run / "curves.png").touch()
    recipe.train(*arguments, processes=2)
    assert len(commands) == 3  # it had ended


def test_a_command_that_fails_ends_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit) as stopped:
        recipe.ctcrec("models")
    assert stopped.value.code == 3
