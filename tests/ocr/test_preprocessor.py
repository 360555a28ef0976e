"""The lines' preprocessor as the seam of `ctcrec.data` wants it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.lines import draw_line
from PIL import Image

from ctcrec.data.preprocessing import Preprocessor
from ctcrec.errors import InputError, MediaError
from ctcrec.ocr import LinePreprocessor
from ctcrec.records import Example


@pytest.fixture
def line_file(tmp_path: Path) -> Path:
    path = tmp_path / "line.png"
    Image.fromarray(draw_line(size=60)).save(path)
    return path


def test_from_file_to_features(line_file: Path) -> None:
    preprocessor: Preprocessor = LinePreprocessor({"height": 32, "normalization": "none"}, {})
    source = preprocessor.load(line_file)
    features = preprocessor.features(source)
    header = preprocessor.describe(line_file)
    example = Example("a", line_file, **header)
    assert header == {"width": source.shape[1], "height": source.shape[0]}
    assert features.dtype == torch.float32
    assert features.shape == (preprocessor.count_frames(example), preprocessor.n_features)
    assert preprocessor.n_features == 32
    assert preprocessor.unit == "pixels"
    assert preprocessor.extent(source) == source.shape[1]
    assert preprocessor.unit_per_frame(source) * len(features) == pytest.approx(preprocessor.extent(source))
    assert preprocessor.count_frames(Example("a", line_file)) == len(features)


def test_unit_per_frame_finds_a_mark(tmp_path: Path) -> None:
    image = np.full((131, 997), 255, np.uint8)
    image[:, 600:610] = 0
    preprocessor = LinePreprocessor({"height": 40}, {})
    features = preprocessor.features(image)
    frame = float(np.average(np.arange(len(features)), weights=features.sum(1).numpy())) + 0.5
    assert frame * preprocessor.unit_per_frame(image) == pytest.approx(605, abs=1.0)


def test_augmented_source_has_the_height_of_the_features() -> None:
    source = draw_line(size=120)
    preprocessor = LinePreprocessor({"height": 48}, {"affine_probability": 1.0, "noise_probability": 1.0})
    changed = preprocessor.augment(source, np.random.default_rng(0))
    assert changed.shape[0] == 48
    assert preprocessor.features(changed).shape == (changed.shape[1], 48)


def test_without_augmentation_training_sees_what_recognition_sees() -> None:
    source = draw_line(size=120)
    preprocessor = LinePreprocessor({"height": 48}, {})
    changed = preprocessor.augment(source, np.random.default_rng(0))
    assert torch.equal(preprocessor.features(changed), preprocessor.features(source))


def test_mask_keeps_features() -> None:
    features = torch.rand(10, 48)
    assert torch.equal(LinePreprocessor().mask(features, np.random.default_rng(0)), features)


def test_parts_of_a_line_are_refused(line_file: Path) -> None:
    with pytest.raises(MediaError, match=r"line\.png: start and end cut audio"):
        LinePreprocessor().load(line_file, start=0.0, end=1.0)


def test_rows_with_impossible_sizes_are_named(line_file: Path) -> None:
    with pytest.raises(InputError, match="example 'a': width and height"):
        LinePreprocessor().count_frames(Example("a", line_file, width=10, height=0))


def test_unknown_options_are_errors() -> None:
    with pytest.raises(TypeError):
        LinePreprocessor({"hight": 48})


def test_the_package_is_light_to_import() -> None:
    code = "import sys, ctcrec.ocr; print([m for m in ('PIL', 'torch', 'torchaudio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
