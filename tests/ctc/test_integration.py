"""The loss within PyTorch: autocast, compile, data-parallel training, threads and forked workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ctcrec.ctc import CTCLoss, ctc_loss_from_logits


def arguments(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.tensor([[1, 2, 2], [3, 1, 2], [1, 1, 1]])[:count]
    return targets, torch.tensor([9, 8, 5])[:count], torch.tensor([3, 2, 3])[:count]


def test_autocast_gives_bfloat16_logits_and_a_float32_loss() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 6)
    frames = torch.randn(9, 3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(frames)
        loss = ctc_loss_from_logits(logits, *arguments())
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    exact = ctc_loss_from_logits(logits.detach().float(), *arguments())
    torch.testing.assert_close(loss.detach(), exact)
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()


def test_compiles_without_a_graph_break() -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 3, 6)
    criterion = CTCLoss(from_logits=True, focal_gamma=0.5)
    given = arguments()

    def step(logits: Tensor) -> Tensor:
        return criterion(logits * 2.0, *given) * 3.0

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    results = []
    for function in (step, compiled):
        scores = logits.clone().requires_grad_()
        value = function(scores)
        results.append((value.detach(), torch.autograd.grad(value, scores)[0]))
    torch.testing.assert_close(results[0], results[1])


def test_operators_keep_their_contract() -> None:
    # PyTorch's own checks: schema, fake kernels, autograd registration.
    logits = torch.randn(9, 3, 6, requires_grad=True)
    given = (logits, *arguments(), None, 0, None, 0.0, True)
    torch.library.opcheck(torch.ops.ctcrec.ctc_nll.default, given, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.usefixtures("small_calls_use_threads")
def test_callers_may_be_threads() -> None:
    logits = torch.randn(40, 8, 12, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(1, 12, (8, 10), generator=torch.Generator().manual_seed(2))

    def run(_: int) -> Tensor:
        scores = logits.clone().requires_grad_()
        ctc_loss_from_logits(scores, targets, [40] * 8, [10] * 8).backward()
        assert scores.grad is not None
        return scores.grad

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = run(0)
        with ThreadPoolExecutor(4) as pool:
            assert all(torch.equal(gradient, expected) for gradient in pool.map(run, range(8)))
    finally:
        torch.set_num_threads(before)


def _loss_in_child(queue: multiprocessing.Queue[float]) -> None:
    torch.set_num_threads(2)
    queue.put(float(ctc_loss_from_logits(torch.zeros(9, 3, 6), *arguments())))


@pytest.mark.usefixtures("small_calls_use_threads")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_in_a_forked_child_after_threads_ran() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = float(ctc_loss_from_logits(torch.zeros(9, 3, 6), *arguments()))
    finally:
        torch.set_num_threads(before)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_loss_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()


_DATA_PARALLEL = """
import sys, torch, torch.distributed as dist
from ctcrec.ctc import ctc_loss_from_logits
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.set_num_threads(1)
torch.manual_seed(0)
head = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 6))
frames, targets = torch.randn(9, 2, 4), torch.tensor([[1, 2], [3, 1]])
loss = ctc_loss_from_logits(head(frames[:, rank : rank + 1]), targets[rank : rank + 1], [9], [2])
loss.backward()
plain = torch.nn.Linear(4, 6)
plain.load_state_dict(head.module.state_dict())
ctc_loss_from_logits(plain(frames), targets, [9, 9], [2, 2]).backward()
torch.testing.assert_close(head.module.weight.grad, plain.weight.grad)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_data_parallel_training_averages_the_gradients(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DATA_PARALLEL]
    children = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")]) for rank in range(2)]
    assert [child.wait(timeout=120) for child in children] == [0, 0]


def test_import_compiles_nothing_and_needs_no_numba() -> None:
    code = "import sys, ctcrec.ctc; sys.exit('numba' in sys.modules or 'torchaudio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
