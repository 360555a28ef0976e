"""Training by two processes under torchrun (Gloo, on the CPU) against one process with the same batches a step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_texts, tiny_config, train_quietly, write_corpus

from ctcrec.data.batching import plan_batches
from ctcrec.errors import TrainingError
from ctcrec.training.distributed import World
from ctcrec.training.setup import plan_epoch

# Two epochs without a stop; the same with a stop after the first step, and resumed.
_TWO_PROCESSES = """
import os, sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from pathlib import Path
from tiny import tiny_config, train_quietly
from ctcrec.errors import TrainingError
manifest, folder = map(Path, sys.argv[2:])
config = tiny_config("ocr", manifest, training__epochs=1)
told = [train_quietly(config, folder / "two")[1]]
dropping = tiny_config("ocr", manifest, training__epochs=1, model__encoder__dropout=0.3)
told.append(train_quietly(dropping, folder / "whole")[1])
try:
    train_quietly(dropping, folder / "stopped", stop_after_steps=1)
except TrainingError as error:
    assert "stopped after step 1" in str(error), error
told.append(train_quietly(dropping, folder / "stopped", resume=True)[1])
Path(folder, f"told-{os.environ['RANK']}").write_text("\\n".join(told))
"""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in load_file(run / "state.safetensors").items() if name.startswith("model/")}


def test_two_processes_learn_what_one_does_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(14, seed=3))
    script = tmp_path / "script.py"
    script.write_text(_TWO_PROCESSES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([*launch, tests, str(manifest), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # One process with two batches a step sees the same ones in the same steps, if they are planned as for two.
    monkeypatch.setattr("ctcrec.training.loop.plan_epoch", lambda setup, epoch, _: plan_epoch(setup, epoch, 2))
    config = tiny_config("ocr", manifest, training__epochs=1, training__accumulation=2)
    train_quietly(config, tmp_path / "one")
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in alone.items():
        if "running_" not in name and "num_batches" not in name:  # one batch after the other, or their mean
            torch.testing.assert_close(together[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    rows = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [1, 2, 2]
    for one, two in zip(*rows, strict=True):
        for key in ("loss", "gradient_norm", "train_loss", "padding"):
            if key in one:
                assert two[key] == pytest.approx(one[key], rel=1e-3)
    # The second process prints nothing, and both have their own dropout again after the stop.
    assert "epoch" in (tmp_path / "told-0").read_text()
    assert not (tmp_path / "told-1").read_text().strip()
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())
    assert any(not torch.equal(together[name], tensor) for name, tensor in whole.items())
    with pytest.raises(TrainingError, match="trained by 2 processes, and here are 1"):
        train_quietly(
            tiny_config("ocr", manifest, training__epochs=1, model__encoder__dropout=0.3),
            tmp_path / "stopped",
            resume=True,
        )


def test_each_process_gets_as_many_batches_and_each_example_once() -> None:
    lengths = [7 * number % 101 + 20 for number in range(83)]
    plan = plan_batches(lengths, batch_frames=300, max_batch_size=5, seed=1, epoch=0, jitter=0.0, processes=4)
    dealt = [World(rank, 4).deal(plan).batches for rank in range(4)]
    assert len({len(batches) for batches in dealt}) == 1
    assert sorted(item for batches in dealt for batch in batches for item in batch) == list(range(83))
    longest = [[max(lengths[item] for item in batch) for batch in batches] for batches in dealt]
    spread = [max(step) - min(step) for step in zip(*longest, strict=True)]  # nobody waits long for the others
    assert max(spread) < 25 < max(longest[0]) - min(longest[0])
    assert World().deal(plan) is plan
    with pytest.raises(TrainingError, match="3 training examples can't be dealt out to 2 processes"):
        World(0, 2).deal(plan_batches([9, 9, 9], batch_frames=9, max_batch_size=5, seed=1, epoch=0, processes=2))


def test_alone_nothing_changes() -> None:
    world = World()
    parameter = torch.nn.Parameter(torch.ones(2))
    world.sum_gradients([parameter])
    assert parameter.grad is None
    assert world.sum([1.5, 2]) == [1.5, 2]
    assert world.gather("x") == ["x"]
    assert world.found_by_first(lambda: 3) == 3
