"""The forward and backward recursions in log space, compiled: slower, and right for any scores.

The CPU kernels use them for the examples that the probability domain can't hold (see `recursions`). The equations are
those of `reference`, with states numbered blank label blank ... blank; memory is kept bounded by storing alpha every
few frames and computing the frames between again.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math

import numpy as np

from ctcrec.kernel_cache import cached_njit

__all__ = ["forward_task", "occupancy_task"]

_STRETCH = 32  # frames between stored alphas

_jit = cached_njit(error_model="numpy")


@_jit
def _logsumexp3(a, b, c):
    top = max(a, b, c)
    if top == -np.inf:
        return a + b + c  # -inf, or NaN if one of them is
    return top + math.log(math.exp(a - top) + math.exp(b - top) + math.exp(c - top))


@_jit
def _start_alpha(alpha):
    """alpha before the first frame: only the first state's virtual predecessor."""
    alpha[:] = -np.inf
    alpha[0] = 0.0


@_jit
def _alpha_step(alpha, new, emission, symbol, skip):
    """alpha_t from alpha_{t-1}; before frame 0 the virtual start stands in the first blank."""
    labels = symbol.size
    for i in range(labels + 1):
        one = alpha[2 * i - 1] if i > 0 else -np.inf
        new[2 * i] = _logsumexp3(alpha[2 * i], one, -np.inf) + emission[0]
        if i < labels:
            two = one if skip[i] > 0 else -np.inf
            new[2 * i + 1] = _logsumexp3(alpha[2 * i + 1], alpha[2 * i], two) + emission[symbol[i]]


@_jit
def _beta_step(ahead, beta, labels, skip):
    """beta_t from `ahead` = beta_{t+1} + emission_{t+1}."""
    for i in range(labels + 1):
        if i == labels:
            beta[2 * i] = ahead[2 * i]
            continue
        beta[2 * i] = _logsumexp3(ahead[2 * i], ahead[2 * i + 1], -np.inf)
        two = ahead[2 * i + 3] if i + 1 < labels and skip[i + 1] > 0 else -np.inf
        beta[2 * i + 1] = _logsumexp3(ahead[2 * i + 1], ahead[2 * i + 2], two)


@_jit
def _log_total(alpha):
    """log p from alpha at the last frame."""
    end = alpha.size - 1
    return _logsumexp3(alpha[end], alpha[end - 1] if end > 0 else -np.inf, -np.inf)


@_jit
def _log_emissions(examples, j, frames, symbols, buffer, offsets, normalize, normalizers):
    """The (T, U) log-probabilities of one example's symbols, in place of its scores."""
    n = examples[j]
    used = symbols.counts[n]
    emission = buffer[offsets[j] : offsets[j] + frames[n] * used].reshape(frames[n], used)
    if normalize:
        for t in range(frames[n]):
            emission[t] -= normalizers[n, t]
    return emission


@_jit
def _forward(emission, labels, skip, kept):
    """log p; alphas before the frames 0, _STRETCH, 2 * _STRETCH ... go to `kept` if it has rows."""
    alpha = np.empty(2 * labels.size + 1)
    new = np.empty_like(alpha)
    _start_alpha(alpha)
    for t in range(emission.shape[0]):
        if kept.shape[0] > 0 and t % _STRETCH == 0:
            kept[t // _STRETCH, :] = alpha
        _alpha_step(alpha, new, emission[t], labels, skip)
        alpha, new = new, alpha
    return _log_total(alpha)


@_jit
def forward_task(examples, frames, target_lengths, symbols, buffer, offsets, normalize, normalizers, log_p):
    """log_p[n] of each example from its scores in the buffer."""
    none = np.empty((0, 0))
    for j in range(examples.size):
        n = examples[j]
        emission = _log_emissions(examples, j, frames, symbols, buffer, offsets, normalize, normalizers)
        count = target_lengths[n]
        log_p[n] = _forward(emission, symbols.labels[n, :count], symbols.skip[n, :count], none)


@_jit
def _occupancies(emission, labels, skip):
    """Puts the symbols' occupancies in the place of their log-probabilities."""
    frames, used = emission.shape
    states = 2 * labels.size + 1
    kept = np.empty(((frames + _STRETCH - 1) // _STRETCH, states))
    total = _forward(emission, labels, skip, kept)
    alphas = np.empty((_STRETCH + 1, states))
    beta = np.empty(states)
    occupancy = np.empty(used)
    ahead = np.full(states, -np.inf)
    ahead[states - 1] = 0.0
    for index in range(kept.shape[0] - 1, -1, -1):
        t0 = index * _STRETCH
        count = min(_STRETCH, frames - t0)
        alphas[0, :] = kept[index]
        for k in range(count):
            _alpha_step(alphas[k], alphas[k + 1], emission[t0 + k], labels, skip)
        for k in range(count - 1, -1, -1):
            _beta_step(ahead, beta, labels.size, skip)
            occupancy[:] = 0.0
            for s in range(states):
                u = labels[s // 2] if s % 2 == 1 else np.uint64(0)
                occupancy[u] += math.exp(alphas[k + 1, s] + beta[s] - total)
                ahead[s] = beta[s] + emission[t0 + k, u]
            # They add up to one but for the rounding of large logarithms, which this takes out.
            emission[t0 + k, :] = occupancy / occupancy.sum()


@_jit
def occupancy_task(examples, frames, target_lengths, symbols, buffer, offsets, normalize, normalizers):
    """Occupancies in the place of scores in the buffer."""
    for j in range(examples.size):
        n = examples[j]
        emission = _log_emissions(examples, j, frames, symbols, buffer, offsets, normalize, normalizers)
        count = target_lengths[n]
        _occupancies(emission, symbols.labels[n, :count], symbols.skip[n, :count])
