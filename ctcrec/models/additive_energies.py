"""Energies of additive and location attention in a search, compiled: e_mt = v·tanh(key_nt + query_m + U f_mt).

PyTorch writes (prefixes, frames, size) to memory for each of the sums and for tanh; here a frame's row stays in the
registers and the cache. f_mt is the last weights of prefix m around frame t, convolved (Chorowski et al. 2015, eq. 8).
"""

# Compiled code is typed by Numba, not by mypy.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ctcrec.ctc.threads import run_balanced
from ctcrec.ctc.vector_math import fast_exp
from ctcrec.kernel_cache import cached_njit

__all__ = ["energies"]

_ZERO, _ONE = np.float32(0), np.float32(1)
_MOST = np.float32(80)  # e^80 is a float32, and 1 / (1 + e^80) nothing beside 1
_OPERATIONS = 8.0  # of a processor's vector units in a nanosecond, or so


def energies(
    keys: torch.Tensor,
    queries: torch.Tensor,
    score: torch.Tensor,
    lengths: torch.Tensor,
    located: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """Energies (N, Q, T), float32; zero beyond an example's frames.

    Args:
        keys: (N, T, A), float32 on the CPU, as all that follow.
        queries: (N, Q, A) projected.
        score: (A,) v.
        lengths: (N,) int64, frames of each example.
        located: last weights (N, Q, T), convolution (channels, kernel) and projection (A, channels) of them, if any.
    """
    n, count, size = queries.shape
    frames = keys.shape[1]
    if located is None:
        located = (queries.new_zeros(n, count, frames), queries.new_zeros(0, 1), queries.new_zeros(size, 0))
    weights, convolution, projection = located
    out = np.zeros((n * count, frames), np.float32)
    rows = lengths.numpy().repeat(count)
    channels, kernel = convolution.shape
    task = partial(
        _fill_rows,
        keys=_array(keys),
        queries=_array(queries.reshape(n * count, size)),
        score=_array(score),
        lengths=rows,
        weights=_array(weights.reshape(n * count, frames)),
        convolution=_array(convolution),
        projection=_array(projection.t()),
        out=out,
    )
    run_balanced(task, rows * (size * (channels + 16.0) + kernel * channels) / _OPERATIONS)
    return torch.from_numpy(out).view(n, count, frames)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.contiguous().numpy()


@cached_njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def _fill_rows(which, keys, queries, score, lengths, weights, convolution, projection, out):
    """Rows `which` of `out`; convolution (channels, kernel) and projection (channels, A)."""
    size, (channels, kernel) = len(score), convolution.shape
    share = len(queries) // len(keys)
    row, features = np.empty(size, np.float32), np.empty((channels, out.shape[1]), np.float32)
    most = score.sum()
    for m in which:
        n, frames = m // share, lengths[m]
        for f in range(channels):
            features[f, :frames] = _ZERO
            for k in range(kernel):
                shift, factor = k - kernel // 2, convolution[f, k]
                first, last = max(-shift, 0), max(min(frames, frames - shift), 0)
                moved, into = weights[m, first + shift : last + shift], features[f, first:last]
                for t in range(len(into)):
                    into[t] += factor * moved[t]
        for t in range(frames):
            for a in range(size):
                row[a] = keys[n, t, a] + queries[m, a]
            paired = channels - channels % 2
            for f in range(0, paired, 2):
                one, other = features[f, t], features[f + 1, t]
                for a in range(size):
                    row[a] += one * projection[f, a] + other * projection[f + 1, a]
            for f in range(paired, channels):
                for a in range(size):
                    row[a] += features[f, t] * projection[f, a]
            lacking = _ZERO
            for a in range(size):  # tanh(x) = 1 - 2 / (1 + e^2x)
                lacking += score[a] / (_ONE + fast_exp(min(row[a] + row[a], _MOST)))
            out[m, t] = most - lacking - lacking
