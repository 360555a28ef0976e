"""Dropout from random bytes: how much, what is kept, and the same from the same seed."""

from __future__ import annotations

import pytest
import torch

from ctcrec.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drops_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layer, values = Dropout(p), torch.ones(301, 7, 401, dtype=dtype, requires_grad=True)
    kept = layer(values)
    assert kept.dtype == dtype
    assert (kept == 0).float().mean().item() == pytest.approx(p, abs=0.004)  # of 845,000, to the nearest 256th
    assert kept.float().mean().item() == pytest.approx(1.0, abs=0.004)
    assert len(kept.unique()) == 2
    kept.sum().backward()
    assert values.grad is not None and torch.equal(values.grad, kept.detach())


def test_bytes_are_independent() -> None:
    """Neighbours and the eight places of a word are dropped independently of each other."""
    torch.manual_seed(2)
    dropped = (Dropout(0.5)(torch.ones(800_000)) == 0).view(-1, 8).double()
    assert torch.allclose(dropped.mean(0), torch.full((8,), 0.5, dtype=torch.float64), atol=0.008)
    assert (torch.corrcoef(dropped.T) - torch.eye(8)).abs().max() < 0.02


def test_seed_decides_and_evaluation_drops_nothing() -> None:
    layer, values = Dropout(0.3), torch.randn(5, 11)
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(layer(values) != 0)
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert torch.equal(layer.eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)
    assert not Dropout(1.0)(values).any()
