"""Augmentation: what each change does, that 0 does nothing, and that equal generators give equal lines."""

import numpy as np
import pytest
from oracles.lines import draw_line

from ctcrec.ocr.augmentation import LineAugmenter
from ctcrec.ocr.features import LineScaler, scale_to_height

CHANGES = (
    "affine", "elastic", "spread", "bleed", "morphology", "resolution", "blur", "contrast", "noise", "speckle", "jpeg",
    "binary",
)  # fmt: skip
LINE = scale_to_height(draw_line(size=48), 48)


def augmenter(*changes: str, **options: object) -> LineAugmenter:
    return LineAugmenter(**{f"{change}_probability": 1.0 for change in changes}, **options)  # type: ignore[arg-type]


def ink_box(image: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((image < 128).any(1))[0], np.nonzero((image < 128).any(0))[0]
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_nothing_is_changed_by_default() -> None:
    changed = LineAugmenter()(LINE, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, LINE)
    assert changed is not LINE


@pytest.mark.parametrize("changes", [(change,) for change in CHANGES] + [CHANGES])
def test_changes_follow_the_generator(changes: tuple[str, ...]) -> None:
    augment = augmenter(*changes)
    before = LINE.copy()
    first, again, other = (augment(LINE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(LINE, before)
    assert first.dtype == np.uint8 and first.shape[0] == LINE.shape[0]
    assert first.shape != other.shape or (first != other).any()
    assert first.shape != LINE.shape or (first != LINE).any()


@pytest.mark.parametrize("change", CHANGES)
def test_features_change_too(change: str) -> None:
    """The scaler stretches contrast, so a change of light must be more than that to have an effect."""
    scaler = LineScaler(48)
    same = scaler(LINE)
    results = [scaler(augmenter(change)(LINE, np.random.default_rng(seed))) for seed in range(2, 7)]
    assert any(changed.shape != same.shape or np.abs(changed - same).mean() > 5e-4 for changed in results)


@pytest.mark.parametrize("change", CHANGES)
def test_probability_is_a_share(change: str) -> None:
    augment = LineAugmenter(**{f"{change}_probability": 0.3})
    line = LINE[:, :100]
    changed = 0
    for seed in range(200):
        result = augment(line, np.random.default_rng(seed))
        changed += result.shape != line.shape or bool((result != line).any())
    assert 35 <= changed <= 85


def test_identity_when_all_strengths_are_zero() -> None:
    augment = augmenter(
        "affine", "elastic", "blur", "contrast", "noise",
        rotation_degrees=0.0, shear=0.0, scale=0.0, shift=0.0,
        elastic_amplitude=0.0, blur_sigma=0.0, contrast=0.0, noise_sigma=0.0,
    )  # fmt: skip
    np.testing.assert_array_equal(augment(LINE, np.random.default_rng(1)), LINE)


@pytest.mark.parametrize("length", [1, 4])
def test_affine_keeps_all_letters(length: int) -> None:
    line = np.concatenate([LINE] * length, axis=1)
    augment = augmenter("affine", rotation_degrees=10.0)
    for seed in range(30):
        changed = augment(line, np.random.default_rng(seed))
        top, bottom, left, right = ink_box(changed)
        assert top > 0 and bottom < 47 and left > 0 and right < changed.shape[1] - 1
        assert 0.6 < changed.shape[1] / line.shape[1] < 1.3


def test_shear_slants() -> None:
    bar = np.full((48, 200), 255, np.uint8)
    bar[8:40, 98:102] = 0
    augment = augmenter("affine", rotation_degrees=0.0, scale=0.0, shift=0.0, shear=0.5)
    slants = []
    for seed in range(20):
        changed = augment(bar, np.random.default_rng(seed))
        centres = [np.average(np.arange(changed.shape[1]), weights=255 - changed[row]) for row in (12, 35)]
        slants.append((centres[1] - centres[0]) / 23)
    assert min(slants) < -0.3 and max(slants) > 0.3 and max(np.abs(slants)) < 0.53


def test_scale_changes_the_width() -> None:
    augment = augmenter("affine", rotation_degrees=0.0, shear=0.0, shift=0.0, scale=0.2)
    widths = [augment(LINE, np.random.default_rng(seed)).shape[1] / LINE.shape[1] for seed in range(40)]
    assert min(widths) < 0.85 and max(widths) > 1.1


def test_shift_moves_vertically() -> None:
    augment = augmenter("affine", rotation_degrees=0.0, shear=0.0, scale=0.0, shift=0.04)
    tops = [ink_box(augment(LINE, np.random.default_rng(seed)))[0] - ink_box(LINE)[0] for seed in range(20)]
    assert min(tops) < 0 < max(tops) and max(np.abs(tops)) <= 2


def test_elastic_moves_by_no_more_than_its_amplitude() -> None:
    image = np.full((48, 400), 255, np.uint8)
    image[:, 150:250] = 0
    moved = augmenter("elastic", elastic_amplitude=0.1)(image, np.random.default_rng(0))
    assert moved.shape == image.shape
    edges = (moved[6:-6] < 128).argmax(axis=1) - 150  # rows at the border can come from outside
    assert 1 <= np.abs(edges).max() <= 6
    assert len(set(edges.tolist())) > 1


def test_fill_has_the_colour_of_the_paper() -> None:
    line = scale_to_height(draw_line(size=48, paper=180, ink=60), 48)
    changed = augmenter("affine", rotation_degrees=5.0, shear=0.5)(line, np.random.default_rng(2))
    assert changed.max() <= line.max()
    assert np.median(changed[:, :5]) == 180


def test_morphology_makes_strokes_bolder_and_thinner() -> None:
    inks = [
        float((255 - augmenter("morphology")(LINE, np.random.default_rng(seed)).astype(float)).sum())
        for seed in range(20)
    ]
    ink = float((255 - LINE.astype(float)).sum())
    assert min(inks) < 0.95 * ink and max(inks) > 1.05 * ink


def test_noise_and_blur_stay_within_their_sigma() -> None:
    flat = np.full((48, 1000), 128, np.uint8)
    sigmas = [augmenter("noise", noise_sigma=10.0)(flat, np.random.default_rng(seed)).std() for seed in range(30)]
    assert 5 < max(sigmas) <= 10.3
    blurred = augmenter("blur", blur_sigma=2.0)(LINE, np.random.default_rng(1)).astype(float)
    assert np.abs(np.diff(blurred)).max() < np.abs(np.diff(LINE.astype(float))).max()


def test_jpeg_quality_is_drawn_from_its_range() -> None:
    def error(quality: tuple[int, int]) -> float:
        changed = augmenter("jpeg", jpeg_quality=quality)(LINE, np.random.default_rng(0))
        return float(np.abs(changed.astype(int) - LINE).mean())

    assert error((10, 10)) > 2 * error((90, 90)) > 0


def test_spread_makes_strokes_bolder_and_thinner_at_ragged_edges() -> None:
    bar = np.full((48, 300), 240, np.uint8)
    bar[18:30, 40:260] = 20
    heights = []
    for seed in range(20):
        changed = augmenter("spread", spread=0.05)(bar, np.random.default_rng(seed))
        rows = (changed[:, 60:240] < 130).sum(0)
        heights.append(float(rows.mean()))
        assert rows.max() <= 12 + 2 * 2 * 0.05 * 48 + 2  # no further than the blur reaches
    assert min(heights) < 12 < max(heights) - 1
    edges = (augmenter("spread", spread=0.05)(bar, np.random.default_rng(3))[:, 60:240] < 130).argmax(0)
    assert len(set(edges.tolist())) > 1


def test_bleed_is_weaker_than_ink_and_leaves_it() -> None:
    for seed in range(10):
        changed = augmenter("bleed", bleed=0.3)(LINE, np.random.default_rng(seed))
        assert (changed[LINE < 60] <= LINE[LINE < 60]).all()
        paper = changed[LINE > 250]
        assert paper.min() >= 255 - 0.3 * 255 - 2
    assert paper.min() < 250


def test_resolution_loses_detail() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (48, 100))
    spreads = [augmenter("resolution", resolution=0.4)(stripes, np.random.default_rng(s)).std() for s in range(10)]
    assert min(spreads) < 40 < stripes.std()


def test_speckle_is_a_share_of_the_pixels() -> None:
    shares = [(augmenter("speckle", speckle=0.02)(LINE, np.random.default_rng(s)) != LINE).mean() for s in range(20)]
    assert 0.005 < max(shares) <= 0.02 * 1.3


def test_binary_keeps_ink_and_paper_alone() -> None:
    line = scale_to_height(draw_line(size=48, paper=180, ink=60), 48)
    changed = augmenter("binary")(line, np.random.default_rng(0))
    assert set(np.unique(changed).tolist()) == {0, 255}
    assert (changed[line >= 175] == 255).all() and (changed[line <= 65] == 0).all()


@pytest.mark.parametrize("shape", [(48, 1), (8, 3), (48, 6000), (9, 500)])
def test_any_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for seed in range(5):
        changed = augmenter(*CHANGES)(image, np.random.default_rng(seed))
        assert changed.shape[0] == shape[0] and changed.shape[1] >= 1
