"""Texts that a model finds or draws while it is trained, and how probable it finds given texts, with gradient."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ctcrec.ctc import ctc_loss_from_logits
from ctcrec.decoding import BeamDecoder, greedy_decode, join_tokens
from ctcrec.decoding.attention import SearchOptions, beam_search
from ctcrec.decoding.sampling import sample
from ctcrec.losses import sequence_cross_entropy
from ctcrec.models.attention_decoder import END
from ctcrec.models.decoder_steps import DecoderSteps
from ctcrec.models.recognition_model import ModelOutput, RecognitionModel
from ctcrec.text import Tokenizer

__all__ = ["Head", "HypothesisFinder", "TextLists", "text_log_probs"]

Head = Literal["ctc", "attention"]
Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextLists:
    """The best texts of N examples, best first, and ln p of each by the search."""

    tokens: list[list[Tokens]]
    scores: list[list[float]]


class HypothesisFinder:
    """Finds or draws texts from what a model's head says of a batch; nothing here has a gradient.

    Args:
        model: its decoder searches without dropout, and is left in the mode that it was in.
        tokenizer: the C tokens.
        head: which head writes the texts.
    """

    def __init__(self, model: RecognitionModel, tokenizer: Tokenizer, head: Head) -> None:
        self.model, self.tokenizer, self.head = model, tokenizer, head

    def best(self, output: ModelOutput, count: int, beam_size: int) -> TextLists:
        """The `count` best texts of each example by beam search."""
        if self.head == "ctc":
            decoder = BeamDecoder(
                self.tokenizer.tokens,
                blank=self.tokenizer.blank,
                word_delimiter=self.tokenizer.word_delimiter,
                beam_size=beam_size,
            )
            nbests = decoder(_emissions(output), nbest=count)
            return TextLists(
                [[item.tokens for item in nbest] for nbest in nbests],
                [[item.score for item in nbest] for nbest in nbests],
            )
        with self._steps(output) as steps:
            found = beam_search(steps, output.lengths.tolist(), SearchOptions(beam_size=beam_size, nbest=count))
        return TextLists(
            [[item.tokens for item in items] for items in found], [[item.score for item in items] for items in found]
        )

    def greedy(self, output: ModelOutput) -> list[Tokens]:
        """The text of each example by the best path of CTC, or by attention's best token after the other."""
        if self.head == "attention":
            return [texts[0] for texts in self.best(output, 1, 1).tokens]
        log_probs = output.logits.detach().float().log_softmax(2)
        return [item.tokens for item in greedy_decode(log_probs, output.lengths, self.tokenizer.tokens)]

    @torch.no_grad()
    def drawn(self, output: ModelOutput, count: int, max_lengths: Sequence[int]) -> list[list[Tokens]]:
        """`count` texts of each example from the head's own distribution, by torch's generator.

        CTC: a token in each frame, collapsed. Attention: token by token, ended after `max_lengths`.
        """
        if self.head == "ctc":
            return _collapsed_paths(output, count, self.tokenizer.blank)
        seed = int(torch.randint(2**31, ()))
        with self._steps(output) as steps:
            found = sample(steps, max_lengths, count=count, seed=seed)
        return [[item.tokens for item in items] for items in found]

    def text(self, tokens: Sequence[int]) -> str:
        """What the tokens write."""
        return join_tokens([self.tokenizer.tokens[token] for token in tokens], self.tokenizer.word_delimiter)

    @contextlib.contextmanager
    def _steps(self, output: ModelOutput) -> Iterator[DecoderSteps]:
        """The decoder without dropout, for a search."""
        decoder = self.model.decoder
        assert decoder is not None and output.frames is not None
        training = decoder.training
        decoder.eval()
        try:
            with torch.no_grad():
                yield DecoderSteps(decoder, output.frames.detach(), output.lengths)
        finally:
            decoder.train(training)


def text_log_probs(model: RecognitionModel, output: ModelOutput, head: Head, texts: list[list[Tokens]]) -> torch.Tensor:
    """(N, H) ln p of each text by one head, with gradient; −inf where an example has fewer than H.

    CTC: the sum over all alignments; attention: of all tokens and the end, each after the true ones before it.
    """
    device = output.lengths.device
    owners = torch.tensor([n for n, row in enumerate(texts) for _ in row], device=device)
    places = torch.tensor([h for row in texts for h in range(len(row))], device=device)
    flat = [torch.tensor(text, dtype=torch.int64, device=device) for row in texts for text in row]
    lengths = torch.tensor([len(text) for text in flat], device=device)
    targets = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True, padding_value=END)
    if targets.shape[1] == 0:
        targets = targets.new_full((len(flat), 1), END)
    if head == "ctc":
        logits = output.logits[owners].transpose(0, 1)
        scores = -ctc_loss_from_logits(logits, targets, output.lengths[owners], lengths, reduction="none")
    else:
        assert model.decoder is not None and output.frames is not None
        decoded = model.decoder(output.frames[owners], output.lengths[owners], targets)
        with_end = torch.nn.functional.pad(targets, (0, 1), value=END)
        scores = -sequence_cross_entropy(decoded.logits, with_end, lengths + 1, reduction="none", per="sequence")
    lists = scores.new_full((len(texts), max(map(len, texts))), -math.inf)
    return lists.index_put((owners, places), scores)


def _emissions(output: ModelOutput) -> list[torch.Tensor]:
    log_probs = output.logits.detach().float().log_softmax(2).cpu()
    return [row[:length] for row, length in zip(log_probs, output.lengths.tolist(), strict=True)]


def _collapsed_paths(output: ModelOutput, count: int, blank: int) -> list[list[Tokens]]:
    """Texts of `count` paths of each example, a token drawn in each frame."""
    probs = output.logits.detach().float().softmax(2)
    n, frames, classes = probs.shape
    paths = torch.multinomial(probs.reshape(-1, classes), count, replacement=True).view(n, frames, count)
    texts = []
    for drawn, length in zip(paths.transpose(1, 2).tolist(), output.lengths.tolist(), strict=True):
        before = [[blank, *path[: length - 1]] for path in drawn]
        texts.append(
            [
                tuple(token for last, token in zip(shifted, path, strict=False) if token not in (blank, last))
                for shifted, path in zip(before, drawn, strict=True)
            ]
        )
    return texts
