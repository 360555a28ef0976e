"""What the CTC head says of a prefix: the probability of all texts that begin with it (Graves 2012, §7.5; Watanabe et
al. 2017, "Hybrid CTC/attention", algorithm 2).

For a prefix g let γn(t) and γb(t) be the probabilities that the frames up to t spell g and end in its last token, or in
a blank. A further token c is first emitted in frame t with probability φ(t − 1) p_t(c), φ = γn + γb, or γb alone if c
repeats the last token. So the prefix g·c has the probability

    ψ(g·c) = Σ_t φ(t − 1) p_t(c)

which for all c at once is a product of matrices, and the text g that of γn(T) + γb(T). The sums are scaled by the
largest φ of each prefix; what is smaller than it by e^700 counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.emissions import as_emissions, check_emissions
from ctcrec.errors import ConfigError
from ctcrec.lm.compiled import inlined, kernel, lean_kernel

__all__ = ["CTCPrefixScorer", "ctc_log_likelihoods"]

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _State:
    """ln γn and ln γb (M, T, 2), the last token (M,) or −1, and the example (M,) of each prefix."""

    forward: Floats
    last: Int64s
    example: Int64s


class CTCPrefixScorer:
    """weight × ln ψ of every extension of a prefix, and weight × ln p of the prefix as a text where it ends.

    Args:
        emissions: (T, C) log-probabilities of each example; class 0 is the blank, and stands for the end of the text.
        weight: factor, above 0.

    Raises:
        ConfigError: a weight that is not above 0.
        InputError: emissions with NaN, without frames, or of different widths (names the example).
    """

    falling = True

    def __init__(self, emissions: Sequence[torch.Tensor], weight: float) -> None:
        if not weight > 0.0:
            raise ConfigError(f"the weight of the CTC scores must be more than 0, not {weight}")
        self._weight = weight
        arrays = as_emissions(emissions)
        for number, one in enumerate(arrays):
            check_emissions(one, arrays[0].shape[1], f"utterance {number}")
        self._lengths = np.array([len(one) for one in arrays], np.int64)
        longest = int(self._lengths.max(initial=0))
        classes = arrays[0].shape[1] if arrays else 1
        self._log_probs = np.full((len(arrays), longest, classes), -math.inf)
        for row, one in zip(self._log_probs, arrays, strict=True):
            row[: len(one)] = one
        self._probs = torch.from_numpy(np.exp(self._log_probs))
        self._searched: tuple[list[int], torch.Tensor] = (list(range(len(arrays))), self._probs)

    def start(self, examples: int) -> _State:
        """See `PrefixScorer`; the examples are those of the emissions."""
        n, frames, _ = self._log_probs.shape
        forward = np.full((n, frames, 2), -math.inf)
        forward[:, :, 1] = self._log_probs[:, :, 0].cumsum(1)
        return _State(forward, np.full(n, -1, np.int64), np.arange(n))

    def score(self, state: _State) -> torch.Tensor:
        """See `PrefixScorer`; (M, C) float64."""
        rows, frames, _ = state.forward.shape
        both = np.logaddexp(state.forward[:, :, 0], state.forward[:, :, 1])
        phi = _before(both, state.last < 0)
        largest = phi.max(1)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        scaled = torch.from_numpy(np.exp(phi - largest[:, None]))
        examples, probs = self._examples_of(state)
        with np.errstate(divide="ignore"):
            sums = (scaled.view(len(examples), -1, frames) @ probs).flatten(0, 1).numpy()
            scores = np.log(sums) + largest[:, None]
            repeating = (state.last > 0).nonzero()[0]
            if len(repeating):
                tokens, owners = state.last[repeating], state.example[repeating]
                alone = _before(state.forward[repeating, :, 1], np.zeros(len(repeating), bool))
                scores[repeating, tokens] = np.logaddexp.reduce(alone + self._log_probs[owners, :, tokens], 1)
        scores[:, 0] = both[np.arange(rows), self._lengths[state.example] - 1]
        return torch.from_numpy(self._weight * scores)

    def advance(self, state: _State, rows: torch.Tensor, tokens: torch.Tensor) -> _State:
        """See `PrefixScorer`; a token of 0 or less leaves the prefix as it is."""
        chosen, written = rows.numpy(), tokens.numpy()
        forward = np.empty((len(chosen), *state.forward.shape[1:]))
        _extend_rows(self._log_probs, self._lengths, state.forward, state.last, state.example, chosen, written, forward)
        last = np.where(written > 0, written, state.last[chosen])
        return _State(forward, last, state.example[chosen])

    def _examples_of(self, state: _State) -> tuple[list[int], torch.Tensor]:
        """The examples of the state and their probabilities (n, T, C), kept until examples are done."""
        examples = list(dict.fromkeys(state.example.tolist()))
        if examples != self._searched[0]:
            self._searched = (examples, self._probs[examples])
        return self._searched


def ctc_log_likelihoods(emissions: Sequence[torch.Tensor], texts: Sequence[Sequence[int]]) -> list[float]:
    """ln p of each token sequence given its emissions (T, C), blank 0; −inf where it does not fit the frames."""
    return [
        float(_log_likelihood(one, np.array(text, np.int64)))
        for one, text in zip(as_emissions(emissions), texts, strict=True)
    ]


def _before(values: Floats, first: npt.NDArray[np.bool_]) -> Floats:
    """(M, T) values moved one frame later; ln 1 comes before the first frame of empty prefixes, ln 0 of others."""
    moved = np.empty_like(values)
    moved[:, 1:] = values[:, :-1]
    moved[:, 0] = np.where(first, 0.0, -math.inf)
    return moved


@inlined
def _log_add(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


@lean_kernel
def _extend_rows(
    log_probs: Floats,
    lengths: Int64s,
    forward: Floats,
    last: Int64s,
    example: Int64s,
    rows: Int64s,
    tokens: Int64s,
    out: Floats,
) -> None:
    """γ of the prefixes `rows` extended by `tokens`, into `out`; (·, T, 2)."""
    for m in range(len(rows)):
        row = rows[m]
        token = tokens[m]
        n = example[row]
        if token <= 0:
            for t in range(forward.shape[1]):
                out[m, t, 0] = forward[row, t, 0]
                out[m, t, 1] = forward[row, t, 1]
            continue
        emitted = log_probs[n, 0, token] if last[row] < 0 else -math.inf
        blank = -math.inf
        out[m, 0, 0] = emitted
        out[m, 0, 1] = blank
        for t in range(1, forward.shape[1]):
            if t >= lengths[n]:
                out[m, t, 0] = -math.inf
                out[m, t, 1] = -math.inf
                continue
            arrived = forward[row, t - 1, 1]
            if last[row] != token:
                arrived = _log_add(arrived, forward[row, t - 1, 0])
            after = _log_add(blank, emitted) + log_probs[n, t, 0]
            emitted = _log_add(emitted, arrived) + log_probs[n, t, token]
            blank = after
            out[m, t, 0] = emitted
            out[m, t, 1] = blank


@kernel
def _log_likelihood(log_probs: npt.NDArray[np.float32], tokens: Int64s) -> float:
    """ln p(tokens | frames) (Graves et al. 2006, eq. 8); state s is blank for even s, token (s − 1) / 2 for odd s."""
    states = 2 * len(tokens) + 1
    alpha = np.full(states, -math.inf)
    alpha[0] = log_probs[0, 0]
    if states > 1:
        alpha[1] = log_probs[0, tokens[0]]
    for t in range(1, log_probs.shape[0]):
        for s in range(states - 1, -1, -1):
            total = alpha[s]
            if s > 0:
                total = _log_add(total, alpha[s - 1])
            token = 0
            if s & 1:
                token = tokens[s >> 1]
                if s > 1 and tokens[(s >> 1) - 1] != token:
                    total = _log_add(total, alpha[s - 2])
            alpha[s] = total + log_probs[t, token]
    return _log_add(alpha[states - 1], alpha[states - 2]) if states > 1 else alpha[0]
