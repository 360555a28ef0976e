"""Changes to line images: geometry, ink and paper, focus, light, grain, compression. Training makes them to lines, and
`ctcrec render` to lines that it draws.

For training, images come scaled to the height that the model sees, so that sizes in pixels mean the same for every scan
and the cost does not depend on its resolution. All randomness comes from the generator that is handed in.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageFilter

from ctcrec.ocr.scanning import coarsen, show_through, speckle, spread_ink, to_two_levels

__all__ = ["LineAugmenter"]

_MAX_RISE = 0.2  # of the height: a rotated line rises at most this much from end to end, whatever its length
_MARGIN = 0.1  # of the height: what crops have above and below their letters together, so that it may be cut off
_CELLS_PER_HEIGHT = 2  # mesh of the elastic distortion: cells about as large as a letter


class LineAugmenter:
    """uint8 (H, W) line image, dark ink on light paper → a changed uint8 (H, W') copy.

    Each change is made with its own probability, in this order; 0 turns it off. Affine and elastic changes share one
    resampling.

    Args:
        affine_probability: rotation, shear, scale and shift together. Letters are not cut off: what would stick out of
            the height by more than the usual margin is shrunk into it.
        rotation_degrees: largest rotation; long lines turn less, so that they rise by a fifth of their height at most.
        shear: largest horizontal shift per unit of height.
        scale: width and height are scaled by 1 ± this, each on its own.
        shift: largest vertical shift, share of the height.
        elastic_probability: smooth local distortion.
        elastic_amplitude: largest displacement, share of the height.
        spread_probability, spread: ink runs into the paper or leaves it, with ragged edges, over this share of the
            height at most; see `ctcrec.ocr.scanning`, also for the next.
        bleed_probability, bleed: print of the other side shows through, with this share of the ink's strength at most.
        morphology_probability: strokes become bolder or thinner by up to a pixel.
        resolution_probability, resolution: the image of a coarser scan, with this share of the rows at least.
        blur_probability, blur_sigma: Gaussian blur, strongest sigma in pixels.
        contrast_probability, contrast: gamma, contrast and brightness change by ± this, with brightness drifting
            from one end of the line to the other.
        noise_probability, noise_sigma: Gaussian noise, strongest sigma in gray levels of 255.
        speckle_probability, speckle: dust and holes, of this share of the pixels at most.
        jpeg_probability, jpeg_quality: JPEG compression, quality drawn from this range, ends included.
        binary_probability: only ink and paper are left, as in 1-bit scans.
    """

    def __init__(
        self,
        affine_probability: float = 0.0,
        rotation_degrees: float = 1.0,
        shear: float = 0.2,
        scale: float = 0.1,
        shift: float = 0.05,
        elastic_probability: float = 0.0,
        elastic_amplitude: float = 0.04,
        spread_probability: float = 0.0,
        spread: float = 0.03,
        bleed_probability: float = 0.0,
        bleed: float = 0.3,
        morphology_probability: float = 0.0,
        resolution_probability: float = 0.0,
        resolution: float = 0.5,
        blur_probability: float = 0.0,
        blur_sigma: float = 1.0,
        contrast_probability: float = 0.0,
        contrast: float = 0.4,
        noise_probability: float = 0.0,
        noise_sigma: float = 12.0,
        speckle_probability: float = 0.0,
        speckle: float = 0.005,
        jpeg_probability: float = 0.0,
        jpeg_quality: tuple[int, int] = (20, 80),
        binary_probability: float = 0.0,
    ) -> None:
        self.affine_probability = affine_probability
        self.rotation_degrees = rotation_degrees
        self.shear = shear
        self.scale = scale
        self.shift = shift
        self.elastic_probability = elastic_probability
        self.elastic_amplitude = elastic_amplitude
        self.spread_probability = spread_probability
        self.spread = spread
        self.bleed_probability = bleed_probability
        self.bleed = bleed
        self.morphology_probability = morphology_probability
        self.resolution_probability = resolution_probability
        self.resolution = resolution
        self.blur_probability = blur_probability
        self.blur_sigma = blur_sigma
        self.contrast_probability = contrast_probability
        self.contrast = contrast
        self.noise_probability = noise_probability
        self.noise_sigma = noise_sigma
        self.speckle_probability = speckle_probability
        self.speckle = speckle
        self.jpeg_probability = jpeg_probability
        self.jpeg_quality = jpeg_quality
        self.binary_probability = binary_probability

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy; equal generators give equal copies."""
        affine = generator.random() < self.affine_probability
        elastic = generator.random() < self.elastic_probability
        if affine or elastic:
            image = self._warp(image, generator, affine, elastic)
        image = self._change_print(image, generator)
        if generator.random() < self.morphology_probability:
            image = _change_strokes(image, generator)
        if self.resolution_probability and generator.random() < self.resolution_probability:
            image = coarsen(image, generator, self.resolution)
        if generator.random() < self.blur_probability:
            sigma = generator.uniform(0.0, self.blur_sigma)
            image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))
        if generator.random() < self.contrast_probability:
            image = self._change_light(image, generator)
        if generator.random() < self.noise_probability:
            noise = generator.standard_normal(image.shape, dtype=np.float32)
            noise *= generator.uniform(0.0, self.noise_sigma)
            image = _to_levels(noise + image)
        if self.speckle_probability and generator.random() < self.speckle_probability:
            image = speckle(image, generator, self.speckle)
        if generator.random() < self.jpeg_probability:
            low, high = self.jpeg_quality
            image = _compress(image, int(generator.integers(low, high, endpoint=True)))
        if self.binary_probability and generator.random() < self.binary_probability:
            image = to_two_levels(image, generator)
        return np.array(image)

    def _change_print(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if self.spread_probability and generator.random() < self.spread_probability:
            image = spread_ink(image, generator, self.spread)
        if self.bleed_probability and generator.random() < self.bleed_probability:
            image = show_through(image, generator, self.bleed)
        return image

    def output_width(self, width: int, height: int, generator: np.random.Generator) -> int:
        """How wide `__call__` makes an image of this size with an equal generator."""
        affine = generator.random() < self.affine_probability
        generator.random()  # elastic changes keep the width
        return _width_after(self._draw_affine(width, height, generator)[0], width, height) if affine else width

    def _warp(self, image: np.ndarray, generator: np.random.Generator, affine: bool, elastic: bool) -> np.ndarray:
        """Affine and elastic change in one resampling: a mesh of cells, each filled from a quadrilateral."""
        height, width = image.shape
        matrix, shift = self._draw_affine(width, height, generator) if affine else (np.eye(2), 0.0)
        out_width = _width_after(matrix, width, height)
        cell = height / _CELLS_PER_HEIGHT
        columns = _ticks(out_width, max(1, round(out_width / cell)) if elastic else 1)
        rows = _ticks(height, min(height, _CELLS_PER_HEIGHT) if elastic else 1)
        # where each corner of the mesh comes from: (rows, columns, 2) as (x, y)
        corners = np.stack(np.meshgrid(columns, rows), axis=-1) - (out_width / 2, height / 2 + shift)
        sources = corners @ np.linalg.inv(matrix).T + (width / 2, height / 2)
        if elastic:
            sources += generator.uniform(-1.0, 1.0, sources.shape) * (self.elastic_amplitude * height)
        paper = int(np.median(image[::4, ::4]))  # a sample is enough
        warped = Image.fromarray(image).transform(
            (out_width, height),
            Image.Transform.MESH,
            _mesh(columns, rows, sources),
            Image.Resampling.BILINEAR,
            fillcolor=paper,
        )
        return np.asarray(warped)

    def _draw_affine(self, width: int, height: int, generator: np.random.Generator) -> tuple[np.ndarray, float]:
        """The 2×2 matrix from source to output about the centres, and the vertical shift in pixels."""
        limit = min(math.radians(self.rotation_degrees), math.asin(min(1.0, _MAX_RISE * height / width)))
        angle = generator.uniform(-limit, limit)
        shear = generator.uniform(-self.shear, self.shear)
        scale = 1.0 + generator.uniform(-self.scale, self.scale, 2)
        shift = generator.uniform(-self.shift, self.shift) * height
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(scale)
        needed = np.abs(matrix[1]) @ (width, height) + 2 * abs(shift)
        fit = min(1.0, height * (1 + _MARGIN) / needed)
        return matrix * fit, shift * fit

    def _change_light(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        gamma, contrast = 1.0 + generator.uniform(-self.contrast, self.contrast, 2)
        left, right = generator.uniform(-self.contrast, self.contrast, 2) * 127.5
        levels = np.linspace(0.0, 1.0, 256, dtype=np.float32) ** gamma
        levels = (levels - 0.5) * contrast * 255.0 + 127.5
        brightness = np.linspace(left, right, image.shape[1], dtype=np.float32)
        return _to_levels(levels.astype(np.float32)[image] + brightness)


def _width_after(matrix: np.ndarray, width: int, height: int) -> int:
    """Pixel columns that the image needs after the affine change."""
    return max(1, math.ceil(np.abs(matrix[0]) @ (width, height) - 1e-6))


def _ticks(length: int, cells: int) -> np.ndarray:
    """Pixel borders that part `length` into about equal cells."""
    return np.linspace(0, length, cells + 1).round().astype(int)


def _mesh(
    columns: np.ndarray, rows: np.ndarray, sources: np.ndarray
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Pillow's mesh: for each cell its output box, and its source corners NW, SW, SE, NE."""
    quads = np.concatenate([sources[:-1, :-1], sources[1:, :-1], sources[1:, 1:], sources[:-1, 1:]], axis=-1).tolist()
    xs, ys = columns.tolist(), rows.tolist()
    return [
        ((xs[j], ys[i], xs[j + 1], ys[i + 1]), tuple(quads[i][j]))
        for i in range(len(ys) - 1)
        for j in range(len(xs) - 1)
    ]


def _change_strokes(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Erode or dilate the ink by a window of 1×2, 2×1 or 2×2 pixels, mixed with the original at a drawn weight."""
    spread = np.minimum if generator.random() < 0.5 else np.maximum
    direction = generator.integers(3)
    changed = image
    if direction != 0:
        changed = np.concatenate([changed[:1], spread(changed[1:], changed[:-1])])
    if direction != 1:
        changed = np.concatenate([changed[:, :1], spread(changed[:, 1:], changed[:, :-1])], axis=1)
    weight = np.float32(generator.uniform(0.2, 1.0))
    return _to_levels(image + weight * (changed.astype(np.float32) - image))


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
