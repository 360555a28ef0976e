"""SpecAugment masks: their limits, what they are filled with, and where they can lie."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.config import LineAugmentation, SpeechAugmentation
from ctcrec.data.masking import FeatureMasker


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    frames=st.integers(1, 300),
    longest=st.integers(1, 80),
    share=st.floats(0, 1),
    widest=st.integers(1, 100),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_masks_stay_within_their_limits(frames: int, longest: int, share: float, widest: int, seed: int) -> None:
    features = torch.arange(frames * 80, dtype=torch.float32).reshape(frames, 80).square()
    masker = FeatureMasker(time_masks=1, time_mask_frames=longest, time_mask_fraction=share)
    masked_frames = (masker(features, generator(seed)) != features).any(dim=1)
    assert int(masked_frames.sum()) <= min(longest, share * frames)
    masker = FeatureMasker(frequency_masks=1, frequency_mask_bands=widest)
    masked_bands = (masker(features, generator(seed)) != features).any(dim=0)
    assert int(masked_bands.sum()) <= min(widest, 80)


def test_several_masks_add_up_at_most() -> None:
    features = torch.randn(200, 80)
    masker = FeatureMasker(time_masks=3, time_mask_frames=500, time_mask_fraction=0.1)
    shares = [float((masker(features, generator(seed)) != features).any(dim=1).float().mean()) for seed in range(200)]
    assert max(shares) <= 0.3
    assert 0.1 < np.mean(shares) < 0.17  # 3 masks of 0 to 20 frames, sometimes overlapping


def test_masks_are_whole_frames_and_bands_at_the_mean() -> None:
    features = torch.randn(200, 80) + torch.arange(80)
    masker = FeatureMasker(time_masks=1, frequency_masks=1)
    both = 0
    for seed in range(20):
        changed = masker(features, generator(seed)) != features
        rows, columns = changed.all(dim=1), changed.all(dim=0)
        both += bool(rows.any() and columns.any())
        assert torch.equal(changed, rows[:, None] | columns[None, :])
        masked = masker(features, generator(seed))
        torch.testing.assert_close(masked[changed], features.mean(0).expand(200, 80)[changed])
    assert both > 10  # else a drawn length was 0


def test_every_place_can_be_masked() -> None:
    features = torch.rand(20, 6)
    masker = FeatureMasker(
        time_masks=1, time_mask_frames=8, time_mask_fraction=1.0, frequency_masks=1, frequency_mask_bands=3
    )
    counts = sum((masker(features, generator(seed)) != features).float() for seed in range(300))
    assert isinstance(counts, torch.Tensor)
    assert counts.min() > 0
    assert counts.max() < 300


def test_features_stay_as_they_are() -> None:
    features = torch.rand(20, 6)
    before = features.clone()
    FeatureMasker(time_masks=3, frequency_masks=3)(features, generator())
    assert torch.equal(features, before)
    assert torch.equal(FeatureMasker()(features, generator()), features)


def test_the_masker_takes_its_own_keys_of_either_modality() -> None:
    for section in (SpeechAugmentation(time_masks=2), LineAugmentation(time_masks=2)):
        masker, others = FeatureMasker.split(section.model_dump())
        assert masker == FeatureMasker(time_masks=2)
        assert others.keys() == section.model_dump().keys() - set(FeatureMasker.__slots__)
