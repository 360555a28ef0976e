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
it to less than 2 and at least 2^-MAX_DEFICIT. Hence no mantissa in the band is ever subnormal. Where that can't be had
(an emission of exactly zero; neighbours too far apart), the functions say so, and the caller takes the log-space
recursion for that example.

The exponents follow the mantissas, but never fall by more than MAX_SLOPE from a state to the one after it, so that mass
which flows on can't overflow; states not reached yet take the exponent of the last one reached.

*The band.* With r_i repeats among the first i labels, label i is reached at frame first[i] = i + r_i at the earliest
and has to be left at frame first[i] + slack at the latest, slack = T - labels - repeats. A state outside the band never
leads into it, so what such a state holds does not matter.

Arrays: `exps` (2, L + 1) and `scales` have a row for the blanks and one for the labels; `consts` (3, L + 1) holds
from_label, from_blank and from_skip, or their mirror images; `emission` (K, U) is of the target's U distinct symbols,
of which the blank is the first, and `symbol` (L) numbers the labels among them; `label` has a zero in front and behind,
so that label[i + 1] is label i; `first` (L); `skip` (L) is 1.0 where labels i-1 and i differ. K frames of a segment.
"""

# Compiled functions take arrays and numbers whose types Numba infers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from ctcrec.ctc.vector_math import NO_EXPONENT, exponent_of, fast_exp, from_ordered_bits, ordered_bits, power_of_two
from ctcrec.kernel_cache import cached_njit

__all__ = [
    "backward_segment",
    "band",
    "forward_segment",
    "joint_scale",
    "likelihood",
    "plan_segments",
    "renormalize_backward",
    "renormalize_forward",
]

_MAX_DECAY = 300  # bits that a mantissa may lose within a segment
_MAX_GROWTH = 1000  # bits that a mantissa may gain within a segment: what gets past is infinite
_MAX_DEFICIT = 100  # bits by which a mantissa may lie below its exponent after renormalizing
_MAX_LOSS = _MAX_DECAY + _MAX_DEFICIT
_TOLERANCE = 1e-8  # how far a frame's total may be from the likelihood, relatively; rounding leaves 1e-12 or so
_MAX_SLOPE = 40  # bits by which exponents may fall from a state to the next

# Indices in inner loops are unsigned: a signed one might count from the end, and such loops don't vectorize. Nor do
# loops over many arrays, because LLVM checks at run time, with a handful of comparisons, that they don't overlap.
_0, _1, _2 = np.uint64(0), np.uint64(1), np.uint64(2)

_jit = cached_njit(fastmath={"contract", "nsz"}, error_model="numpy")
# Sums may be reordered, which lets them vectorize. Always in the same order, so results stay reproducible.
_jit_sums = cached_njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")


@_jit
def plan_segments(scores, longest, ends):
    """Turns (T, U) scores of a target's symbols into emissions, in place, and cuts the frames into segments.

    Returns the number of segments, whose ends (exclusive) are in `ends`, and the logarithm of what was divided out;
    -1 segments, and the scores spoiled, if one frame alone exceeds the mantissas' range.
    """
    frames, symbols = scores.shape
    decay = log_scale = 0.0
    segments = begin = 0
    for t in range(frames):
        # Compared as integers, because such loops vectorize.
        most = least = ordered_bits(scores[t, 0])
        for u in range(symbols):
            bits = ordered_bits(scores[t, u])
            most = max(most, bits)
            least = min(least, bits)
        top = from_ordered_bits(most)
        fall = (top - from_ordered_bits(least)) * 1.4426950408889634
        if not fall <= _MAX_DECAY:
            return -1, 0.0
        decay += fall
        if decay > _MAX_DECAY or t - begin == longest:
            ends[segments] = t
            segments += 1
            begin, decay = t, fall
        for u in range(symbols):
            scores[t, u] -= top
        log_scale += top
    if frames > 0:
        ends[segments] = frames
        segments += 1
    flat = scores.reshape(-1)
    for j in range(flat.size):
        flat[j] = fast_exp(flat[j])
    return segments, log_scale


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
def forward_segment(t0, count, lo, hi, first, slack, consts, emission, symbol, label_emission, rows_blank, rows_label):
    """Alphas of the frames [t0, t0 + count) in rows 1 .. count, from row 0. Takes and returns the band."""
    for k in range(count):
        lo, hi = band(t0 + k, lo, hi, first, slack)
        here, new, begin, end = np.uint64(k), np.uint64(k + 1), np.uint64(lo), np.uint64(hi)
        for i in range(begin, end):
            label_emission[here, i] = emission[here, symbol[i]]
        e_blank = emission[k, 0]
        for i in range(begin, end + _1):
            rows_blank[new, i] = (rows_blank[here, i] + consts[_0, i] * rows_label[here, i]) * e_blank
        for i in range(begin, end):
            rows_label[new, i + _1] = (
                rows_label[here, i + _1] + consts[_1, i] * rows_blank[here, i] + consts[_2, i] * rows_label[here, i]
            ) * label_emission[here, i]
        # The next frame reads one state to either side of the band.
        rows_label[k + 1, lo] = 0.0
        rows_label[k + 1, hi + 1] = 0.0
        rows_label[k + 1, min(hi + 2, rows_label.shape[1] - 1)] = 0.0
        if hi + 1 < rows_blank.shape[1]:
            rows_blank[k + 1, hi + 1] = 0.0
    return lo, hi


@_jit
def copy_row(target, source, begin, end):
    """target[begin:end] = source[begin:end], which Numba would compile for seconds, with a text for unequal lengths."""
    for i in range(begin, end):
        target[i] = source[i]


@_jit
def _measure(mantissas, exps, begin, end, shift):
    """Adds the exponents of mantissas[i + shift] to exps[i] for i in [begin, end). Returns the smallest and largest."""
    least, most = np.int64(0), np.int64(0)
    for i in range(np.uint64(begin), np.uint64(end)):
        size = exponent_of(mantissas[i + shift])
        exps[i] += size
        least = min(least, size)
        most = max(most, size)
    return least, most


@_jit
def _rescale(mantissas, old, new, begin, end, shift):
    """Brings mantissas[i + shift], normalized to [1, 2), to the exponents `new`. Returns the largest deficit."""
    worst = np.int64(0)
    for i in range(np.uint64(begin), np.uint64(end)):
        deficit = new[i] - old[i]
        worst = max(worst, deficit)
        mantissas[i + shift] *= power_of_two(-deficit - exponent_of(mantissas[i + shift]))
    return worst


@_jit
def _normalize(t, lo, hi, first, slack, blank, label, exps, scratch):
    """Exponents of the band's states at frame t as they are, in `scratch`, NO_EXPONENT for a blank out of the band.

    Returns whether all mantissas were normal and finite.
    """
    copy_row(scratch[0], exps[0], lo, hi + 1)
    copy_row(scratch[1], exps[1], lo, hi + 1)
    least_b, most_b = np.int64(0), np.int64(0)
    begin, end = lo, hi + 1
    if not _blank_in_band(lo, t, first, slack):
        scratch[0, lo] = NO_EXPONENT
        blank[lo] = 0.0
        begin += 1
    if hi > lo and not _blank_in_band(hi, t, first, slack):
        scratch[0, hi] = NO_EXPONENT
        blank[hi] = 0.0
        end -= 1
    least_b, most_b = _measure(blank, scratch[0], begin, end, _0)
    least_l, most_l = _measure(label, scratch[1], lo, hi, _1)
    return min(least_b, least_l) >= -_MAX_LOSS and max(most_b, most_l) <= _MAX_GROWTH


@_jit
def renormalize_forward(t, lo, hi, first, slack, skip, blank, label, exps, consts, reach, scratch):
    """Splits frame t's alpha into new mantissas and exponents and sets the constants of the next `reach` frames.

    Returns whether every mantissa in the band could be kept (see the module's docstring).
    """
    ok = _normalize(t, lo, hi, first, slack, blank, label, exps, scratch)
    before = np.int64(NO_EXPONENT)  # of label i - 1
    for i in range(np.uint64(lo), np.uint64(hi)):
        own = scratch[_0, i]
        at = before if own == NO_EXPONENT else max(own, before - _MAX_SLOPE)
        exps[_0, i] = at
        before = max(scratch[_1, i], at - _MAX_SLOPE)
        exps[_1, i] = before
    own = scratch[0, hi]
    at = before if own == NO_EXPONENT else max(own, before - _MAX_SLOPE)
    exps[0, hi] = at
    ok &= (
        _rescale(blank, scratch[0], exps[0], lo + (scratch[0, lo] == NO_EXPONENT), hi + 1 - (own == NO_EXPONENT), _0)
        <= _MAX_DEFICIT
    )
    ok &= _rescale(label, scratch[1], exps[1], lo, hi, _1) <= _MAX_DEFICIT
    consts[0, lo] = 0.0
    if lo < hi:
        consts[1, lo] = power_of_two(exps[0, lo] - exps[1, lo])
        consts[2, lo] = 0.0
    for i in range(np.uint64(lo + 1), np.uint64(hi)):
        ahead = exps[_1, i - _1]
        consts[_0, i] = power_of_two(ahead - exps[_0, i])
        consts[_1, i] = power_of_two(exps[_0, i] - exps[_1, i])
        consts[_2, i] = skip[i] * power_of_two(ahead - exps[_1, i])
    if hi > lo:
        consts[0, hi] = power_of_two(before - at)
    # States that the next frames will reach take the last exponent.
    end = min(first.size, hi + reach)
    exps[0, hi + 1 : end + 1] = at
    exps[1, hi : end + 1] = at
    consts[0, hi + 1 : end + 1] = 1.0
    consts[1, hi : end + 1] = 1.0
    for i in range(hi, min(end + 1, first.size)):
        consts[2, i] = skip[i]
    if hi < first.size:
        consts[2, hi] = skip[hi] * power_of_two(before - at) if hi > lo else 0.0
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
def backward_segment(
    t0, count, lo, hi, first, slack, consts, emission, symbol, label_emission, rows_blank, rows_label, scales, blank,
    label, beta, mantissa,
):  # fmt: skip
    """Puts the occupancies of the symbols at the frames [t0, t0 + count), normalized, in the place of their emissions.

    `blank` and `label` hold beta times the emission at frame t0 + count, and afterwards at t0; `rows_*` the alphas.
    Takes the band at t0 + count. Returns that at t0, and whether every frame's total was the likelihood.
    """
    ok = True
    symbols = np.uint64(emission.shape[1])
    for k in range(count - 1, -1, -1):
        lo, hi = band_back(t0 + k, lo, hi, first, slack)
        here, row, begin, end = np.uint64(k), np.uint64(k + 1), np.uint64(lo), np.uint64(hi)
        for i in range(begin, end + _1):
            beta[_0, i] = blank[i] + consts[_0, i] * label[i + _1]
        for i in range(begin, end):
            beta[_1, i] = label[i + _1] + consts[_1, i] * blank[i + _1] + consts[_2, i] * label[i + _2]
        e_blank = emission[k, 0]
        blanks = 0.0
        for i in range(begin, end + _1):
            blanks += (rows_blank[row, i] * scales[_0, i]) * beta[_0, i]
            blank[i] = beta[_0, i] * e_blank
        for i in range(begin, end):
            label[i + _1] = beta[_1, i] * label_emission[here, i]
        for i in range(begin, end):
            beta[_1, i] *= rows_label[row, i + _1] * scales[_1, i]
        label[hi + 1] = 0.0
        total = blanks
        for u in range(symbols):
            emission[here, u] = 0.0
        emission[here, _0] = blanks
        for i in range(begin, end):
            total += beta[_1, i]
            emission[here, symbol[i]] += beta[_1, i]
        # The sum over the states is the likelihood, whatever the frame.
        ok &= abs(total - mantissa) < _TOLERANCE * mantissa
        inverse = 1.0 / total
        for u in range(symbols):
            emission[here, u] *= inverse
    return lo, hi, ok


@_jit
def renormalize_backward(t, lo, hi, first, slack, skip, blank, label, exps, consts, reach, scratch):
    """`renormalize_forward` for beta times emission, of which frame t is the earliest known, mirrored."""
    ok = _normalize(t, lo, hi, first, slack, blank, label, exps, scratch)
    after = np.int64(NO_EXPONENT)  # of label i, while blank i is looked at
    for i in range(hi, lo, -1):
        own = scratch[0, i]
        at = after if own == NO_EXPONENT else max(own, after - _MAX_SLOPE)
        exps[0, i] = at
        after = max(scratch[1, i - 1], at - _MAX_SLOPE)
        exps[1, i - 1] = after
    own = scratch[0, lo]
    at = after if own == NO_EXPONENT else max(own, after - _MAX_SLOPE)
    exps[0, lo] = at
    late = hi > lo and scratch[0, hi] == NO_EXPONENT
    ok &= _rescale(blank, scratch[0], exps[0], lo + (own == NO_EXPONENT), hi + 1 - late, _0) <= _MAX_DEFICIT
    ok &= _rescale(label, scratch[1], exps[1], lo, hi, _1) <= _MAX_DEFICIT
    for i in range(np.uint64(lo), np.uint64(max(lo, hi - 1))):
        consts[_0, i] = power_of_two(exps[_1, i] - exps[_0, i])
        consts[_1, i] = power_of_two(exps[_0, i + _1] - exps[_1, i])
        consts[_2, i] = skip[i + _1] * power_of_two(exps[_1, i + _1] - exps[_1, i])
    if hi > lo:
        consts[0, hi - 1] = power_of_two(exps[1, hi - 1] - exps[0, hi - 1])
        consts[1, hi - 1] = power_of_two(exps[0, hi] - exps[1, hi - 1])
        consts[2, hi - 1] = 0.0
    consts[0, hi] = 0.0
    # States that the frames before will reach take the last exponent.
    end = max(0, lo - reach)
    exps[:, end:lo] = at
    consts[:2, end:lo] = 1.0
    blank[end:lo] = 0.0
    label[end + 1 : lo + 1] = 0.0
    for i in range(end, lo):
        consts[2, i] = skip[i + 1] if i + 1 < first.size else 0.0
    if lo > 0:
        consts[2, lo - 1] = skip[lo] * power_of_two(after - at) if hi > lo else 0.0
    return ok


@_jit
def joint_scale(lo, hi, total_exp, alpha_exps, beta_exps, scales):
    """2^(exponent of alpha + exponent of beta - exponent of the likelihood) of the states of labels [lo, hi)."""
    for i in range(lo, hi + 1):
        for kind in range(2):
            scales[kind, i] = power_of_two(alpha_exps[kind, i] + beta_exps[kind, i] - total_exp)
