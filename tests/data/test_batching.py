"""Batches hold every example once, keep their bounds, waste little, and depend on nothing but their arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.data.batching import BatchPlan, padding_share, plan_batches, plan_in_order

LENGTHS = st.lists(st.integers(1, 400), max_size=80)
BOUNDS = {"batch_frames": st.integers(1, 2000), "max_batch_size": st.integers(1, 16)}


def check_bounds(plan: BatchPlan, lengths: list[int], batch_frames: int, max_batch_size: int) -> None:
    assert sorted(index for batch in plan.batches for index in batch) == list(range(len(lengths)))
    for batch in plan.batches:
        assert 1 <= len(batch) <= max_batch_size
        frames = len(batch) * max(lengths[index] for index in batch)
        assert frames <= batch_frames or len(batch) == 1
    assert plan.padding == pytest.approx(padding_by_hand(plan, lengths))
    assert len(plan) == len(plan.batches)


def padding_by_hand(plan: BatchPlan, lengths: list[int]) -> float:
    true = padded = 0
    for batch in plan.batches:
        longest = max(lengths[index] for index in batch)
        true += sum(lengths[index] for index in batch)
        padded += longest * len(batch)
    return (padded - true) / padded if padded else 0.0


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 100), epoch=st.integers(0, 5), **BOUNDS)
def test_every_example_once_within_bounds(
    lengths: list[int], seed: int, epoch: int, batch_frames: int, max_batch_size: int
) -> None:
    options = {"batch_frames": batch_frames, "max_batch_size": max_batch_size}
    plan = plan_batches(lengths, seed=seed, epoch=epoch, **options)
    check_bounds(plan, lengths, **options)
    assert plan_batches(lengths, seed=seed, epoch=epoch, **options) == plan


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, **BOUNDS)
def test_in_order(lengths: list[int], batch_frames: int, max_batch_size: int) -> None:
    plan = plan_in_order(lengths, batch_frames=batch_frames, max_batch_size=max_batch_size)
    check_bounds(plan, lengths, batch_frames, max_batch_size)
    order = [lengths[index] for batch in plan.batches for index in batch]
    assert order == sorted(lengths, reverse=True)


def some_lengths(count: int = 500) -> list[int]:
    return np.random.default_rng(0).integers(100, 1600, count).tolist()


def test_independent_of_global_generators() -> None:
    options = {"batch_frames": 20000, "max_batch_size": 64, "seed": 1, "epoch": 2}
    np.random.seed(0)
    first = plan_batches(some_lengths(), **options)
    np.random.seed(1)
    assert plan_batches(some_lengths(), **options) == first


def test_epochs_and_seeds_differ() -> None:
    plans = {
        plan_batches(some_lengths(), batch_frames=20000, max_batch_size=64, seed=seed, epoch=epoch).batches
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    assert len(plans) == 6
    grouped = {frozenset(map(frozenset, batches)) for batches in plans}
    assert len(grouped) == 6  # not only their order differs: other examples come together


def test_batches_are_shuffled() -> None:
    lengths = some_lengths()
    plan = plan_batches(lengths, batch_frames=20000, max_batch_size=64, seed=1, epoch=0)
    longest = [max(lengths[index] for index in batch) for batch in plan.batches]
    assert longest != sorted(longest)


def test_little_padding() -> None:
    lengths = some_lengths()
    for epoch in range(3):
        plan = plan_batches(lengths, batch_frames=20000, max_batch_size=64, seed=1, epoch=epoch)
        assert plan.padding < 0.08
    assert plan_in_order(lengths, batch_frames=20000, max_batch_size=64).padding < plan.padding
    assert padding_share(lengths, [range(len(lengths))]) > 0.4  # all in one batch, to compare


def test_a_long_example_has_its_own_batch() -> None:
    plan = plan_batches([10, 5000, 12], batch_frames=100, max_batch_size=8, seed=1, epoch=0, jitter=0.0)
    assert sorted(map(sorted, plan.batches)) == [[0, 2], [1]]
