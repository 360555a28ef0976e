"""Loss and error rates of a model on held-out examples, decoded greedily."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ctcrec.ctc import ctc_loss
from ctcrec.decoding import greedy_decode
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Batch
from ctcrec.scoring import ErrorCounts, character_counts, word_counts
from ctcrec.text import Normalizer, Tokenizer

__all__ = ["Validation", "validate"]


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores of one validation: nats per token, error rates as fractions, and a few transcripts."""

    loss: float
    cer: float
    wer: float
    blank_rate: float
    infeasible: int
    samples: tuple[tuple[str, str], ...]  # (reference, hypothesis)


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
    characters, words = ErrorCounts(), ErrorCounts()
    shown: list[tuple[str, str]] = []
    for batch in batches:
        moved = batch.to(device)
        output = model(moved.features, moved.feature_lengths)
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
        frames += int(output.lengths.sum())
        hypotheses = greedy_decode(
            log_probs, output.lengths, tokenizer.tokens, blank=tokenizer.blank, word_delimiter=tokenizer.word_delimiter
        )
        for example, hypothesis in zip(batch.examples, hypotheses, strict=True):
            reference, text = example.text or "", normalizer.normalize(hypothesis.text)
            characters += character_counts(reference, text)
            words += word_counts(reference, text)
            if len(shown) < samples:
                shown.append((reference, text))
    model.train(training)
    return Validation(
        loss=loss / max(tokens, 1),
        cer=characters.rate,
        wer=words.rate,
        blank_rate=blanks / max(frames, 1),
        infeasible=infeasible,
        samples=tuple(shown),
    )
