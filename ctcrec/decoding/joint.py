"""CTC and attention together: one-pass joint search, rescoring of CTC's n-best, and a safeguard for attention's texts.

All combine ln p of the two heads as (1 − λ) ln p_att + λ ln p_ctc (Watanabe et al. 2017, "Hybrid CTC/attention
architecture for end-to-end speech recognition"): the one-pass search for every prefix (§IV-B2), with `CTCPrefixScorer`;
rescoring for whole texts (§IV-B1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ctcrec.decoding.attention import Found, PrefixScorer, SearchOptions, StepModel, beam_search
from ctcrec.decoding.ctc_prefix import CTCPrefixScorer
from ctcrec.errors import ConfigError, InputError
from ctcrec.records import Hypothesis

__all__ = ["implausible", "joint_search", "rescore"]


def joint_search(
    model: StepModel,
    emissions: Sequence[torch.Tensor],
    max_lengths: Sequence[int],
    options: SearchOptions,
    ctc_weight: float,
    scorers: Sequence[PrefixScorer] = (),
) -> list[list[Found]]:
    """`beam_search` with the CTC prefix score: weight 0 is attention alone, 1 CTC alone.

    Args:
        model: the attention decoder.
        emissions: (T, C) log-probabilities of the CTC head, blank 0, for each example.
        max_lengths: the most tokens of each text.
        options: how to search.
        ctc_weight: λ from 0 to 1.
        scorers: what else counts, with its whole weight.
    """
    _check_weight(ctc_weight)
    ctc = [CTCPrefixScorer(emissions, ctc_weight)] if ctc_weight > 0.0 else []
    return beam_search(model, max_lengths, options, [*ctc, *scorers], 1.0 - ctc_weight)


def rescore(nbest: Sequence[Hypothesis], attention_scores: Sequence[float], ctc_weight: float) -> list[Found]:
    """One example's texts from the CTC beam search, best first by both heads.

    A text's score is (1 − λ) `attention_scores` + λ `acoustic_score` + `lm_score`.
    """
    _check_weight(ctc_weight)
    if len(nbest) != len(attention_scores):
        raise InputError(f"{len(attention_scores)} attention scores for {len(nbest)} hypotheses")
    found = []
    for hypothesis, attention in zip(nbest, attention_scores, strict=True):
        acoustic = hypothesis.score if hypothesis.acoustic_score is None else hypothesis.acoustic_score
        parts = [(1.0 - ctc_weight, attention), (ctc_weight, acoustic), (1.0, hypothesis.lm_score or 0.0)]
        score = sum(weight * part for weight, part in parts if weight)  # 0 × −inf is 0 here
        found.append(Found(hypothesis.tokens, score, score))
    return sorted(found, key=lambda item: -item.rank)


def implausible(log_p: float, log_p_ctc_text: float, tokens: int, margin: float) -> bool:
    """Whether CTC finds a text much less likely than its own: by more than `margin` nats for each of its own tokens.

    An attention decoder can say a phrase over and over, or leave half of the text out, with high probability; CTC,
    which has to account for every frame, gives such texts next to none.

    Args:
        log_p: ln p of the text under CTC; −inf if it does not fit the frames.
        log_p_ctc_text: ln p of CTC's own result.
        tokens: length of CTC's own result.
        margin: nats per token.
    """
    return log_p < log_p_ctc_text - margin * max(tokens, 1)


def _check_weight(ctc_weight: float) -> None:
    if not 0.0 <= ctc_weight <= 1.0:
        raise ConfigError(f"ctc_weight must be from 0 to 1, not {ctc_weight}")
