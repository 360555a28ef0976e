r"""Prefix beam search for CTC, compiled (Graves 2012, §7.5; Hannun et al. 2014, algorithm 1).

For a prefix y and the frames up to t, let P_b(y) and P_n(y) be the summed probability of all alignments of y whose last
frame is blank, or is y's last token. With p the frame's probabilities, c = last(y) and y = x·c,

    P_b'(y) = p(blank) (P_b(y) + P_n(y))
    P_n'(y) = p(c) P_n(y) + p(c) (P_b(x) + [c != last(x)] P_n(x))

A frame is computed in three steps over the B prefixes of the beam:

1. *Stay*: the new P_b, P_n of the prefixes in the beam. The second term of P_n' comes from x's slot if x has one.
2. *Extend*: every x·c that is not in the beam, with P_b' = 0 and P_n' from the second term. No two (x, c) are the same
   prefix, so nothing has to be merged, and an extension that cannot reach the beam is never looked at: tokens are
   sorted, and a prefix's tokens end where they fall under the B-th best candidate so far.
3. *Select*: the B best candidates by rank make the new beam, in no particular order.

rank = ln(P_b + P_n) + fused + potential: `fused` is what language model, word score and hotwords have added, and
`potential` what they are expected to add; see `ctcrec.decoding.fusion`.

Legend: P_b and P_n are kept as `score` = ln(P_b + P_n) and the two parts `blank`, `emit` with blank + emit = 1, so that
nothing underflows and a frame costs one logarithm a prefix instead of one a candidate.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.beam import Beam, Settings, Workspace, copy_beam, copy_slot
from ctcrec.decoding.fusion import Fusion, LmCache, extend, finish
from ctcrec.decoding.prefixes import Prefixes, child, compact
from ctcrec.decoding.selection import kth_largest, sort_descending
from ctcrec.lm.compiled import inlined, inner, kernel, lean_kernel

__all__ = ["advance", "collect"]

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]

_SMALLEST = -700.0  # ln: probabilities under e^-700 count as e^-700, so that exp never underflows to an impossible 0


@lean_kernel
def advance(
    log_probs: npt.NDArray[np.float32],
    start: int,
    settings: Settings,
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    spare: Beam,
    work: Workspace,
) -> int:
    """Search the frames of `log_probs` (T, C) from `start` on, in place.

    Returns the first frame not searched: T, or less when `prefixes` is full and must be enlarged first. `spare` is
    scratch of the same size as `beam`.
    """
    frames = log_probs.shape[0]
    for t in range(start, frames):
        if log_probs[t, settings.blank] > settings.blank_skip:
            _stay_blank(log_probs[t, settings.blank], beam)
            continue
        if prefixes.size[0] + settings.beam_size > len(prefixes.parent):
            compact(prefixes, beam.prefix[: beam.size[0]])
            if prefixes.size[0] + 2 * settings.beam_size > len(prefixes.parent) // 2:
                return t
        best = _stay(log_probs[t], settings, prefixes, beam, work)
        candidates, floor = _start_candidates(settings, beam, work, best)
        tokens = _sort_tokens(log_probs[t], settings, fusion, beam, work, floor)
        if fusion.active:
            candidates = _extend_fused(tokens, settings, fusion, beam, work, candidates, best, floor)
        else:
            candidates = _extend(tokens, settings, beam, work, candidates, best, floor)
        _select(log_probs[t], candidates, settings, fusion, prefixes, beam, spare, work)
        copy_beam(spare, beam)
    return frames


@inner
def _stay_blank(log_blank: float, beam: Beam) -> None:
    """A frame that is as good as certainly blank: every prefix stays, nothing is extended."""
    for k in range(beam.size[0]):
        beam.score[k] += log_blank
        beam.blank[k] = 1.0
        beam.emit[k] = 0.0


@inlined
def _probability(log_prob: float) -> float:
    return math.exp(max(log_prob, _SMALLEST)) if log_prob > -math.inf else 0.0


@inner
def _stay(frame: npt.NDArray[np.float32], settings: Settings, prefixes: Prefixes, beam: Beam, work: Workspace) -> float:
    """Step 1: the prefixes of the beam stay. Links each slot to its children in the beam; returns the best rank."""
    size = beam.size[0]
    p_blank = _probability(frame[settings.blank])
    best = -math.inf
    for k in range(size):
        work.first_child[k] = -1
    for k in range(size):
        last = beam.last[k]
        scale = beam.score[k]
        blank = p_blank
        emit = 0.0
        p_last = 0.0
        x = -1
        if last >= 0:
            p_last = _probability(frame[last])
            emit = p_last * beam.emit[k]
            x = prefixes.slot[prefixes.parent[beam.prefix[k]]]
        if x >= 0:
            work.next_child[k] = work.first_child[x]
            work.first_child[x] = k
            from_parent = p_last if beam.last[x] != last else p_last * beam.blank[x]
            ahead = beam.score[x] - scale
            if ahead > 600.0:  # the parent outweighs this prefix beyond double precision: use its scale
                scale = beam.score[x]
                emit = emit * math.exp(-ahead) + from_parent
                blank *= math.exp(-ahead)
            else:
                emit += from_parent * math.exp(ahead)
        total = emit + blank
        if total > 0.0:
            work.stay_score[k] = scale + math.log(total)
            work.stay_blank[k] = blank / total
            work.stay_emit[k] = emit / total
        else:
            work.stay_score[k] = -math.inf
        best = max(best, work.stay_score[k] + beam.fused[k] + beam.potential[k])
    return best


@inner
def _start_candidates(settings: Settings, beam: Beam, work: Workspace, best: float) -> tuple[int, float]:
    """Put the prefixes that stay among the candidates. Returns their number and the rank that others must beat."""
    count = 0
    lowest = math.inf
    floor = best - settings.beam_threshold
    for k in range(beam.size[0]):
        rank = work.stay_score[k] + beam.fused[k] + beam.potential[k]
        if rank > -math.inf and rank >= floor:
            work.rank[count] = rank
            work.slot[count] = k
            work.extension[count] = -1
            count += 1
            lowest = min(lowest, rank)
    if count == settings.beam_size:
        floor = max(floor, lowest)
    return count, floor


@inner
def _sort_tokens(
    frame: npt.NDArray[np.float32], settings: Settings, fusion: Fusion, beam: Beam, work: Workspace, floor: float
) -> int:
    """The frame's tokens that some prefix could be extended by, best first; returns their number. Sorts slots too."""
    highest = -math.inf
    for k in range(beam.size[0]):
        work.order[k] = k
        work.order_key[k] = beam.score[k] + beam.fused[k] + beam.potential[k]
        highest = max(highest, work.order_key[k] + _headroom(fusion, beam, k, True))
    sort_descending(work.order_key, work.order, beam.size[0])
    cutoff = floor - highest
    count = 0
    for c in range(len(frame)):
        if frame[c] >= cutoff and c != settings.blank and fusion.allowed[c] and frame[c] > -math.inf:
            work.token[count] = c
            work.token_score[count] = frame[c]
            count += 1
    most = settings.beam_token
    if not fusion.active:  # beyond B + 1 tokens, B better extensions of the same prefix are certain
        most = min(most, settings.beam_size + 1)
    if count > most:
        least = kth_largest(work.token_score, count, most, work.values)
        kept = 0
        ties = most
        for j in range(count):
            if work.token_score[j] > least:
                ties -= 1
        for j in range(count):
            value = work.token_score[j]
            if value < least or (value == least and ties <= 0):
                continue
            if value == least:
                ties -= 1
            work.token[kept] = work.token[j]
            work.token_score[kept] = value
            kept += 1
        count = kept
    sort_descending(work.token_score, work.token, count)
    return count


@inlined
def _headroom(fusion: Fusion, beam: Beam, k: int, breaks: bool) -> float:
    """The most that fused + potential of slot k can grow with one token that has a word boundary, or has none."""
    if not fusion.active:
        return 0.0
    return fusion.headroom + max(-beam.potential[k] if breaks else fusion.leave - beam.potential[k], 0.0)


@inner
def _extend(
    tokens: int, settings: Settings, beam: Beam, work: Workspace, candidates: int, best: float, floor: float
) -> int:
    """Step 2 without fusion. Returns the number of candidates."""
    room = len(work.rank)
    for place in range(beam.size[0]):
        k = work.order[place]
        score = beam.score[k]
        if tokens == 0 or score + work.token_score[0] < floor:
            continue
        last = beam.last[k]
        has_children = _mark_children(beam, work, k)
        for j in range(tokens):
            rank = score + work.token_score[j]
            if rank < floor:
                break
            token = work.token[j]
            if token == last:
                if beam.blank[k] <= 0.0:
                    continue
                rank += math.log(beam.blank[k])
                if rank < floor:
                    continue
            if has_children and work.mark[token] == k:
                continue
            if rank > best:
                best = rank
                floor = max(floor, best - settings.beam_threshold)
            work.rank[candidates] = rank
            work.slot[candidates] = k
            work.extension[candidates] = token
            candidates += 1
            if candidates == room:
                candidates, floor = _keep_best(candidates, settings.beam_size, floor, work)
        if has_children:
            _unmark_children(beam, work, k)
    return candidates


@inner
def _extend_fused(
    tokens: int,
    settings: Settings,
    fusion: Fusion,
    beam: Beam,
    work: Workspace,
    candidates: int,
    best: float,
    floor: float,
) -> int:
    """Step 2 with language model, lexicon, hotwords or mask. Returns the number of candidates."""
    room = len(work.rank)
    for place in range(beam.size[0]):
        k = work.order[place]
        score = beam.score[k]
        here = score + beam.fused[k] + beam.potential[k]
        inside = here + _headroom(fusion, beam, k, False)
        bound = max(inside, here + _headroom(fusion, beam, k, True))
        if tokens == 0 or bound + work.token_score[0] < floor:
            continue
        last = beam.last[k]
        has_children = _mark_children(beam, work, k)
        for j in range(tokens):
            if bound + work.token_score[j] < floor:
                break
            token = work.token[j]
            if not fusion.breaks[token] and inside + work.token_score[j] < floor:
                continue
            if has_children and work.mark[token] == k:
                continue
            rank = score + work.token_score[j]
            if token == last:
                if beam.blank[k] <= 0.0:
                    continue
                rank += math.log(beam.blank[k])
            allowed, gain, potential, _, _, _, _, _ = extend(fusion, work.lm_cache, beam.state[k], token)
            if not allowed:
                continue
            rank += beam.fused[k] + gain + potential
            if rank < floor or rank == -math.inf:
                continue
            if rank > best:
                best = rank
                floor = max(floor, best - settings.beam_threshold)
            work.rank[candidates] = rank
            work.slot[candidates] = k
            work.extension[candidates] = token
            candidates += 1
            if candidates == room:
                candidates, floor = _keep_best(candidates, settings.beam_size, floor, work)
        if has_children:
            _unmark_children(beam, work, k)
    return candidates


@inlined
def _mark_children(beam: Beam, work: Workspace, k: int) -> bool:
    """Mark the tokens that lead from slot k to another slot: those extensions are already in the beam."""
    kid = work.first_child[k]
    if kid < 0:
        return False
    while kid >= 0:
        work.mark[beam.last[kid]] = k
        kid = work.next_child[kid]
    return True


@inlined
def _unmark_children(beam: Beam, work: Workspace, k: int) -> None:
    kid = work.first_child[k]
    while kid >= 0:
        work.mark[beam.last[kid]] = -1
        kid = work.next_child[kid]


@inner
def _keep_best(candidates: int, most: int, floor: float, work: Workspace) -> tuple[int, float]:
    """Keep the `most` best candidates, in order; returns their number and the rank that others must reach."""
    if candidates <= most:
        return candidates, floor
    least = kth_largest(work.rank, candidates, most, work.values)
    ties = most
    for m in range(candidates):
        if work.rank[m] > least:
            ties -= 1
    kept = 0
    for m in range(candidates):
        rank = work.rank[m]
        if rank < least:
            continue
        if rank == least:
            if ties <= 0:
                continue
            ties -= 1
        work.rank[kept] = rank
        work.slot[kept] = work.slot[m]
        work.extension[kept] = work.extension[m]
        kept += 1
    return kept, max(floor, least)


@inner
def _select(
    frame: npt.NDArray[np.float32],
    candidates: int,
    settings: Settings,
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    following: Beam,
    work: Workspace,
) -> None:
    """Step 3: the best candidates become the beam `following`."""
    kept, _ = _keep_best(candidates, settings.beam_size, -math.inf, work)
    best = -math.inf
    for m in range(kept):
        best = max(best, work.rank[m])
    for k in range(beam.size[0]):
        prefixes.slot[beam.prefix[k]] = -1
    size = 0
    for m in range(kept):
        if work.rank[m] < best - settings.beam_threshold:
            continue
        k = work.slot[m]
        token = work.extension[m]
        if token < 0:
            copy_slot(beam, k, following, size)
            following.score[size] = work.stay_score[k]
            following.blank[size] = work.stay_blank[k]
            following.emit[size] = work.stay_emit[k]
        else:
            following.prefix[size] = child(prefixes, beam.prefix[k], token)
            following.last[size] = token
            score = beam.score[k] + frame[token]
            following.score[size] = score if token != beam.last[k] else score + math.log(beam.blank[k])
            following.blank[size] = 0.0
            following.emit[size] = 1.0
            if fusion.active:
                _, gain, potential, lm, lexicon, hotword, mask, text = extend(
                    fusion, work.lm_cache, beam.state[k], token
                )
                following.fused[size] = beam.fused[k] + gain
                following.potential[size] = potential
                state = following.state[size]
                state[0], state[1], state[2], state[3], state[4] = lm, lexicon, hotword, mask, text
        prefixes.slot[following.prefix[size]] = size
        size += 1
    following.size[0] = size


@kernel
def collect(
    fusion: Fusion, prefixes: Prefixes, beam: Beam, cache: LmCache, ended: bool
) -> tuple[Int32s, npt.NDArray[np.int64], Floats, Floats]:
    """The hypotheses in the beam, by slot: tokens put together, (G + 1,) offsets, and (G,) scores and acoustic scores.

    If the text has `ended`, the score is the final one, -inf where lexicon or mask forbid to end; otherwise it is the
    rank in the search.
    """
    size = beam.size[0]
    offsets = np.zeros(size + 1, np.int64)
    scores = np.empty(size)
    acoustic = np.empty(size)
    for k in range(size):
        length = 0
        prefix = beam.prefix[k]
        while prefix > 0:
            length += 1
            prefix = prefixes.parent[prefix]
        offsets[k + 1] = offsets[k] + length
        acoustic[k] = beam.score[k]
        if ended:
            allowed, gain = finish(fusion, cache, beam.state[k])
            scores[k] = beam.score[k] + beam.fused[k] + gain if allowed else -math.inf
        else:
            scores[k] = beam.score[k] + beam.fused[k] + beam.potential[k]
    tokens = np.empty(offsets[size], np.int32)
    for k in range(size):
        prefix = beam.prefix[k]
        for place in range(offsets[k + 1] - 1, offsets[k] - 1, -1):
            tokens[place] = prefixes.token[prefix]
            prefix = prefixes.parent[prefix]
    return tokens, offsets, scores, acoustic
