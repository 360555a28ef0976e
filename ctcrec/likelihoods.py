"""How probable a trained model's heads find the true texts of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ctcrec.ctc import ctc_loss_from_logits
from ctcrec.data.batching import plan_in_order
from ctcrec.data.dataset import collate, load_features
from ctcrec.errors import DataError
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example
from ctcrec.scoring.likelihood import Likelihood, text_sizes
from ctcrec.training.objective import attention_loss

__all__ = ["HeadLikelihoods", "head_likelihoods"]

_WINDOW = 128  # examples whose features are in memory at once


@dataclass(frozen=True, slots=True)
class HeadLikelihoods:
    """By head, "ctc" or "attention", the likelihood of all texts that both heads can write, and the ids of those that
    they cannot: with characters that the tokenizer lacks, or with too few frames for CTC."""

    heads: dict[str, Likelihood]
    left_out: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        heads = {head: found.to_dict() for head, found in self.heads.items()}
        return {**heads, "left_out": list(self.left_out)}

    def text(self) -> str:
        """A line for each head, and what was left out."""
        lines = [f"true texts by the {head} head: {found.text()}" for head, found in self.heads.items()]
        if self.left_out:
            shown = ", ".join(self.left_out[:10]) + (" …" if len(self.left_out) > 10 else "")
            lines.append(f"without {len(self.left_out)} texts that the model cannot write: {shown}")
        return "\n".join(lines)


@torch.no_grad()
def head_likelihoods(
    recognizer: Recognizer, examples: Sequence[Example], done: Callable[[int], None] | None = None
) -> HeadLikelihoods:
    """Each head's likelihood of the examples' texts, after the checkpoint's normalization and by its tokenizer.

    CTC's is the sum over all alignments; attention's the product over tokens, each after the true ones before it.

    Raises:
        DataError: a medium cannot be read, or no text can be written by the model.
    """
    tokenizer, normalizer = recognizer.checkpoint.tokenizer, recognizer.checkpoint.normalizer
    texts = [normalizer.normalize(example.text or "") for example in examples]
    writable = [index for index, text in enumerate(texts) if text and not tokenizer.missing(text)]
    nats: dict[str, float] = {}
    counted: list[int] = []
    for first in range(0, len(writable), _WINDOW):
        window = writable[first : first + _WINDOW]
        features = [load_features(recognizer.checkpoint.preprocessor, examples[index]) for index in window]
        targets = [tokenizer.encode(texts[index]) for index in window]
        plan = plan_in_order(list(map(len, features)), batch_frames=recognizer.batch_frames, max_batch_size=64)
        for chosen in plan.batches:
            batch = collate(
                [examples[window[i]] for i in chosen], [features[i] for i in chosen], [targets[i] for i in chosen]
            ).to(recognizer.device)
            output = recognizer.model(batch.features, batch.feature_lengths, batch.targets)
            kept = torch.ones(len(batch), dtype=torch.bool, device=recognizer.device)
            if recognizer.model.head is not None:
                losses = ctc_loss_from_logits(
                    output.logits.transpose(0, 1), batch.targets, output.lengths, batch.target_lengths, reduction="none"
                )
                kept = torch.isfinite(losses)
                nats["ctc"] = nats.get("ctc", 0.0) + float(losses[kept].sum())
            if output.attention is not None:
                losses = attention_loss(output, batch, reduction="none")
                nats["attention"] = nats.get("attention", 0.0) + float(losses[kept].sum())
            counted += [window[i] for i, keep in zip(chosen, kept.tolist(), strict=True) if keep]
        if done is not None:
            done(min(first + _WINDOW, len(writable)))
    if not counted:
        raise DataError("the model can write none of the texts: their characters are not among its tokens")
    characters, size = text_sizes(texts[index] for index in counted)
    tokens = sum(len(tokenizer.encode(texts[index])) + 1 for index in counted)
    left_out = tuple(examples[index].id for index in sorted(set(range(len(examples))) - set(counted)))
    return HeadLikelihoods({head: Likelihood(sum_, tokens, characters, size) for head, sum_ in nats.items()}, left_out)
