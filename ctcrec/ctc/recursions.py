"""The forward and backward recursions of one example in the probability domain, with an exponent for each state.

Log space needs three exp and one log for each state and frame. Plain probabilities need none, but underflow. Here
each state keeps a mantissa, which the recursion updates, and an exponent, which changes only between *segments* of a
few frames:

    alpha_t(s) = mantissa_t(s) * 2^exponent(s)

so within a segment a step is three multiplications and two additions for a state, and it vectorizes:

    blank_t[i] = (blank_{t-1}[i] + from_label[i] * label_{t-1}[i-1]) * e_t(blank)
    label_t[i] = (label_{t-1}[i] + from_blank[i] * blank_{t-1}[i] + from_skip[i] * label_{t-1}[i-1]) * e_t(label i)

with blank[i] the blank before label i, and constants such as from_label[i] = 2^(exponent(label i-1) - exponent(blank
i)). The emission e_t of a symbol is exp(its score - the best score among the target's symbols at t), so 0 < e_t <= 1;
what was divided out of a frame is common to all paths and added back to the logarithm.

*Why nothing is lost.* A mantissa that becomes subnormal would lose digits unseen. A segment ends before the product of
its frames' smallest emissions falls below 2^-MAX_DECAY, so no mantissa falls by more than that within it. At its end
`renormalize_*` requires every mantissa of a state that lies on some complete path (the *band*) to be finite, and brings
it to less than 2 and at least 2^-MAX_DEFICIT. Hence no mantissa in the band is ever subnormal. Where that can't be had (an emission of exactly zero; neighbours too far apart), the functions say so,
and the caller takes the log-space recursion for that example.

The exponents follow the mantissas, but never fall by more than MAX_SLOPE from a state to the one after it, so that mass
which flows on can't overflow; states not reached yet take the exponent of the last one reached.

*The band.* With r_i repeats among the first i labels, label i is reached at frame first[i] = i + r_i at the earliest
and has to be left at frame first[i] + slack at the latest, slack = T - labels - repeats. A state outside the band never
leads into it, so what such a state holds does not matter.

Arrays: `label` has a zero in front, so that label[i + 1] is label i; `first` (L), `skip` (L) 1.0 where labels i-1 and i
differ; K frames of a segment, U distinct symbols of the target (the blank is symbol 0), `symbol` (L) the labels' own.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba

from ctcrec.ctc.vector_math import NO_EXPONENT, exponent_of, power_of_two

__all__ = [
    "MAX_DECAY",
    "backward_frame",
    "band",
    "forward_frame",
    "joint_scale",
    "likelihood",
    "renormalize_backward",
    "renormalize_forward",
]

MAX_DECAY = 300  # bits that a mantissa may lose within a segment
_MAX_GROWTH = 1000  # bits that a mantissa may gain within a segment: what gets past is infinite
_MAX_DEFICIT = 100  # bits by which a mantissa may lie below its exponent after renormalizing
_MAX_LOSS = MAX_DECAY + _MAX_DEFICIT
_MAX_SLOPE = 40  # bits by which exponents may fall from a state to the next

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
# Sums may be reordered, which lets them vectorize. Always in the same order, so results stay reproducible.
_jit_sums = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")


@_jit
def band(t, lo, hi, first, slack):
    """Labels [lo, hi) in the band at frame t, given those of an earlier (or, for lo = hi = L, any later) frame."""
    while hi < first.size and first[hi] <= t:
        hi += 1
    while lo < first.size and first[lo] + slack < t:
        lo += 1
    return lo, hi


@_jit
def band_back(t, lo, hi, first, slack):
    """The band at frame t, given that of a later frame."""
    while hi > 0 and first[hi - 1] > t:
        hi -= 1
    while lo > 0 and first[lo - 1] + slack >= t:
        lo -= 1
    return lo, hi


@_jit
def _blank_in_band(i, t, first, slack):
    reached = i == 0 or t >= first[i - 1] + 1
    return reached and (i == first.size or t <= first[i] + slack - 1)


@_jit
def forward_frame(blank, label, new_blank, new_label, lo, hi, from_label, from_blank, from_skip, emission, symbol):
    """One step of the forward recursion for the band [lo, hi) of the new frame."""
    e_blank = emission[0]
    for i in range(lo, hi):
        before = label[i]
        here = blank[i]
        new_blank[i] = (here + from_label[i] * before) * e_blank
        new_label[i + 1] = (label[i + 1] + from_blank[i] * here + from_skip[i] * before) * emission[symbol[i]]
    new_blank[hi] = (blank[hi] + from_label[hi] * label[hi]) * e_blank
    # The next frame reads one state to either side of the band.
    new_label[lo] = 0.0
    new_label[hi + 1] = 0.0
    new_label[min(hi + 2, new_label.size - 1)] = 0.0
    if hi + 1 < new_blank.size:
        new_blank[hi + 1] = 0.0


@_jit
def renormalize_forward(
    t, lo, hi, first, slack, skip, blank, label, blank_exp, label_exp, from_label, from_blank, from_skip, reach
):
    """Splits frame t's alpha into new mantissas and exponents and sets the constants of the next `reach` frames.

    Returns whether every mantissa in the band could be kept (see the module's docstring).
    """
    ok = True
    before = NO_EXPONENT  # of label i - 1
    at = NO_EXPONENT
    for i in range(lo, hi + 1):
        own = NO_EXPONENT
        if _blank_in_band(i, t, first, slack):
            size = exponent_of(blank[i])
            own = blank_exp[i] + size
            ok &= -_MAX_LOSS <= size <= _MAX_GROWTH
        at = max(own, before - _MAX_SLOPE) if own > NO_EXPONENT else before
        ok &= own == NO_EXPONENT or at - own <= _MAX_DEFICIT
        blank[i] = blank[i] * power_of_two(blank_exp[i] - at) if own > NO_EXPONENT else 0.0
        blank_exp[i] = at
        from_label[i] = power_of_two(before - at) if before > NO_EXPONENT else 0.0
        if i == hi:
            break
        size = exponent_of(label[i + 1])
        own = label_exp[i] + size
        ok &= -_MAX_LOSS <= size <= _MAX_GROWTH
        here = max(own, at - _MAX_SLOPE)
        ok &= here - own <= _MAX_DEFICIT
        label[i + 1] *= power_of_two(label_exp[i] - here)
        label_exp[i] = here
        from_blank[i] = power_of_two(at - here)
        from_skip[i] = skip[i] * power_of_two(before - here)
        before = here
    end = min(first.size, hi + reach)
    for i in range(hi, end + 1):
        blank_exp[i] = at
        if i > hi:
            from_label[i] = 1.0
        if i < first.size:
            label_exp[i] = at
            from_blank[i] = 1.0
            from_skip[i] = skip[i] * (power_of_two(before - at) if i == hi else 1.0)
    return ok


@_jit
def likelihood(blank, label, blank_exp, label_exp):
    """Sum of the two final states at the last frame as mantissa and exponent."""
    end = blank.size - 1
    scale = blank_exp[end]
    total = blank[end]
    if end > 0:
        scale = max(scale, label_exp[end - 1])
        total = blank[end] * power_of_two(blank_exp[end] - scale)
        total += label[end] * power_of_two(label_exp[end - 1] - scale)
    return total, scale


@_jit_sums
def backward_frame(
    blank, label, lo, hi, to_label, to_blank, to_skip, emission, symbol, alpha_blank, alpha_label, scale_blank,
    scale_label, label_occupancy,
):  # fmt: skip
    """One step of the backward recursion for the band [lo, hi), in place, and the occupancies of its frame.

    `blank` and `label` hold beta times the emission at the next frame, and afterwards at this one. Occupancies are
    unnormalized: those of the labels go to `label_occupancy`, the sum over the blanks is returned.
    """
    e_blank = emission[0]
    blanks = 0.0
    for i in range(lo, hi):
        next_blank = blank[i + 1]
        beta_blank = blank[i] + to_label[i] * label[i + 1]
        beta_label = label[i + 1] + to_blank[i] * next_blank + to_skip[i] * label[i + 2]
        blanks += (alpha_blank[i] * scale_blank[i]) * beta_blank
        label_occupancy[i] = (alpha_label[i + 1] * scale_label[i]) * beta_label
        blank[i] = beta_blank * e_blank
        label[i + 1] = beta_label * emission[symbol[i]]
    last = blank[hi]
    if hi < symbol.size:
        last += to_label[hi] * label[hi + 1]
    blanks += (alpha_blank[hi] * scale_blank[hi]) * last
    blank[hi] = last * e_blank
    label[hi + 1] = 0.0
    return blanks


@_jit
def renormalize_backward(
    t, lo, hi, first, slack, skip, blank, label, blank_exp, label_exp, to_label, to_blank, to_skip, reach
):
    """`renormalize_forward` for beta times emission, of which frame t is the earliest known, mirrored."""
    ok = True
    after = NO_EXPONENT  # of label i, while blank i is looked at
    at = NO_EXPONENT
    for i in range(hi, lo - 1, -1):
        own = NO_EXPONENT
        if _blank_in_band(i, t, first, slack):
            size = exponent_of(blank[i])
            own = blank_exp[i] + size
            ok &= -_MAX_LOSS <= size <= _MAX_GROWTH
        at = max(own, after - _MAX_SLOPE) if own > NO_EXPONENT else after
        ok &= own == NO_EXPONENT or at - own <= _MAX_DEFICIT
        blank[i] = blank[i] * power_of_two(blank_exp[i] - at) if own > NO_EXPONENT else 0.0
        blank_exp[i] = at
        if i < first.size:
            to_label[i] = power_of_two(after - at) if after > NO_EXPONENT else 0.0
        if i == lo:
            break
        size = exponent_of(label[i])
        own = label_exp[i - 1] + size
        ok &= -_MAX_LOSS <= size <= _MAX_GROWTH
        here = max(own, at - _MAX_SLOPE)
        ok &= here - own <= _MAX_DEFICIT
        label[i] *= power_of_two(label_exp[i - 1] - here)
        label_exp[i - 1] = here
        to_blank[i - 1] = power_of_two(at - here)
        to_skip[i - 1] = skip[i] * power_of_two(after - here) if i < first.size else 0.0
        after = here
    end = max(0, lo - reach)
    for i in range(lo, end - 1, -1):
        blank_exp[i] = at
        if i < lo:
            to_label[i] = 1.0
            blank[i] = 0.0
        if i > 0:
            label_exp[i - 1] = at
            label[i] = 0.0
            to_blank[i - 1] = 1.0
            ahead = skip[i] if i < first.size else 0.0
            to_skip[i - 1] = ahead * (power_of_two(after - at) if i == lo else 1.0)
    return ok


@_jit
def joint_scale(lo, hi, total_exp, alpha_blank_exp, alpha_label_exp, blank_exp, label_exp, scale_blank, scale_label):
    """2^(exponent of alpha + exponent of beta - exponent of the likelihood) of the states of labels [lo, hi)."""
    for i in range(lo, hi):
        scale_blank[i] = power_of_two(alpha_blank_exp[i] + blank_exp[i] - total_exp)
        scale_label[i] = power_of_two(alpha_label_exp[i] + label_exp[i] - total_exp)
    scale_blank[hi] = power_of_two(alpha_blank_exp[hi] + blank_exp[hi] - total_exp)
