"""Which examples go into a batch together: similar lengths, a bounded number of frames, little padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BatchPlan", "plan_batches", "plan_in_order"]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Batches as tuples of example indices, and how many of their frames are padding."""

    batches: tuple[tuple[int, ...], ...]
    padding: float

    def __len__(self) -> int:
        return len(self.batches)


def plan_batches(
    lengths: Sequence[int],
    *,
    batch_frames: int,
    max_batch_size: int,
    seed: int,
    epoch: int,
    jitter: float = 0.05,
    processes: int = 1,
) -> BatchPlan:
    """Shuffled batches of examples of similar length.

    Examples are sorted by length × exp(u), u uniform in ±`jitter`, so that batches differ from epoch to epoch; the
    sorted list is cut where the next example would exceed `max_batch_size`, or `batch_frames` frames with padding;
    then the batches are shuffled, in groups of `processes` neighbours: processes that wait for each other after every
    batch then have batches of similar length. It depends on nothing but the arguments.

    Args:
        lengths: frames of each example.
        batch_frames: frames in a batch, padding included; a longer example gets a batch of its own.
        max_batch_size: examples in a batch.
        seed, epoch: of the random generator.
        processes: their number divides that of the batches, for which the largest ones are cut in two if need be (and
            if there are enough examples).
    """
    generator = np.random.default_rng([seed, epoch])
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(sizes * np.exp(generator.uniform(-jitter, jitter, len(sizes))), kind="stable")
    batches = _divisible(_cut(sizes, order, batch_frames, max_batch_size), processes)
    groups = [batches[first : first + processes] for first in range(0, len(batches), processes)]
    shuffled = tuple(batch for index in generator.permutation(len(groups)) for batch in groups[index])
    return BatchPlan(shuffled, padding_share(sizes, shuffled))


def plan_in_order(lengths: Sequence[int], *, batch_frames: int, max_batch_size: int) -> BatchPlan:
    """Batches sorted by length, longest first: the least padding, and memory runs out at once or never."""
    sizes = np.asarray(lengths, dtype=np.int64)
    batches = _cut(sizes, np.argsort(-sizes, kind="stable"), batch_frames, max_batch_size)
    return BatchPlan(tuple(batches), padding_share(sizes, batches))


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]) -> float:
    """The share of all frames in `batches` that is padding, 0 to 1."""
    sizes = np.asarray(lengths, dtype=np.int64)
    padded = sum(len(batch) * int(sizes[list(batch)].max()) for batch in batches)
    true = sum(int(sizes[list(batch)].sum()) for batch in batches)
    return 1.0 - true / padded if padded else 0.0


def _divisible(batches: list[tuple[int, ...]], processes: int) -> list[tuple[int, ...]]:
    """The batches, the largest cut in two until their number can be divided, or nothing is left to cut."""
    while len(batches) % processes:
        largest = max(range(len(batches)), key=lambda index: len(batches[index]))
        batch = batches[largest]
        if len(batch) == 1:
            break
        batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    return batches


def _cut(sizes: np.ndarray, order: np.ndarray, batch_frames: int, max_batch_size: int) -> list[tuple[int, ...]]:
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    longest = 0
    for index in order.tolist():
        longest_with = max(longest, int(sizes[index]))
        if current and (len(current) == max_batch_size or longest_with * (len(current) + 1) > batch_frames):
            batches.append(tuple(current))
            current, longest_with = [], int(sizes[index])
        current.append(index)
        longest = longest_with
    if current:
        batches.append(tuple(current))
    return batches
