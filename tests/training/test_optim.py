"""Schedules and averages, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ctcrec.training.optim import WeightAverage, build_optimizer, learning_rate_factor, mean_weights


def test_biases_and_normalization_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, 0.1, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "0.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(model, 0.1, 0.5)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 1


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_warm_up_is_linear(schedule: str) -> None:
    factors = [learning_rate_factor(schedule, step, 4, 0.0) for step in range(6)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    assert learning_rate_factor(schedule, 0, 0, 0.0) == 1.0


def test_cosine() -> None:
    factors = [learning_rate_factor("cosine", 1000, 10, share) for share in (0, 0.25, 0.5, 0.75, 1.0, 1.3)]
    assert factors == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0, 0])
    assert learning_rate_factor("constant", 1000, 10, 0.9) == 1.0


def test_moving_average() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.5)
    expected = model[0].weight.detach().clone()
    for step in range(1, 20):
        with torch.no_grad():
            model[0].weight.normal_()
            model[1].running_mean.normal_()
            model[1].num_batches_tracked += 1
        average.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.weights["0.weight"], expected)
    assert torch.equal(average.weights["1.running_mean"], model[1].running_mean)
    assert int(average.weights["1.num_batches_tracked"]) == 19


def test_mean_weights() -> None:
    states = [{"w": torch.tensor([1.0, 2.0]) * k, "n": torch.tensor(k)} for k in (1, 2, 6)]
    mean = mean_weights(states)
    assert mean["w"].tolist() == [3.0, 6.0]
    assert mean["n"].dtype == torch.int64 and int(mean["n"]) == 1
