"""Loss and error rates of a model on held-out examples, decoded greedily by CTC, or by attention without a CTC head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ctcrec.ctc import ctc_loss
from ctcrec.decoding import greedy_decode, join_tokens
from ctcrec.decoding.attention import SearchOptions, beam_search
from ctcrec.models.decoder_steps import DecoderSteps
from ctcrec.models.recognition_model import ModelOutput, RecognitionModel
from ctcrec.records import Batch
from ctcrec.scoring import ErrorCounts, character_counts, word_counts
from ctcrec.text import Normalizer, Tokenizer
from ctcrec.training.objective import attention_loss

__all__ = ["Validation", "validate"]


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores of one validation: nats per token, error rates as fractions, and a few transcripts."""

    loss: float  # CTC, or attention's without a CTC head
    cer: float
    wer: float
    blank_rate: float
    distinct_outputs: float  # different transcripts for each different reference
    infeasible: int
    samples: tuple[tuple[str, str], ...]  # (reference, hypothesis)
    attention_loss: float | None = None  # None without a decoder


@torch.no_grad()
def validate(
    model: RecognitionModel,
    batches: Iterable[Batch],
    tokenizer: Tokenizer,
    normalizer: Normalizer,
    device: torch.device,
    samples: int = 3,
) -> Validation:
    """Run the model, in evaluation mode, over `batches`. References are the examples' normalized texts; targets that
    do not fit their frames count in the error rates but not in the loss."""
    training = model.training
    model.eval()
    loss, tokens, infeasible, blanks, frames = 0.0, 0, 0, 0, 0
    attention, all_tokens = 0.0, 0
    characters, words = ErrorCounts(), ErrorCounts()
    shown: list[tuple[str, str]] = []
    references: set[str] = set()
    outputs: set[str] = set()
    for batch in batches:
        moved = batch.to(device)
        output = model(moved.features, moved.feature_lengths, moved.targets)
        if output.attention is not None:
            attention += float(attention_loss(output, moved))
            all_tokens += int(moved.target_lengths.sum())
        frames += int(output.lengths.sum())
        if model.head is None:
            texts = _attention_texts(model, output, tokenizer)
        else:
            log_probs = output.logits.float().log_softmax(2)
            losses = ctc_loss(
                log_probs.transpose(0, 1), moved.targets, output.lengths, moved.target_lengths, reduction="none"
            )
            fits = torch.isfinite(losses)
            loss += float(losses[fits].sum())
            tokens += int(moved.target_lengths[fits].sum())
            infeasible += int((~fits).sum())
            true = torch.arange(log_probs.shape[1], device=device) < output.lengths[:, None]
            blanks += int(((log_probs.argmax(2) == tokenizer.blank) & true).sum())
            texts = _ctc_texts(log_probs, output.lengths, tokenizer)
        for example, decoded in zip(batch.examples, texts, strict=True):
            reference, text = example.text or "", normalizer.normalize(decoded)
            characters += character_counts(reference, text)
            words += word_counts(reference, text)
            references.add(reference)
            outputs.add(text)
            if len(shown) < samples:
                shown.append((reference, text))
    model.train(training)
    of_attention = attention / max(all_tokens, 1) if model.decoder is not None else None
    return Validation(
        loss=loss / max(tokens, 1) if model.head is not None or of_attention is None else of_attention,
        cer=characters.rate,
        wer=words.rate,
        blank_rate=blanks / max(frames, 1),
        distinct_outputs=len(outputs) / max(len(references), 1),
        infeasible=infeasible,
        samples=tuple(shown),
        attention_loss=of_attention,
    )


def _ctc_texts(log_probs: torch.Tensor, lengths: torch.Tensor, tokenizer: Tokenizer) -> list[str]:
    hypotheses = greedy_decode(
        log_probs, lengths, tokenizer.tokens, blank=tokenizer.blank, word_delimiter=tokenizer.word_delimiter
    )
    return [hypothesis.text for hypothesis in hypotheses]


def _attention_texts(model: RecognitionModel, output: ModelOutput, tokenizer: Tokenizer) -> list[str]:
    assert model.decoder is not None and output.frames is not None
    steps = DecoderSteps(model.decoder, output.frames, output.lengths)
    found = beam_search(steps, output.lengths.tolist(), SearchOptions(beam_size=1))
    return [join_tokens([tokenizer.tokens[i] for i in best.tokens], tokenizer.word_delimiter) for best, *_ in found]
