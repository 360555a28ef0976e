"""Triton kernels of the forward and backward recursions, with a mantissa and an exponent for each state.

A state is m * 2^e with 1 <= m < 2, m a float (`F`: float32, or float64 for float64 scores) and e an int32. So sums
keep m's full relative precision wherever the state lies, nothing can underflow, and no example needs another way. The
price is some thirty integer instructions for two states and a frame; the same in log space would be five exponentials
and two logarithms, which a GPU does at a fourth of that rate, and whose rounding grows with the length of the input
(PyTorch's gradient is off by 0.03 after 6,000 frames). Emissions are split into m and e in float64, so that large
logits lose nothing either. Zero is an exponent of ZERO or little more; so log-likelihoods below -3.7e8 count as zero.

*Two programs an example.* With states in pairs, blank i before label i,

    blank_t[i] = (blank[i] + label[i-1]) * e_t(blank)                          both read at t-1
    label_t[i] = (label[i] + blank[i] + [labels i-1, i differ] label[i-1]) * e_t(label i)

Beta times emission obeys the same equations for the target and the frames reversed, so one code is the *forward*
direction (d = 0) and the *backward* one (d = 1), each with frames and labels counted from its own end. `start_kernel`
runs both at the same time until they meet in the middle, `meet_kernel` takes the likelihood from there, and
`finish_kernel` lets both go on through the other's half: at frame t a direction's own sum before emission, times the
other's state at t, over the likelihood, are the states' occupancies.

*Memory.* `start_kernel` keeps its states every E frames. For E = 1 `finish_kernel` has all it needs; otherwise it takes
segments of `segment` = E frames and lets the other direction run through each again, into `rows`. The occupancies of a
segment go to `occupancy`, are added up by label in the order of the target, and overwrite the gradient of the target's
classes, so results are the same bit for bit every time.

*Lanes.* A program holds the pairs of one tile of LANES labels in registers. Longer targets are cut into tiles, one
after another; what the first label of a tile needs of the last label of the one before, frame by frame, goes through
`columns`.

Arrays, contiguous, W = longest + 1 pairs: `kept` (N, 2, slots, 2, W), `last` (N, 2, 2, W), `rows` (N, 2, segment, 2, W)
and `occupancy` likewise, `columns` (N, 2, 2, width): each has a blank and a label part, or one of each parity of tiles.
Their indices are each direction's own. `chains` and `info` are those of `gpu_targets`, `normalizers` those of
`gpu_rows`.
"""

# Triton compiles the kernels and infers their types.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["finish_kernel", "meet_kernel", "start_kernel"]

_ZERO = tl.constexpr(-(1 << 30))
_MOST = tl.constexpr((1 << 30) - 1)
_LOG2E = tl.constexpr(1.4426950408889634)
_LN2 = tl.constexpr(0.6931471805599453)
_INFINITY = tl.constexpr(float("inf"))


@triton.jit
def _power_of_two(e, F: tl.constexpr):
    """2^e for any e below F's largest exponent; 0 where F has no normal number for it."""
    if tl.float32 == F:
        return (tl.maximum(e + 127, 0) << 23).to(tl.float32, bitcast=True)
    else:
        return (tl.maximum(e + 1023, 0).to(tl.int64) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _normalize(m, e, F: tl.constexpr):
    """m * 2^e, for a normal m > 0, with 1 <= m < 2."""
    if tl.float32 == F:
        bits = m.to(tl.int32, bitcast=True)
        size = (bits >> 23) - 127
        m = (bits - (size << 23)).to(tl.float32, bitcast=True)
    else:
        bits = m.to(tl.int64, bitcast=True)
        wide = (bits >> 52) - 1023
        m = (bits - (wide << 52)).to(tl.float64, bitcast=True)
        size = wide.to(tl.int32)
    return m, tl.minimum(tl.maximum(e + size, _ZERO), _MOST)


@triton.jit
def _emission(score, F: tl.constexpr):
    """exp(score) as mantissa and exponent, and whether the score is NaN or +inf."""
    bad = (score != score) | (score == _INFINITY)
    power = tl.where(bad, 0.0, score) * _LOG2E
    power = tl.minimum(tl.maximum(power, _ZERO * 1.0), _MOST * 1.0)
    whole = tl.floor(power)
    return tl.exp2((power - whole).to(F)), whole.to(tl.int32), bad.to(tl.int32)


@triton.jit
def _emit(
    sum_bm, sum_be, sum_lm, sum_le, shift, of_blank, of_labels, labels, inside, blank, bias, wildcard_score,
    F: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WILDCARD: tl.constexpr,
):  # fmt: skip
    """The states from their sums and what `_read` gave, and whether a score was NaN or +inf."""
    of_blank = of_blank.to(tl.float64) - shift
    score = of_labels.to(tl.float64) - shift
    if HAS_BIAS:
        of_blank += tl.load(bias + blank)
        score += tl.load(bias + tl.maximum(labels, 0), mask=inside, other=0.0)
    if HAS_WILDCARD:
        score = tl.where(labels < 0, wildcard_score, score)
    m, e, bad = _emission(of_blank, F)
    blank_m, blank_e = _normalize(sum_bm * m, sum_be + e, F)
    m, e, bad_label = _emission(tl.where(inside, score, -_INFINITY), F)
    label_m, label_e = _normalize(sum_lm * m, sum_le + e, F)
    return blank_m, blank_e, label_m, label_e, tl.maximum(bad, bad_label)


@triton.jit
def _before(m, e, lane, left_m, left_e, has_left, F: tl.constexpr, TILED: tl.constexpr):
    """The label one lane before each; before the first, the one at `left_m`, `left_e` if `has_left`, else zero."""
    index = tl.maximum(lane - 1, 0)
    if tl.float32 == F:
        # One exchange between threads in place of two.
        both = (e.to(tl.int64) << 32) | m.to(tl.int32, bitcast=True).to(tl.int64)
        both = tl.gather(both, index, 0)
        moved_m, moved_e = both.to(tl.int32).to(tl.float32, bitcast=True), (both >> 32).to(tl.int32)
    else:
        moved_m, moved_e = tl.gather(m, index, 0), tl.gather(e, index, 0)
    if TILED:
        edge_m, edge_e = tl.load(left_m, mask=has_left, other=1.0), tl.load(left_e, mask=has_left, other=_ZERO)
        return tl.where(lane == 0, edge_m, moved_m), tl.where(lane == 0, edge_e, moved_e)
    else:
        return moved_m, tl.where(lane == 0, _ZERO, moved_e)


@triton.jit
def _pass_on(m_at, e_at, lane, label_m, label_e, LANES: tl.constexpr):
    """Leaves the tile's last label for the next tile."""
    tl.store(m_at + 0 * lane, label_m, mask=lane == LANES - 1)
    tl.store(e_at + 0 * lane, label_e, mask=lane == LANES - 1)


@triton.jit
def _sums(blank_m, blank_e, label_m, label_e, moved_m, moved_e, skip, F: tl.constexpr):
    """The sums in both equations, before emission; `moved` is label i - 1."""
    sum_be = tl.maximum(blank_e, moved_e)
    stayed = blank_m * _power_of_two(blank_e - sum_be, F)
    sum_bm = stayed + moved_m * _power_of_two(moved_e - sum_be, F)
    skipped_e = tl.where(skip, moved_e, _ZERO)
    sum_le = tl.maximum(tl.maximum(label_e, blank_e), skipped_e)
    sum_lm = label_m * _power_of_two(label_e - sum_le, F) + blank_m * _power_of_two(blank_e - sum_le, F)
    sum_lm += moved_m * _power_of_two(skipped_e - sum_le, F)
    return sum_bm, sum_be, sum_lm, sum_le


@triton.jit
def _tile(chains, count, d, tile, LANES: tl.constexpr):
    """A tile's lanes, pair numbers, labels, and where the blank before a label may be left out."""
    lane = tl.arange(0, LANES)
    i = tile * LANES + lane
    inside = i < count
    labels = tl.load(chains + tl.where(d == 0, i, count - 1 - i), mask=inside, other=0)
    former = tl.load(chains + tl.where(d == 0, i - 1, count - i), mask=inside & (i > 0), other=0)
    return lane, i, inside, labels, inside & (i > 0) & (labels != former)


@triton.jit
def _load_pairs(m_at, e_at, i, count, at_start, width, F: tl.constexpr):
    """The states at `m_at`, `e_at`; those before the first frame if `at_start`: a path begins in the first blank."""
    stored = at_start == 0
    blanks, labels = (i <= count) & stored, (i < count) & stored
    blank_m = tl.load(m_at + i, mask=blanks, other=1.0)
    blank_e = tl.load(e_at + i, mask=blanks, other=_ZERO)
    label_m = tl.load(m_at + width + i, mask=labels, other=1.0)
    label_e = tl.load(e_at + width + i, mask=labels, other=_ZERO)
    return blank_m, tl.where((i == 0) & (at_start != 0), 0, blank_e), label_m, label_e


@triton.jit
def _store_pairs(m_at, e_at, i, count, width, blank_m, blank_e, label_m, label_e):
    tl.store(m_at + i, blank_m, mask=i <= count)
    tl.store(e_at + i, blank_e, mask=i <= count)
    tl.store(m_at + width + i, label_m, mask=i < count)
    tl.store(e_at + width + i, label_e, mask=i < count)


@triton.jit
def _read(scores, stride, normalizers, t, exists, blank, labels, inside, NORMALIZE: tl.constexpr):
    """What a frame's emissions need, as it is in memory, so that it can be asked for a frame ahead."""
    row = scores + t.to(tl.int64) * stride
    shift = tl.full((), 0.0, tl.float64)
    if NORMALIZE:
        shift = tl.load(normalizers + t, mask=exists, other=0.0)
    of_blank = tl.load(row + blank, mask=exists, other=0.0)
    of_labels = tl.load(row + tl.maximum(labels, 0), mask=inside & exists, other=0.0)
    return shift, of_blank, of_labels


@triton.jit(
    do_not_specialize=[
        "stride",
        "example_stride",
        "frames",
        "blank",
        "wildcard_score",
        "longest",
        "every",
        "slots",
        "tiles",
    ]  # fmt: skip
)
def start_kernel(
    scores, stride, example_stride, normalizers, bias, chains, info, kept_m, kept_e, last_m, last_e, columns_m,
    columns_e, spoiled, frames, blank, wildcard_score, longest, every, slots, tiles,
    F: tl.constexpr, NORMALIZE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WILDCARD: tl.constexpr,
    TILED: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Runs direction d of example n through its own half, d = programs(1).

    Keeps its states after every `every` frames, `slots` of them at most, and the last. `spoiled` (N, 2): whether it met
    a NaN or +inf.
    """
    n, d = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if tl.load(info + n * 5 + 4) != 0:
        return
    available, count = tl.load(info + n * 5), tl.load(info + n * 5 + 1)
    half = tl.where(d == 0, available // 2, available - available // 2)
    chains += n * 3 * longest
    scores += n * example_stride
    normalizers += n * frames
    width = longest + 1
    pairs = 2 * width.to(tl.int64)
    run = n * 2 + d
    kept_m += run * slots * pairs
    kept_e += run * slots * pairs
    reach = (frames + 1) // 2
    columns_m += run * 2 * reach
    columns_e += run * 2 * reach
    found_bad = 0
    for tile in range(0, tiles):
        lane, i, inside, labels, skip = _tile(chains, count, d, tile, LANES)
        blank_m, label_m = tl.full((LANES,), 1.0, F), tl.full((LANES,), 1.0, F)
        blank_e, label_e = tl.where(i == 0, 0, _ZERO), tl.full((LANES,), _ZERO, tl.int32)
        bad = tl.zeros((LANES,), tl.int32)
        t = tl.where(d == 0, 0, available - 1)
        shift, of_blank, of_labels = _read(scores, stride, normalizers, t, half > 0, blank, labels, inside, NORMALIZE)
        own, other = tile % 2 * reach, (tile + 1) % 2 * reach
        for k in range(0, half):
            t = tl.where(d == 0, k + 1, available - 2 - k)
            next_shift, next_blank, next_labels = _read(
                scores, stride, normalizers, t, k + 1 < half, blank, labels, inside, NORMALIZE
            )
            moved_m, moved_e = _before(
                label_m, label_e, lane, columns_m + other + k, columns_e + other + k, tile > 0, F, TILED
            )
            if TILED:
                _pass_on(columns_m + own + k, columns_e + own + k, lane, label_m, label_e, LANES)
            sum_bm, sum_be, sum_lm, sum_le = _sums(blank_m, blank_e, label_m, label_e, moved_m, moved_e, skip, F)
            blank_m, blank_e, label_m, label_e, is_bad = _emit(
                sum_bm, sum_be, sum_lm, sum_le, shift, of_blank, of_labels, labels, inside, blank, bias,
                wildcard_score, F, HAS_BIAS, HAS_WILDCARD,
            )  # fmt: skip
            bad = tl.maximum(bad, is_bad)
            shift, of_blank, of_labels = next_shift, next_blank, next_labels
            slot = (k + 1) // every - 1
            if ((k + 1) % every == 0) & (slot < slots):
                at = slot * pairs
                _store_pairs(kept_m + at, kept_e + at, i, count, width, blank_m, blank_e, label_m, label_e)
        at = run * pairs
        _store_pairs(last_m + at, last_e + at, i, count, width, blank_m, blank_e, label_m, label_e)
        found_bad = tl.maximum(found_bad, tl.max(bad))
        if TILED:
            tl.debug_barrier()
    tl.store(spoiled + run, found_bad)


@triton.jit
def _meeting_pairs(chains, last_m, last_e, i, count, width, F: tl.constexpr):
    """Forward sums before emission at the first frame of the backward half, times backward states, pair by pair."""
    inside = i < count
    labels = tl.load(chains + i, mask=inside, other=0)
    former = tl.load(chains + i - 1, mask=inside & (i > 0), other=0)
    skip = inside & (i > 0) & (labels != former)
    blank_m, blank_e, label_m, label_e = _load_pairs(last_m, last_e, i, count, 0, width, F)
    reached = (i > 0) & (i <= count)
    moved_m = tl.load(last_m + width + i - 1, mask=reached, other=1.0)
    moved_e = tl.load(last_e + width + i - 1, mask=reached, other=_ZERO)
    sum_bm, sum_be, sum_lm, sum_le = _sums(blank_m, blank_e, label_m, label_e, moved_m, moved_e, skip, F)
    back = 2 * width
    sum_bm *= tl.load(last_m + back + count - i, mask=i <= count, other=1.0)
    back_be = tl.load(last_e + back + count - i, mask=i <= count, other=_ZERO)
    sum_lm *= tl.load(last_m + back + width + count - 1 - i, mask=inside, other=1.0)
    back_le = tl.load(last_e + back + width + count - 1 - i, mask=inside, other=_ZERO)
    # Two exponents near ZERO still add up to an int32.
    return sum_bm, tl.maximum(sum_be + back_be, _ZERO), sum_lm, tl.maximum(sum_le + back_le, _ZERO)


@triton.jit(do_not_specialize=["longest"])
def meet_kernel(chains, info, last_m, last_e, spoiled, losses, totals_e, longest, F: tl.constexpr, LANES: tl.constexpr):
    """losses[n] = -log p; p is totals_e[n] as a power of two, and some bits."""
    n = tl.program_id(0).to(tl.int64)
    fate, available, count = tl.load(info + n * 5 + 4), tl.load(info + n * 5), tl.load(info + n * 5 + 1)
    tl.store(totals_e + n, 0)
    if fate == 2:
        tl.store(losses + n, float("nan"))
        return
    if fate == 1:
        tl.store(losses + n, _INFINITY)
        return
    if available == 0:
        tl.store(losses + n, 0.0)
        return
    chains += n * 3 * longest
    width = longest + 1
    last_m += n * 4 * width
    last_e += n * 4 * width
    top = _ZERO
    for i0 in range(0, count + 1, LANES):
        i = i0 + tl.arange(0, LANES)
        _, blank_e, _, label_e = _meeting_pairs(chains, last_m, last_e, i, count, width, F)
        top = tl.maximum(top, tl.maximum(tl.max(blank_e), tl.max(label_e)))
    total = tl.zeros((LANES,), tl.float64)
    for i0 in range(0, count + 1, LANES):
        i = i0 + tl.arange(0, LANES)
        blank_m, blank_e, label_m, label_e = _meeting_pairs(chains, last_m, last_e, i, count, width, F)
        total += blank_m.to(tl.float64) * _power_of_two(blank_e - top, tl.float64)
        total += label_m.to(tl.float64) * _power_of_two(label_e - top, tl.float64)
    mantissa = tl.sum(total)
    loss = -(tl.log(mantissa) + top.to(tl.float64) * _LN2)
    loss = tl.where(top < _ZERO // 2, _INFINITY, loss)
    loss = tl.where(top > _MOST // 2, float("nan"), loss)
    spoilt = (tl.load(spoiled + n * 2) > 0) | (tl.load(spoiled + n * 2 + 1) > 0)
    tl.store(losses + n, tl.where(spoilt, float("nan"), loss))
    tl.store(totals_e + n, top)


@triton.jit
def _occupancy(sum_m, sum_e, other_m, other_e, total_e, F: tl.constexpr):
    """Own sum times the other's state over 2^total_e, which is a common factor from 1 to 2^13 or so above the truth."""
    power = tl.maximum(sum_e + other_e, _ZERO) - total_e
    return sum_m * other_m * _power_of_two(tl.minimum(power, 60), F)


@triton.jit(
    do_not_specialize=[
        "stride",
        "example_stride",
        "gradient_stride",
        "gradient_example_stride",
        "frames",
        "classes",
        "blank",
        "wildcard_score",
        "longest",
        "segment",
        "slots",
        "tiles",
    ]  # fmt: skip
)
def finish_kernel(
    scores, stride, example_stride, gradient, gradient_stride, gradient_example_stride, normalizers, bias, chains,
    info, kept_m, kept_e, last_m, last_e, rows_m, rows_e, occupancy, columns_m, columns_e, losses, factors, totals_e,
    frames, classes, blank, wildcard_score, longest, segment, slots, tiles,
    F: tl.constexpr, NORMALIZE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WILDCARD: tl.constexpr,
    TILED: tl.constexpr, EVERY_FRAME: tl.constexpr, STATES: tl.constexpr, LANES: tl.constexpr, FRAMES: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Direction d of example n, d = programs(1), through the half of the other, from what `start_kernel` left.

    Overwrites `gradient` where the target's classes are; if STATES, it gives the occupancies of the states in its
    place, (T, N, 2 longest + 1). `last` is changed: it holds each direction's states between segments. EVERY_FRAME:
    `kept` holds all states, `rows` is not used.
    """
    n, d = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o = 1 - d
    available, count = tl.load(info + n * 5), tl.load(info + n * 5 + 1)
    loss, factor = tl.load(losses + n).to(tl.float64), tl.load(factors + n).to(tl.float64)
    if (available == 0) | (factor == 0.0) | (loss - loss != 0.0) | (factor - factor != 0.0):
        return
    half = tl.where(o == 0, available // 2, available - available // 2)
    total_e = tl.load(totals_e + n)
    chains += n * 3 * longest
    scores += n * example_stride
    gradient += n * gradient_example_stride
    normalizers += n * frames
    width = longest + 1
    pairs = 2 * width.to(tl.int64)
    kept_m += (n * 2 + o) * slots * pairs
    kept_e += (n * 2 + o) * slots * pairs
    last_m += (n * 2 + d) * pairs
    last_e += (n * 2 + d) * pairs
    room = (n * 2 + d) * segment * pairs
    occupancy += room
    if EVERY_FRAME == 0:
        rows_m += room
        rows_e += room
    columns_m += (n * 2 + d) * 2 * segment
    columns_e += (n * 2 + d) * 2 * segment
    for index in range(0, (half + segment - 1) // segment):
        begin = ((half - 1) // segment - index) * segment
        size = tl.minimum(segment, half - begin)
        others_m, others_e = rows_m, rows_e
        if EVERY_FRAME:
            others_m = kept_m + begin * pairs
            others_e = kept_e + begin * pairs
        else:
            _run_again(
                scores, stride, normalizers, bias, chains, kept_m, kept_e, rows_m, rows_e, columns_m, columns_e,
                available, count, o, begin, size, blank, wildcard_score, width, segment, tiles,
                F, NORMALIZE, HAS_BIAS, HAS_WILDCARD, TILED, LANES,
            )  # fmt: skip
            tl.debug_barrier()
        _go_on(
            scores, stride, normalizers, bias, chains, last_m, last_e, others_m, others_e, occupancy, columns_m,
            columns_e, available, count, d, begin, size, total_e, blank, wildcard_score, width, segment, tiles,
            F, NORMALIZE, HAS_BIAS, HAS_WILDCARD, TILED, LANES,
        )  # fmt: skip
        tl.debug_barrier()
        for k0 in range(0, size, FRAMES):
            k = k0 + tl.arange(0, FRAMES)
            t = tl.where(o == 0, begin + k, available - 1 - begin - k)
            rows = occupancy + k * pairs
            if STATES:
                _write_states(
                    rows, gradient + t.to(tl.int64) * gradient_stride, k < size, count, o, width, F, FRAMES, BLOCK
                )
            else:
                _write_classes(
                    scores + t.to(tl.int64) * stride, gradient + t.to(tl.int64) * gradient_stride, normalizers + t,
                    rows, k < size, chains, info + n * 5, factor, count, o, classes, blank, width, longest,
                    F, NORMALIZE, HAS_WILDCARD, FRAMES, BLOCK,
                )  # fmt: skip
        tl.debug_barrier()


@triton.jit
def _run_again(
    scores, stride, normalizers, bias, chains, kept_m, kept_e, rows_m, rows_e, columns_m, columns_e, available, count,
    d, begin, size, blank, wildcard_score, width, segment, tiles,
    F: tl.constexpr, NORMALIZE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WILDCARD: tl.constexpr,
    TILED: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Direction d's states after each of its frames [begin, begin + size), to `rows`."""
    pairs = 2 * width.to(tl.int64)
    slot = (tl.maximum(begin // segment, 1) - 1) * pairs
    for tile in range(0, tiles):
        lane, i, inside, labels, skip = _tile(chains, count, d, tile, LANES)
        blank_m, blank_e, label_m, label_e = _load_pairs(kept_m + slot, kept_e + slot, i, count, begin == 0, width, F)
        t = tl.where(d == 0, begin, available - 1 - begin)
        shift, of_blank, of_labels = _read(scores, stride, normalizers, t, size > 0, blank, labels, inside, NORMALIZE)
        own, other = tile % 2 * segment, (tile + 1) % 2 * segment
        for k in range(0, size):
            t = tl.where(d == 0, begin + k + 1, available - 2 - begin - k)
            next_shift, next_blank, next_labels = _read(
                scores, stride, normalizers, t, k + 1 < size, blank, labels, inside, NORMALIZE
            )
            moved_m, moved_e = _before(
                label_m, label_e, lane, columns_m + other + k, columns_e + other + k, tile > 0, F, TILED
            )
            if TILED:
                _pass_on(columns_m + own + k, columns_e + own + k, lane, label_m, label_e, LANES)
            sum_bm, sum_be, sum_lm, sum_le = _sums(blank_m, blank_e, label_m, label_e, moved_m, moved_e, skip, F)
            blank_m, blank_e, label_m, label_e, _ = _emit(
                sum_bm, sum_be, sum_lm, sum_le, shift, of_blank, of_labels, labels, inside, blank, bias,
                wildcard_score, F, HAS_BIAS, HAS_WILDCARD,
            )  # fmt: skip
            shift, of_blank, of_labels = next_shift, next_blank, next_labels
            at = k * pairs
            _store_pairs(rows_m + at, rows_e + at, i, count, width, blank_m, blank_e, label_m, label_e)
        if TILED:
            tl.debug_barrier()


@triton.jit
def _go_on(
    scores, stride, normalizers, bias, chains, last_m, last_e, others_m, others_e, occupancy, columns_m, columns_e,
    available, count, d, begin, size, total_e, blank, wildcard_score, width, segment, tiles,
    F: tl.constexpr, NORMALIZE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WILDCARD: tl.constexpr,
    TILED: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Direction d through the other's frames [begin, begin + size), from the last to the first: their occupancies."""
    pairs = 2 * width.to(tl.int64)
    for tile in range(0, tiles):
        lane, i, inside, labels, skip = _tile(chains, count, d, tile, LANES)
        blank_m, blank_e, label_m, label_e = _load_pairs(last_m, last_e, i, count, 0, width, F)
        k = size - 1
        t = tl.where(d == 0, available - 1 - begin - k, begin + k)
        shift, of_blank, of_labels = _read(scores, stride, normalizers, t, size > 0, blank, labels, inside, NORMALIZE)
        own, other = tile % 2 * segment, (tile + 1) % 2 * segment
        for step in range(0, size):
            k = size - 1 - step
            t = tl.where(d == 0, available - begin - k, begin + k - 1)
            next_shift, next_blank, next_labels = _read(
                scores, stride, normalizers, t, k > 0, blank, labels, inside, NORMALIZE
            )
            moved_m, moved_e = _before(
                label_m, label_e, lane, columns_m + other + step, columns_e + other + step, tile > 0, F, TILED
            )
            if TILED:
                _pass_on(columns_m + own + step, columns_e + own + step, lane, label_m, label_e, LANES)
            sum_bm, sum_be, sum_lm, sum_le = _sums(blank_m, blank_e, label_m, label_e, moved_m, moved_e, skip, F)
            # The other direction counts from the other end.
            at = k * pairs + count - i
            there, label_there = i <= count, at + width - 1
            other_m, other_e = (
                tl.load(others_m + at, mask=there, other=1.0),
                tl.load(others_e + at, mask=there, other=0),
            )
            share = _occupancy(sum_bm, sum_be, other_m, other_e, total_e, F)
            # Lane for lane what has just been read, so `occupancy` and `others_m` may be the same.
            tl.store(occupancy + at, share, mask=there)
            other_m = tl.load(others_m + label_there, mask=inside, other=1.0)
            other_e = tl.load(others_e + label_there, mask=inside, other=0)
            tl.store(occupancy + label_there, _occupancy(sum_lm, sum_le, other_m, other_e, total_e, F), mask=inside)
            blank_m, blank_e, label_m, label_e, _ = _emit(
                sum_bm, sum_be, sum_lm, sum_le, shift, of_blank, of_labels, labels, inside, blank, bias,
                wildcard_score, F, HAS_BIAS, HAS_WILDCARD,
            )  # fmt: skip
            shift, of_blank, of_labels = next_shift, next_blank, next_labels
        _store_pairs(last_m, last_e, i, count, width, blank_m, blank_e, label_m, label_e)
        if TILED:
            tl.debug_barrier()


@triton.jit
def _row_totals(rows, real, count, width, F: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """Of FRAMES rows of occupancies, those that are `real`: the blanks' and the labels' sums. Together they are the
    likelihood over 2^total_e, whatever the frame, but for rounding."""
    blanks, labels = tl.zeros((FRAMES, BLOCK), F), tl.zeros((FRAMES, BLOCK), F)
    for i0 in range(0, count + 1, BLOCK):
        i = i0 + tl.arange(0, BLOCK)
        at = rows[:, None] + i[None, :]
        blanks += tl.load(at, mask=real[:, None] & (i <= count)[None, :], other=0.0)
        labels += tl.load(at + width, mask=real[:, None] & (i < count)[None, :], other=0.0)
    of_blanks, of_labels = tl.sum(blanks, axis=1), tl.sum(labels, axis=1)
    return tl.where(real, of_blanks, 1.0), tl.where(real, of_labels, 1.0)


@triton.jit
def _write_states(rows, out, real, count, o, width, F: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """Occupancies of the states blank label blank ... in their own order; direction o is that of `rows`."""
    of_blanks, of_labels = _row_totals(rows, real, count, width, F, FRAMES, BLOCK)
    total = (of_blanks + of_labels)[:, None]
    for i0 in range(0, count + 1, BLOCK):
        i = i0 + tl.arange(0, BLOCK)
        here = real[:, None] & (i <= count)[None, :]
        blanks = tl.load(rows[:, None] + tl.where(o == 0, i, count - i)[None, :], mask=here, other=0.0)
        tl.store(out[:, None] + 2 * i[None, :], (blanks / total).to(out.dtype.element_ty), mask=here)
        here = real[:, None] & (i < count)[None, :]
        labels = tl.load(rows[:, None] + (width + tl.where(o == 0, i, count - 1 - i))[None, :], mask=here, other=0.0)
        tl.store(out[:, None] + 2 * i[None, :] + 1, (labels / total).to(out.dtype.element_ty), mask=here)


@triton.jit
def _write_classes(
    scores, gradient, normalizers, rows, real, chains, info, factor, count, o, classes, blank, width, longest,
    F: tl.constexpr, NORMALIZE: tl.constexpr, HAS_WILDCARD: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of the target's classes: factor * (softmax * (1 - the wildcard's share) - occupancy).

    `scores`, `gradient`, `normalizers` and `rows` point to FRAMES frames, of which some are `real`.
    """
    of_blanks, of_labels = _row_totals(rows, real, count, width, F, FRAMES, BLOCK)
    total = of_blanks + of_labels
    distinct, most = tl.load(info + 2), tl.load(info + 3)
    scale = factor.to(F)
    shift = tl.zeros((FRAMES,), tl.float64)
    if NORMALIZE:
        shift = tl.load(normalizers, mask=real, other=0.0)
    rest = tl.full((FRAMES,), 1.0, F)
    if HAS_WILDCARD & NORMALIZE:
        wild = tl.zeros((FRAMES, BLOCK), F)
        for i0 in range(0, count, BLOCK):
            i = i0 + tl.arange(0, BLOCK)
            labels = tl.load(chains + i, mask=i < count, other=0)
            place = width + tl.where(o == 0, i, count - 1 - i)
            wild += tl.load(rows[:, None] + place[None, :], mask=real[:, None] & (labels < 0)[None, :], other=0.0)
        rest = tl.maximum(1.0 - tl.sum(wild, axis=1) / total, 0.0)
        for c0 in range(0, classes, BLOCK):
            c = c0 + tl.arange(0, BLOCK)
            here = real[:, None] & (c < classes)[None, :]
            values = tl.load(scores[:, None] + c[None, :], mask=here, other=0.0).to(tl.float64)
            result = tl.exp((values - shift[:, None]).to(F)) * rest[:, None] * scale
            tl.store(gradient[:, None] + c[None, :], result.to(gradient.dtype.element_ty), mask=here)
        tl.debug_barrier()
    for u0 in range(0, distinct + 1, BLOCK):
        u = u0 + tl.arange(0, BLOCK)
        is_label, is_blank = u < distinct, u == distinct
        position = tl.load(chains + 2 * longest + u, mask=is_label, other=longest)
        label = tl.where(is_blank, blank, tl.load(chains + position, mask=is_label, other=-1))
        share = tl.where(is_blank[None, :], of_blanks[:, None], 0.0)
        for _ in range(0, most):
            more = position < longest
            place = width + tl.where(o == 0, position, count - 1 - position)
            share += tl.load(rows[:, None] + place[None, :], mask=real[:, None] & more[None, :], other=0.0)
            position = tl.load(chains + longest + position, mask=more, other=longest)
        here = real[:, None] & (label >= 0)[None, :]
        result = -share / total[:, None]
        if NORMALIZE:
            values = tl.load(scores[:, None] + label[None, :], mask=here, other=0.0).to(tl.float64)
            result += tl.exp((values - shift[:, None]).to(F)) * rest[:, None]
        tl.store(gradient[:, None] + label[None, :], (result * scale).to(gradient.dtype.element_ty), mask=here)
