"""Where a hypothesis stands: the best alignment of its tokens (Viterbi over the CTC trellis of this one hypothesis)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ctcrec.lm.compiled import kernel

__all__ = ["best_spans"]


@kernel
def best_spans(
    log_probs: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32], blank: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First frame and end frame (exclusive) of every token in the most probable alignment of `tokens` (L,).

    State s of the trellis is blank for even s and token (s - 1) / 2 for odd s. v[s] is the best log-probability of an
    alignment of the frames so far that ends in s; step[t, s] (0, 1, 2) is how many states it came up in frame t.

    Ties go to the smaller step, that is, to the earlier token boundary. If `tokens` cannot be aligned at all (it needs
    more frames or has probability 0), all spans are (0, 0).
    """
    frames = log_probs.shape[0]
    length = len(tokens)
    starts = np.zeros(length, np.int64)
    ends = np.zeros(length, np.int64)
    states = 2 * length + 1
    if length == 0 or frames == 0:
        return starts, ends
    v = np.full(states, -math.inf)
    step = np.zeros((frames, states), np.uint8)
    v[0] = log_probs[0, blank]
    v[1] = log_probs[0, tokens[0]]
    for t in range(1, frames):
        low = max(0, states - 2 * (frames - t))  # below it the end is out of reach
        log_blank = log_probs[t, blank]
        for s in range(min(states - 1, 2 * t + 1), low - 1, -1):
            best = v[s]
            move = 0
            if s > 0 and v[s - 1] > best:
                best = v[s - 1]
                move = 1
            if s & 1:
                token = tokens[s >> 1]
                if s > 1 and tokens[(s >> 1) - 1] != token and v[s - 2] > best:
                    best = v[s - 2]
                    move = 2
                v[s] = best + log_probs[t, token]
            else:
                v[s] = best + log_blank
            step[t, s] = move
    s = states - 1 if v[states - 1] >= v[states - 2] else states - 2
    if v[s] == -math.inf:
        return starts, ends
    for t in range(frames - 1, -1, -1):
        if s & 1:
            token_at = s >> 1
            if ends[token_at] == 0:
                ends[token_at] = t + 1
            starts[token_at] = t
        s -= step[t, s]
    return starts, ends
