"""From a decoding configuration and a model with an attention decoder to a function that finds texts.

Whatever finds a text, its confidences and spans come the same way: the decoder reads the text once more, which gives
the probability of each token after those before it; spans come from the best alignment by the CTC head, or without one
from where attention looked. `Hypothesis.spans_from` says which.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ctcrec.config import DecodingConfig
from ctcrec.decoding import BeamDecoder, greedy_decode, join_tokens
from ctcrec.decoding.assembly import FusionOptions
from ctcrec.decoding.attention import Found, SearchOptions, beam_search
from ctcrec.decoding.ctc_prefix import ctc_log_likelihoods
from ctcrec.decoding.fused_text import TextScorer
from ctcrec.decoding.joining import word_groups
from ctcrec.decoding.joint import implausible, joint_search, rescore
from ctcrec.decoding.sampling import sample
from ctcrec.decoding.spans import best_spans
from ctcrec.models.attention_decoder import END, AttentionDecoder
from ctcrec.models.decoder_steps import DecoderSteps
from ctcrec.models.recognition_model import RecognitionModel, check_heads
from ctcrec.records import Encoded, Hypothesis, TokenSpan, WordSpan
from ctcrec.strategies import build_beam_decoder, text_options
from ctcrec.text import Tokenizer

__all__ = ["AttentionDecode", "build_attention_decode"]

_BATCH = 32  # examples searched together
_CTC_WEIGHT = 0.3
_NBEST = 20
_SAFEGUARD = 2.0  # nats per token; a wrong character costs CTC about ten, so a text may differ in every fifth
_SEARCH = (
    "beam_size", "beam_threshold", "length_normalization", "length_exponent", "coverage_weight", "groups", "diversity",
    "repetition_penalty", "blocked_ngrams", "min_length", "end_threshold",
)  # fmt: skip


def build_attention_decode(
    config: DecodingConfig, tokenizer: Tokenizer, folder: Path, model: RecognitionModel
) -> AttentionDecode:
    """The decoding that `config` describes; relative file names start at `folder`.

    Raises:
        ConfigError, DataError, InputError: options, files or a model that cannot be used.
    """
    check_heads(config, model)
    assert model.decoder is not None
    scorer = beam = None
    if config.strategy == "rescore":
        beam = build_beam_decoder(config, tokenizer, folder)
    elif texts := text_options(config, folder):
        scorer = TextScorer(tokenizer.tokens, FusionOptions(**texts), tokenizer.word_delimiter)
    return AttentionDecode(config, tokenizer, model.decoder, model.head is not None, scorer, beam)


class AttentionDecode:
    """Encoded examples → the best hypothesis of each, with spans in frames. Made by `build_attention_decode`."""

    def __init__(
        self,
        config: DecodingConfig,
        tokenizer: Tokenizer,
        decoder: AttentionDecoder,
        has_ctc: bool,
        scorer: TextScorer | None,
        beam: BeamDecoder | None,
    ) -> None:
        self._config, self._tokenizer, self._decoder, self._has_ctc = config, tokenizer, decoder, has_ctc
        self._scorers = [scorer] if scorer is not None else []
        self._beam = beam
        given = {key: value for key in _SEARCH if (value := getattr(config, key)) is not None}
        self._options = SearchOptions(**given) if config.strategy in ("attention", "joint") else SearchOptions()

    @torch.no_grad()
    def __call__(self, encoded: Sequence[Encoded]) -> list[Hypothesis]:
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].frames))
        results: dict[int, Hypothesis] = {}
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            results |= zip(chosen, self._decode([encoded[index] for index in chosen]), strict=True)
        return [results[index] for index in range(len(encoded))]

    def _decode(self, batch: list[Encoded]) -> list[Hypothesis]:
        lengths = torch.tensor([len(item.frames) for item in batch], device=batch[0].frames.device)
        frames = torch.nn.utils.rnn.pad_sequence([item.frames for item in batch], batch_first=True)
        emissions = [item.emissions.float().cpu() for item in batch]
        found = self._find(frames, lengths, emissions)
        hypotheses = self._describe(found, frames, lengths, emissions)
        if self._has_ctc and self._config.strategy != "rescore" and self._config.safeguard != 0.0:
            return self._guarded(hypotheses, emissions)
        return hypotheses

    def _find(self, frames: torch.Tensor, lengths: torch.Tensor, emissions: list[torch.Tensor]) -> list[Found]:
        """The best text of each example."""
        config = self._config
        if config.strategy == "rescore":
            return self._rescored(frames, lengths, emissions)
        # CTC can write at most a token a frame; attention alone might write more.
        longest = [length if self._has_ctc else 2 * length for length in lengths.tolist()]
        if config.max_length is not None:
            longest = [config.max_length] * len(longest)
        steps = DecoderSteps(self._decoder, frames, lengths)
        if config.strategy == "sample":
            drawn = sample(
                steps,
                longest,
                count=config.samples or 1,
                temperature=config.sampling_temperature or 1.0,
                top_k=config.top_k,
                nucleus=config.nucleus or 1.0,
                seed=config.seed or 0,
            )
            return [max(texts, key=lambda item: item.rank) for texts in drawn]
        if config.strategy == "joint":
            found = joint_search(steps, emissions, longest, self._options, self._ctc_weight, self._scorers)
        else:
            found = beam_search(steps, longest, self._options, self._scorers)
        return [texts[0] for texts in found]

    @property
    def _ctc_weight(self) -> float:
        return _CTC_WEIGHT if self._config.ctc_weight is None else self._config.ctc_weight

    def _rescored(self, frames: torch.Tensor, lengths: torch.Tensor, emissions: list[torch.Tensor]) -> list[Found]:
        """CTC's n best of each example, scored by the decoder all at once."""
        assert self._beam is not None
        nbests = self._beam(emissions, nbest=self._config.nbest or _NBEST)
        best = []
        for n, nbest in enumerate(nbests):
            count = len(nbest)
            log_probs, _ = self._read(
                [item.tokens for item in nbest], frames[n : n + 1].expand(count, -1, -1), lengths[n].expand(count)
            )
            best.append(rescore(nbest, [math.fsum(item) for item in log_probs], self._ctc_weight)[0])
        return best

    def _read(
        self, texts: Sequence[Sequence[int]], frames: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[list[list[float]], torch.Tensor]:
        """ln p of each token of each text, and of its end; and the attention weights (N, L + 1, T)."""
        rows = [torch.tensor([*text, END], device=frames.device) for text in texts]
        targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=END)
        output = self._decoder(frames, lengths, targets[:, :-1])
        log_probs = output.logits.float().log_softmax(2).gather(2, targets[:, :, None]).squeeze(2).tolist()
        return [row[: len(text) + 1] for row, text in zip(log_probs, texts, strict=True)], output.weights

    def _describe(
        self, found: list[Found], frames: torch.Tensor, lengths: torch.Tensor, emissions: list[torch.Tensor]
    ) -> list[Hypothesis]:
        """Hypotheses with confidences and spans."""
        log_probs, weights = self._read([item.tokens for item in found], frames, lengths)
        hypotheses = []
        for n, item in enumerate(found):
            if item.score == -math.inf:
                hypotheses.append(Hypothesis(text="", tokens=(), score=-math.inf, confidence=0.0))
                continue
            spans = _ctc_spans(emissions[n], item.tokens) if self._has_ctc else None
            source = "ctc"
            if spans is None and self._decoder.attention is not None:
                looked = weights[n, : len(item.tokens), : int(lengths[n])]
                spans, source = _attention_spans(looked.float().cpu().numpy()), "attention"
            hypotheses.append(self._hypothesis(item, [math.exp(p) for p in log_probs[n]], spans, source))
        return hypotheses

    def _hypothesis(
        self, found: Found, probs: list[float], spans: list[tuple[int, int]] | None, source: str
    ) -> Hypothesis:
        tokenizer = self._tokenizer
        names = [tokenizer.tokens[token] for token in found.tokens]
        hypothesis = Hypothesis(
            text=join_tokens(names, tokenizer.word_delimiter),
            tokens=found.tokens,
            score=found.score,
            confidence=math.prod(probs),
        )
        if spans is None:
            return hypothesis
        return dataclasses.replace(
            hypothesis,
            token_spans=tuple(TokenSpan(name, *span, p) for name, span, p in zip(names, spans, probs, strict=False)),
            word_spans=tuple(
                WordSpan(
                    word,
                    min(spans[place][0] for place in where),
                    max(spans[place][1] for place in where),
                    math.prod(probs[place] for place in where),
                )
                for word, where in word_groups(names, tokenizer.word_delimiter)
            ),
            spans_from=source,
        )

    def _guarded(self, hypotheses: list[Hypothesis], emissions: list[torch.Tensor]) -> list[Hypothesis]:
        """CTC's own result in the place of texts that it finds implausible."""
        tokenizer = self._tokenizer
        margin = _SAFEGUARD if self._config.safeguard is None else self._config.safeguard
        lengths = torch.tensor([len(item) for item in emissions])
        padded = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True)
        own = greedy_decode(padded, lengths, tokenizer.tokens, word_delimiter=tokenizer.word_delimiter)
        texts = [*(item.tokens for item in hypotheses), *(item.tokens for item in own)]
        scores = ctc_log_likelihoods([*emissions, *emissions], texts)
        guarded = []
        for given, best, score, best_score in zip(hypotheses, own, scores[: len(own)], scores[len(own) :], strict=True):
            replace = implausible(score, best_score, len(best.tokens), margin)
            guarded.append(dataclasses.replace(best, spans_from="ctc", replaces=given.text) if replace else given)
        return guarded


def _ctc_spans(emissions: torch.Tensor, tokens: tuple[int, ...]) -> list[tuple[int, int]] | None:
    """Frames [start, end) of each token in the best alignment; None if the text does not fit the frames."""
    starts, ends = best_spans(emissions.numpy(), np.array(tokens, np.int32), 0)
    if any(end == 0 for end in ends):
        return None
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _attention_spans(weights: np.ndarray) -> list[tuple[int, int]]:
    """Frames [start, end) around the peak of each row of (L, T) weights that have at least half of it."""
    spans = []
    for row in weights:
        peak = int(row.argmax())
        below = np.flatnonzero(row < 0.5 * row[peak])
        before, after = below[below < peak], below[below > peak]
        spans.append((int(before[-1]) + 1 if len(before) else 0, int(after[0]) if len(after) else len(row)))
    return spans
