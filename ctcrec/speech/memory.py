"""Recordings that are in memory already: arrays of samples."""

from __future__ import annotations

import numpy as np

from ctcrec.errors import InputError
from ctcrec.speech.resampling import resample

__all__ = ["samples_of"]

_MOST_CHANNELS = 64
_LOUDEST = 1e6  # as for files: full scale is 1, and float samples in 16-bit units reach 32768


def samples_of(array: np.ndarray, rate: int | None, sample_rate: int) -> np.ndarray:
    """Mono samples (S,) float32 at `sample_rate` of an array at `rate` (None = the same).

    Arrays are (S,), (channels, S) or (S, channels), whichever side is shorter; channels are averaged. Floats have full
    scale 1; integers that of their type.

    Raises:
        InputError: another shape or type, no samples, values that are not finite or absurdly large, or a wrong rate.
    """
    if rate is not None and not 1000 <= rate <= 768_000:
        raise InputError(f"a sample rate of {rate}: expected samples a second, 1000 to 768000")
    values = array
    if values.ndim == 2 and min(values.shape) <= _MOST_CHANNELS:
        values = values if values.shape[0] <= values.shape[1] else values.T
    if values.ndim not in (1, 2) or not values.size or (values.ndim == 2 and min(values.shape) > _MOST_CHANNELS):
        raise InputError(f"a recording of shape {array.shape}: expected (samples,) or (channels, samples)")
    if np.issubdtype(values.dtype, np.signedinteger):
        values = values.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"a recording of {values.dtype}: expected floats or signed integers")
    mono = np.ascontiguousarray(values if values.ndim == 1 else values.mean(0), dtype=np.float32)
    if not np.isfinite(mono).all() or np.abs(mono).max() > _LOUDEST:
        raise InputError("the recording has samples that are not finite, or far beyond full scale (1 for floats)")
    return resample(mono, rate or sample_rate, sample_rate)
