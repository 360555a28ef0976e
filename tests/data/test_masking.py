"""SpecAugment masks keep their bounds and fill with the given value."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.data.masking import mask_features


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 60),
    bands=st.integers(1, 12),
    masks=st.integers(0, 4),
    longest=st.integers(1, 20),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_time_masks_keep_their_bounds(
    frames: int, bands: int, masks: int, longest: int, fraction: float, seed: int
) -> None:
    features = torch.rand(frames, bands) + 1
    masked = mask_features(
        features,
        np.random.default_rng(seed),
        time_masks=masks,
        time_mask_frames=longest,
        time_mask_fraction=fraction,
        value=-5.0,
    )
    hidden = (masked == -5.0).all(1)
    assert torch.equal(masked[~hidden], features[~hidden])
    assert int(hidden.sum()) <= min(fraction * frames, masks * longest)


@settings(max_examples=60, deadline=None)
@given(bands=st.integers(1, 12), masks=st.integers(0, 3), widest=st.integers(1, 20), seed=st.integers(0, 1000))
def test_frequency_masks_keep_their_bounds(bands: int, masks: int, widest: int, seed: int) -> None:
    features = torch.rand(7, bands) + 1
    masked = mask_features(features, np.random.default_rng(seed), frequency_masks=masks, frequency_mask_bands=widest)
    hidden = (masked == 0.0).all(0)
    assert torch.equal(masked[:, ~hidden], features[:, ~hidden])
    assert int(hidden.sum()) <= masks * widest


def test_every_place_can_be_masked() -> None:
    features = torch.ones(20, 6)
    counts = torch.zeros(20, 6)
    for seed in range(300):
        masked = mask_features(
            features,
            np.random.default_rng(seed),
            time_masks=1,
            time_mask_frames=8,
            time_mask_fraction=1.0,
            frequency_masks=1,
            frequency_mask_bands=3,
        )
        counts += masked == 0
    assert counts.min() > 0
    assert counts.max() < 300


def test_the_features_stay_as_they_are() -> None:
    features = torch.ones(20, 6)
    mask_features(features, np.random.default_rng(0), time_masks=3, frequency_masks=3)
    assert torch.equal(features, torch.ones(20, 6))
    assert torch.equal(mask_features(features, np.random.default_rng(0)), features)
