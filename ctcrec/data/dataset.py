"""From examples to padded batches: load, augment, featurize, collate, in worker processes if wanted."""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import CtcrecError, MediaError
from ctcrec.records import Batch, Example

__all__ = ["BatchDataset", "collate", "example_generator", "iterate_batches", "load_features"]


def example_generator(seed: int, epoch: int, example_id: str, view: int = 0) -> np.random.Generator:
    """The random generator of one example in one epoch; it depends on nothing else, so not on the workers."""
    digest = hashlib.blake2b(example_id.encode(), digest_size=8).digest()
    return np.random.default_rng([seed & 0xFFFFFFFF, epoch, view, int.from_bytes(digest, "big")])


def load_features(preprocessor: Preprocessor, example: Example) -> torch.Tensor:
    """(T, F) features of an example as they are in recognition. Raises MediaError naming id and file."""
    return preprocessor.features(_load(preprocessor, example))


def collate(examples: Sequence[Example], features: Sequence[torch.Tensor], targets: Sequence[Sequence[int]]) -> Batch:
    """Pad features with zeros and targets with 0 to the longest of the batch."""
    lengths = torch.tensor([len(item) for item in features], dtype=torch.int64)
    padded = torch.zeros(len(features), int(lengths.max()), features[0].shape[1])
    for row, item in zip(padded, features, strict=True):
        row[: len(item)] = item
    target_lengths = torch.tensor([len(target) for target in targets], dtype=torch.int64)
    padded_targets = torch.zeros(len(targets), max(int(target_lengths.max()), 1), dtype=torch.int64)
    for target_row, target in zip(padded_targets, targets, strict=True):
        target_row[: len(target)] = torch.as_tensor(target, dtype=torch.int64)
    return Batch(padded, lengths, padded_targets, target_lengths, tuple(examples))


class BatchDataset(Dataset[Batch]):
    """One item is one planned batch.

    Args:
        examples: all examples.
        targets: token ids of each.
        preprocessor: the modality's.
        batches: indices of each batch's examples.
        augmentation: (seed, epoch) to augment with, or None.
        views: copies of each example in the batch. All share the changes made to the source, so that their frames
            stay aligned, and differ in their feature masks (CR-CTC, arXiv 2410.05101); a batch holds
            all examples of view 0, then all of view 1.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        targets: Sequence[Sequence[int]],
        preprocessor: Preprocessor,
        batches: Sequence[Sequence[int]],
        augmentation: tuple[int, int] | None = None,
        views: int = 1,
    ) -> None:
        self.examples = examples
        self.targets = targets
        self.preprocessor = preprocessor
        self.batches = batches
        self.augmentation = augmentation
        self.views = views

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        chosen = self.batches[index]
        by_example = [self._features(self.examples[item]) for item in chosen]
        features = [views[view] for view in range(self.views) for views in by_example]
        examples = [self.examples[item] for item in chosen] * self.views
        return collate(examples, features, [self.targets[item] for item in chosen] * self.views)

    def _features(self, example: Example) -> list[torch.Tensor]:
        if self.augmentation is None:
            return [load_features(self.preprocessor, example)] * self.views
        seed, epoch = self.augmentation
        source = self.preprocessor.augment(
            _load(self.preprocessor, example), example_generator(seed, epoch, example.id)
        )
        features = self.preprocessor.features(source)
        return [
            self.preprocessor.mask(features, example_generator(seed, epoch, example.id, view=1 + view))
            for view in range(self.views)
        ]


def iterate_batches(dataset: BatchDataset, workers: int, pin_memory: bool = False) -> Iterator[Batch]:
    """The batches in order, prepared ahead by `workers` processes (0: in this one, when asked for).

    Raises:
        MediaError: an example's medium cannot be used; names both.
    """
    # A generator of its own: otherwise DataLoader draws from torch's, and going on within an epoch shifts dropout.
    options: dict[str, Any] = {"generator": torch.Generator(), "pin_memory": pin_memory}
    if workers:
        options |= {"num_workers": workers, "prefetch_factor": 4, "worker_init_fn": _leave_signals_to_the_parent}
    before = set(multiprocessing.active_children())
    items = iter(DataLoader(_Safe(dataset), batch_size=None, **options))
    own = set(multiprocessing.active_children()) - before
    _workers.update(own)
    try:
        for item in items:
            if isinstance(item, CtcrecError):
                raise item
            yield item
    finally:
        del items  # asks the workers to end, and waits for a while
        _end(own)


_workers: set[BaseProcess] = set()  # those that run


def _end(workers: set[BaseProcess]) -> None:
    """Kill the workers that still run: they do not heed the SIGTERM of PyTorch's loader and of `multiprocessing`, which
    at the end of the program would wait for them for ever."""
    for worker in workers:
        if worker.is_alive():
            worker.kill()
            worker.join()
    _workers.difference_update(workers)


@atexit.register  # after that of `multiprocessing`, so called before it
def _end_all() -> None:
    _end(_workers & set(multiprocessing.active_children()))  # a forked process has the set, but no children


class _Safe(Dataset["Batch | CtcrecError"]):
    """Hands errors over as items: an error raised in a worker process would arrive as the text of a traceback."""

    def __init__(self, dataset: BatchDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Batch | CtcrecError:
        try:
            return self.dataset[index]
        except CtcrecError as error:
            return error


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, and a job's end every process of the job; the loop decides when its
    workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _load(preprocessor: Preprocessor, example: Example) -> np.ndarray:
    try:
        return preprocessor.load(example.source, example.start, example.end)
    except MediaError as error:
        raise MediaError(f"example {example.id}: {error}") from error
