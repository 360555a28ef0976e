"""The loss of a batch, against PyTorch's own CTC loss in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ctcrec.models.recognition_model import ModelOutput
from ctcrec.records import Batch, Example
from ctcrec.training.objective import loss_sum

LENGTHS = [9, 5, 7]
TARGETS = [[1, 2, 2], [3], [4, 1, 4, 1]]


def batch_of(targets: list[list[int]]) -> Batch:
    width = max(map(len, targets))
    return Batch(
        features=torch.zeros(len(targets), 9, 2),
        feature_lengths=torch.tensor(LENGTHS[: len(targets)]),
        targets=torch.tensor([target + [0] * (width - len(target)) for target in targets]),
        target_lengths=torch.tensor([len(target) for target in targets]),
        examples=tuple(Example(str(index), Path("x")) for index in range(len(targets))),
    )


def logits_of(seed: int) -> torch.Tensor:
    return torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def torch_losses(logits: torch.Tensor, targets: list[list[int]]) -> torch.Tensor:
    """(N,) in float64, from the definition as PyTorch computes it."""
    return torch.nn.functional.ctc_loss(
        logits.double().log_softmax(2).transpose(0, 1),
        torch.tensor([token for target in targets for token in target]),
        torch.tensor(LENGTHS),
        torch.tensor([len(target) for target in targets]),
        reduction="none",
    )


def test_sum_over_examples_with_its_gradient() -> None:
    logits = logits_of(0)
    sums = loss_sum(ModelOutput(logits, torch.tensor(LENGTHS)), batch_of(TARGETS))
    expected = torch_losses(logits, TARGETS).sum()
    assert sums.total.item() == sums.ctc.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(sums.infeasible) == 0
    [gradient] = torch.autograd.grad(sums.total, logits)
    [other] = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)
    assert gradient[1, 5:].abs().max() == 0  # beyond its length


def test_infeasible_targets_count_nothing_and_are_told() -> None:
    targets = [[1, 2, 2], [3, 3, 3, 3], [4, 1, 4, 1]]  # the second needs 7 of its 5 frames
    logits = logits_of(0)
    sums = loss_sum(ModelOutput(logits, torch.tensor(LENGTHS)), batch_of(targets))
    expected = torch_losses(logits, TARGETS)
    assert sums.total.item() == pytest.approx((expected[0] + expected[2]).item(), rel=1e-5)
    assert int(sums.infeasible) == 1
    [gradient] = torch.autograd.grad(sums.total, logits)
    assert torch.isfinite(gradient).all()
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


def test_not_a_number_stays_visible() -> None:
    logits = logits_of(0).detach().clone()
    logits[0, 0, 0] = float("nan")
    sums = loss_sum(ModelOutput(logits, torch.tensor(LENGTHS)), batch_of(TARGETS))
    assert not torch.isfinite(sums.total)


def test_intermediate_layers_are_weighted() -> None:
    last, lower, lowest = (logits_of(seed) for seed in range(3))
    output = ModelOutput(last, torch.tensor(LENGTHS), (lower, lowest))
    sums = loss_sum(output, batch_of(TARGETS), intermediate_weight=0.3)
    losses = [torch_losses(logits, TARGETS).sum().item() for logits in (last, lower, lowest)]
    assert sums.ctc.item() == pytest.approx(losses[0], rel=1e-5)
    assert sums.total.item() == pytest.approx(0.7 * losses[0] + 0.3 * (losses[1] + losses[2]) / 2, rel=1e-5)
