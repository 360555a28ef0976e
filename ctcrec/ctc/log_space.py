"""The forward and backward recursions of one example in log space, compiled: slower, and right for any scores.

The CPU kernels use them for the examples that the probability domain can't hold (see `recursions`). The equations are
those of `reference`, with states numbered blank label blank ... blank; memory is kept bounded by storing alpha every
few frames and computing the frames between again.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["alpha_step", "beta_step", "log_total", "start_alpha"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _logsumexp3(a, b, c):
    top = max(a, b, c)
    if top == -np.inf:
        return a + b + c  # -inf, or NaN if one of them is
    return top + math.log(math.exp(a - top) + math.exp(b - top) + math.exp(c - top))


@_jit
def start_alpha(alpha):
    """alpha before the first frame: only the first state's virtual predecessor."""
    alpha[:] = -np.inf
    alpha[0] = 0.0


@_jit
def alpha_step(alpha, new, emission, symbol, skip):
    """alpha_t from alpha_{t-1}; before frame 0 the virtual start stands in the first blank."""
    labels = symbol.size
    for i in range(labels + 1):
        one = alpha[2 * i - 1] if i > 0 else -np.inf
        new[2 * i] = _logsumexp3(alpha[2 * i], one, -np.inf) + emission[0]
        if i < labels:
            two = one if skip[i] > 0 else -np.inf
            new[2 * i + 1] = _logsumexp3(alpha[2 * i + 1], alpha[2 * i], two) + emission[symbol[i]]


@_jit
def beta_step(ahead, beta, labels, skip):
    """beta_t from `ahead` = beta_{t+1} + emission_{t+1}."""
    for i in range(labels + 1):
        if i == labels:
            beta[2 * i] = ahead[2 * i]
            continue
        beta[2 * i] = _logsumexp3(ahead[2 * i], ahead[2 * i + 1], -np.inf)
        two = ahead[2 * i + 3] if i + 1 < labels and skip[i + 1] > 0 else -np.inf
        beta[2 * i + 1] = _logsumexp3(ahead[2 * i + 1], ahead[2 * i + 2], two)


@_jit
def log_total(alpha):
    """log p from alpha at the last frame."""
    end = alpha.size - 1
    return _logsumexp3(alpha[end], alpha[end - 1] if end > 0 else -np.inf, -np.inf)
