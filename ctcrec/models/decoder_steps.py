"""The attention decoder as the searches of `ctcrec.decoding` see it: a `StepModel` on the frames of one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ctcrec.models.attention_decoder import AttentionDecoder, DecoderState, Memory

__all__ = ["DecoderSteps"]


@dataclass(frozen=True, slots=True)
class _State:
    """The example (M,) of each prefix, the same for all prefixes of an example that stand together; and the decoder's
    state of M rows."""

    examples: torch.Tensor
    inner: DecoderState


class DecoderSteps:
    """Args:
    decoder: in evaluation mode.
    frames: (N, T, D) of the encoder.
    lengths: (N,) frames of each example.
    """

    def __init__(self, decoder: AttentionDecoder, frames: torch.Tensor, lengths: torch.Tensor) -> None:
        self._decoder = decoder
        self._device = frames.device
        self._memory = decoder.remember(frames, lengths)
        self._searched: tuple[list[int], Memory] = (list(range(len(frames))), self._memory)

    def start(self) -> _State:
        """The state of N empty prefixes."""
        examples = torch.arange(len(self._memory.inside))
        return _State(examples, self._decoder.start(self._memory))

    def step(self, state: _State, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, _State]:
        """See `ctcrec.decoding.attention.StepModel`."""
        memory = self._memory_of(state.examples)
        logits, inner = self._decoder.step(memory, state.inner, tokens.to(self._device))
        log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
        weights = None
        if self._decoder.attention is not None:
            rows = len(tokens) // len(memory.inside)
            inside = memory.inside.repeat_interleave(rows, 0)
            least = torch.finfo(inner.weights.dtype).tiny  # softmax may give a frame exactly 0
            weights = inner.weights.clamp(min=least).masked_fill(~inside, 0.0)
        return log_probs, weights, _State(state.examples, inner)

    def select(self, state: _State, rows: torch.Tensor) -> _State:
        """The state whose row i is this one's `rows[i]`."""
        return _State(state.examples[rows], state.inner.select(rows.to(self._device)))

    def _memory_of(self, examples: torch.Tensor) -> Memory:
        """What the examples of a state look at; kept until an example is done."""
        left = torch.unique_consecutive(examples).tolist()
        if left != self._searched[0]:
            self._searched = (left, self._memory.select(torch.tensor(left, device=self._device)))
        return self._searched[1]
