"""Sequence-level training as the loop sees it: the expected risk of a batch over texts of the model itself.

Which texts: the best of a beam search or drawn, from the CTC head or the attention decoder. Which risk: errors in words
(MWER) or characters (MCER), or 1 − BLEU. Which loss: `ctcrec.losses.minimum_risk`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ctcrec.config import SequenceTraining
from ctcrec.losses import bleu_risk, character_errors, expected_risk, reinforce_loss, word_errors
from ctcrec.models.recognition_model import ModelOutput, RecognitionModel
from ctcrec.records import Batch
from ctcrec.text import Tokenizer
from ctcrec.training.hypotheses import HypothesisFinder, text_log_probs

__all__ = ["SequenceRisk"]

_RISKS: dict[str, Callable[[str, str], float]] = {
    "words": word_errors,
    "characters": character_errors,
    "bleu": bleu_risk,
}
_SAMPLED_LENGTH = (2, 10)  # a drawn text ends after 2 L + 10 tokens, L those of the reference


class SequenceRisk:
    """Args:
    options: what the configuration says.
    model: the model that is trained.
    tokenizer: its tokens.
    """

    name = "expected_risk"

    def __init__(self, options: SequenceTraining, model: RecognitionModel, tokenizer: Tokenizer) -> None:
        self.options, self.model, self.weight = options, model, options.weight
        self.finder = HypothesisFinder(model, tokenizer, options.head)
        default = "mean" if options.objective == "minimum_risk" else "self_critical"
        self.baseline = options.baseline or default

    def __call__(self, output: ModelOutput, batch: Batch) -> tuple[torch.Tensor, float]:
        """The loss, summed over the batch, and the sum of the expected risks themselves, without baseline."""
        texts = self._texts(output, batch)
        risks, valid = self._risks(texts, batch)
        scores = text_log_probs(self.model, output, self.options.head, texts)
        risks, valid = risks.to(scores.device), valid.to(scores.device)
        if self.options.objective == "minimum_risk":
            sharpness = self.options.sharpness
            losses = expected_risk(
                scores, risks, sharpness=sharpness, baseline="mean" if self.baseline == "mean" else "none", valid=valid
            )
            told = expected_risk(scores.detach(), risks, sharpness=sharpness, baseline="none", valid=valid)
            return losses.sum(), float(told.sum())
        return self._reinforce(scores, risks, output, batch).sum(), float(risks.mean(1).sum())

    def _texts(self, output: ModelOutput, batch: Batch) -> list[list[tuple[int, ...]]]:
        options = self.options
        if options.hypotheses == "beam":
            return self.finder.best(output, options.count, options.beam_size).tokens
        factor, more = _SAMPLED_LENGTH
        longest = [factor * length + more for length in batch.target_lengths.tolist()]
        drawn = self.finder.drawn(output, options.count, longest)
        if options.objective == "reinforce":
            return drawn
        return [list(dict.fromkeys(texts)) for texts in drawn]  # each once: Shen et al. 2016, §3.2

    def _risks(self, texts: list[list[tuple[int, ...]]], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, H) risks, 0 where there are fewer texts, and where there is a text."""
        width = max(map(len, texts))
        risks, valid = torch.zeros(len(batch), width), torch.zeros(len(batch), width, dtype=torch.bool)
        for n, (example, row) in enumerate(zip(batch.examples, texts, strict=True)):
            risks[n, : len(row)] = torch.tensor([self._risk(example.text or "", text) for text in row])
            valid[n, : len(row)] = True
        return risks, valid

    def _risk(self, reference: str, tokens: tuple[int, ...]) -> float:
        return _RISKS[self.options.risk](reference, self.finder.text(tokens))

    def _reinforce(self, scores: torch.Tensor, risks: torch.Tensor, output: ModelOutput, batch: Batch) -> torch.Tensor:
        if self.baseline != "self_critical":
            return reinforce_loss(scores, risks, "others" if self.baseline == "others" else "none")
        greedy = self.finder.greedy(output)
        own = [self._risk(example.text or "", tokens) for example, tokens in zip(batch.examples, greedy, strict=True)]
        return reinforce_loss(scores, risks, torch.tensor(own, device=scores.device))
