"""Batches of features: padding, and augmentation that depends on (seed, epoch, id) only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import make_texts, tiny_config, write_corpus

from ctcrec.config import LineAugmentation, LineFeatures, SpeechAugmentation, SpeechFeatures
from ctcrec.data.dataset import BatchDataset, collate, example_generator, iterate_batches, load_features
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import MediaError
from ctcrec.modalities import build_preprocessor
from ctcrec.records import Batch, Example

CHANGES: dict[str, dict[str, Any]] = {
    "ocr": {"noise_probability": 1.0, "affine_probability": 1.0},
    "speech": {"speeds": (0.9, 1.0, 1.1), "gain_db": 6.0, "noise_probability": 0.5, "time_masks": 2},
}


def test_collate_pads_with_zeros() -> None:
    features = [torch.ones(3, 2), torch.full((5, 2), 2.0)]
    examples = [Example("a", Path("a")), Example("b", Path("b"))]
    batch = collate(examples, features, [(4, 5), ()])
    assert batch.features.tolist() == [[[1, 1]] * 3 + [[0, 0]] * 2, [[2, 2]] * 5]
    assert batch.feature_lengths.tolist() == [3, 5]
    assert batch.targets.tolist() == [[4, 5], [0, 0]]
    assert batch.target_lengths.tolist() == [2, 0]
    assert batch.examples == tuple(examples)
    assert batch.features.dtype == torch.float32
    assert {t.dtype for t in (batch.feature_lengths, batch.targets, batch.target_lengths)} == {torch.int64}


def test_collate_without_any_target() -> None:
    batch = collate([Example("a", Path("a"))], [torch.ones(1, 2)], [()])
    assert batch.targets.shape == (1, 1)


def test_example_generators_are_all_different() -> None:
    drawn = {
        example_generator(seed, epoch, name, view).integers(2**62)
        for seed in (0, 1, 2)
        for epoch in (0, 1, 2)
        for name in ("a", "b", "aa", "ä")
        for view in (0, 1, 2)
    }
    assert len(drawn) == 3 * 3 * 4 * 3
    assert example_generator(1, 2, "a").integers(2**62) == example_generator(1, 2, "a").integers(2**62)


@pytest.fixture(scope="module", params=["ocr", "speech"])
def dataset_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes datasets of a corpus of six: (batches, augmentation, views) → BatchDataset."""
    modality = request.param
    manifest = write_corpus(tmp_path_factory.mktemp(modality), modality, make_texts(6))
    config = tiny_config(modality, manifest, augmentation=CHANGES[modality])
    preprocessor = build_preprocessor(config.features, config.augmentation)
    examples = read_manifest(manifest)
    targets = [[1, 2]] * len(examples)

    def make(
        batches: Sequence[Sequence[int]] = ((0, 1, 2), (3, 4, 5)),
        augmentation: tuple[int, int] | None = None,
        views: int = 1,
    ) -> BatchDataset:
        return BatchDataset(examples, targets, preprocessor, batches, augmentation, views)

    return make


def by_id(batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    return {
        example.id: features[:length]
        for batch in batches
        for example, features, length in zip(batch.examples, batch.features, batch.feature_lengths, strict=True)
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_without_augmentation_features_are_those_of_recognition(dataset_of: Any) -> None:
    dataset = dataset_of()
    for batch in iterate_batches(dataset, workers=0):
        for example, features, length in zip(batch.examples, batch.features, batch.feature_lengths, strict=True):
            alone = load_features(dataset.preprocessor, example)
            assert int(length) == len(alone) == dataset.preprocessor.count_frames(example)
            assert torch.equal(features[:length], alone)


def test_augmentation_depends_on_seed_epoch_and_id_only(dataset_of: Any) -> None:
    first = by_id(list(iterate_batches(dataset_of(augmentation=(1, 0)), workers=0)))
    np.random.seed(3)
    torch.manual_seed(3)
    others = [(5,), (1, 0, 4), (3,), (2,)]
    assert same(first, by_id(list(iterate_batches(dataset_of(others, (1, 0)), workers=0))))
    for augmentation in ((1, 1), (2, 0), None):
        assert not same(first, by_id(list(iterate_batches(dataset_of(augmentation=augmentation), workers=0))))


def test_workers_change_nothing(dataset_of: Any) -> None:
    batches = ((0, 1), (2,), (3, 4), (5,))
    alone = list(iterate_batches(dataset_of(batches, (1, 4)), workers=0))
    together = list(iterate_batches(dataset_of(batches, (1, 4)), workers=2))
    assert [batch.examples for batch in together] == [batch.examples for batch in alone]
    assert same(by_id(alone), by_id(together))


def test_loading_leaves_the_generator_of_torch_alone(dataset_of: Any) -> None:
    """Otherwise going on in the middle of an epoch would shift what dropout draws."""
    before = torch.get_rng_state()
    list(iterate_batches(dataset_of(augmentation=(1, 0)), workers=0))
    assert torch.equal(before, torch.get_rng_state())


def test_views_share_the_source_and_differ_in_masks(dataset_of: Any) -> None:
    [batch] = iterate_batches(dataset_of(((4, 1, 2),), (1, 0), 2), workers=0)
    [single] = iterate_batches(dataset_of(((4, 1, 2),), (1, 0)), workers=0)
    assert len(batch) == 6
    assert batch.examples[:3] == batch.examples[3:] == single.examples
    assert batch.feature_lengths[:3].tolist() == batch.feature_lengths[3:].tolist()
    assert torch.equal(batch.targets[:3], batch.targets[3:])
    assert torch.equal(batch.features[:3], single.features)
    masks = dataset_of().preprocessor.unit == "seconds"  # lines have no masks, so both views are the same
    assert torch.equal(batch.features[:3], batch.features[3:]) != masks


def test_a_bad_medium_is_named_by_id_and_file(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(2))
    examples = read_manifest(manifest)
    examples[1].source.write_bytes(b"no image")
    preprocessor = build_preprocessor(tiny_config("ocr", manifest).features)
    with pytest.raises(MediaError, match=r"example train-001: .*001\.png"):
        load_features(preprocessor, examples[1])


def test_augmented_lengths_are_known_beforehand(tmp_path: Path) -> None:
    """`count_frames` with a generator is exactly what augmentation with an equal generator gives, for both."""
    rng = np.random.default_rng(0)
    sound, image = tmp_path / "a.wav", tmp_path / "a.png"
    soundfile.write(sound, 0.1 * rng.standard_normal(7001), 8000)
    Image.fromarray(rng.integers(0, 255, (37, 411), dtype=np.uint8)).save(image)
    speech = build_preprocessor(
        SpeechFeatures(sample_rate=8000, n_mels=20), SpeechAugmentation(speeds=(0.8, 0.9, 1.0, 1.13), gain_db=3)
    )
    lines = build_preprocessor(
        LineFeatures(height=24), LineAugmentation(affine_probability=0.7, elastic_probability=0.5, blur_probability=0.5)
    )
    for preprocessor, source in ((speech, sound), (lines, image)):
        example = Example("a", source, "a", **preprocessor.describe(source))
        counted, real = [], []
        for epoch in range(30):
            counted.append(preprocessor.count_frames(example, example_generator(1, epoch, "a")))
            changed = preprocessor.augment(preprocessor.load(source), example_generator(1, epoch, "a"))
            real.append(len(preprocessor.features(changed)))
        assert counted == real
        assert len(set(real)) > 3


_ABANDONED = """
import sys
from ctcrec.data.dataset import iterate_batches

class Batches:
    def __len__(self):
        return 100
    def __getitem__(self, index):
        return index

batches = iterate_batches(Batches(), workers=1)
print(next(batches), flush=True)
if sys.argv[1] == "closed":
    batches.close()
import multiprocessing
print(len(multiprocessing.active_children()), flush=True)
if sys.argv[1] == "stuck":  # a worker that PyTorch's loader cannot reach
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
    _MultiProcessingDataLoaderIter._shutdown_workers = lambda self: None
"""


@pytest.mark.parametrize(("how", "running"), [("closed", 0), ("left", 1), ("stuck", 1)])
def test_a_program_ends_though_its_workers_were_left(how: str, running: int) -> None:
    done = subprocess.run([sys.executable, "-c", _ABANDONED, how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["0", str(running)]), done.stderr
