"""Scaling to one height, exact frame counts, and ink between 0 and 1."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.lines import draw_line
from PIL import Image

from ctcrec.ocr.features import LineScaler, scale_to_height


@settings(max_examples=150, deadline=None)
@given(width=st.integers(1, 900), height=st.integers(1, 200), target=st.integers(8, 96))
def test_frame_count_is_what_the_image_gives(width: int, height: int, target: int) -> None:
    scaler = LineScaler(target)
    features = scaler(np.zeros((height, width), np.uint8))
    assert features.shape == (scaler.count_frames(width, height), target)
    assert features.shape[0] >= 1
    assert abs(features.shape[0] - width * target / height) <= 0.5 or features.shape[0] == 1


def test_width_has_no_cap() -> None:
    assert LineScaler(48)(np.full((12, 20000), 255, np.uint8)).shape == (80000, 48)


def test_frames_are_columns_from_left_to_right_and_rows_from_top() -> None:
    image = np.full((48, 100), 255, np.uint8)
    image[10:20, 70:75] = 0
    features = LineScaler(48)(image)
    assert features.dtype == np.float32
    ink = np.zeros((100, 48), np.float32)
    ink[70:75, 10:20] = 1
    np.testing.assert_array_equal(features, ink)


def test_height_of_the_features_is_not_resampled() -> None:
    image = draw_line(size=40)
    assert scale_to_height(image, image.shape[0]) is image


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (230, 100), (140, 90)])
def test_pale_scans_use_the_range(paper: int, ink: int) -> None:
    features = LineScaler(48)(draw_line(size=48, paper=paper, ink=ink))
    reference = LineScaler(48)(draw_line(size=48, paper=255, ink=0))
    assert features.min() == 0 and features.max() == 1
    assert np.abs(features - reference).mean() < 0.02


def test_blank_noisy_paper_stays_mostly_paper() -> None:
    noise = np.random.default_rng(0).normal(220, 3, (48, 600))
    features = LineScaler(48)(np.clip(noise, 0, 255).astype(np.uint8))
    assert features.mean() < 0.15
    assert (LineScaler(48)(np.full((48, 600), 90, np.uint8)) == 0).all()


def test_scaling_is_antialiased() -> None:
    image = np.zeros((480, 960), np.uint8)
    image[:, ::2] = 254  # finer than a frame: must become even gray, not stripes
    scaled = scale_to_height(image, 48)
    assert scaled.shape == (48, 96)
    assert np.abs(scaled[:, 2:-2].astype(int) - 127).max() <= 2


def test_normalization_does_not_change_features() -> None:
    image = draw_line()
    np.testing.assert_array_equal(LineScaler(48, "global")(image), LineScaler(48, "none")(image))


def test_views_of_an_image_are_scaled_like_copies() -> None:
    image = draw_line(size=50)
    kept = image.copy()
    kept.flags.writeable = False
    views = {
        "mirrored": image[:, ::-1],
        "upside down": image[::-1],
        "turned": np.ascontiguousarray(image.T).T,
        "kept": kept,
    }
    for name, view in views.items():
        expected = scale_to_height(np.array(view, order="C"), 32)
        assert np.array_equal(scale_to_height(view, 32), expected), name


@pytest.mark.parametrize("size", [20, 60, 190, 193, 700])  # letters of as many pixels, enlarged or averaged first
def test_scaling_is_close_to_pillow_at_any_size(size: int) -> None:
    image = draw_line("Handgloves", size)
    ours = scale_to_height(image, 32)
    theirs = np.asarray(Image.fromarray(image).resize((ours.shape[1], 32), Image.Resampling.BICUBIC))
    assert np.abs(ours.astype(float) - theirs).mean() < 0.5  # gray levels
