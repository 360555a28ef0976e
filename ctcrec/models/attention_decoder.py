"""The attention decoder: a recurrent network that writes one token after another while it looks at the frames.

    h_i = RNN(h_{i−1}, [embedding(y_{i−1}), ã_{i−1}])     ã only with input feeding (Luong et al. 2015, §3.3)
    c_i = Σ_t w_it frame_t,  w_i = softmax(e_i)           e by the kind of attention
    ã_i = tanh(W [h_i, c_i])                              (Luong et al. 2015, eq. 5)
    p(y_i | y_<i, frames) = softmax(V ã_i + b)

Kinds of attention: `additive` (Bahdanau et al. 2015), `location`, which adds where it looked before (Chorowski et al.
2015, eq. 8 and 9), `dot` with any number of heads (Luong et al. 2015; Vaswani et al. 2017), and `none`: all the decoder
knows of the frames is its first state, made from the encoder's last ones (Sutskever et al. 2014, Cho et al. 2014).

Classes are those of the CTC head. Class 0, the blank there, is the end of the text here, and as an input its start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ctcrec.models.dropout import Dropout
from ctcrec.models.encoder import initialize_recurrent
from ctcrec.models.frontends import frame_mask

__all__ = ["END", "AttentionDecoder", "AttentionKind", "DecoderOutput", "DecoderState", "Memory"]

END = 0
AttentionKind = Literal["location", "additive", "dot", "none"]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the decoder looks at: frames (N, T, D), `keys` that its attention made of them (N, T, ...), and `inside`
    (N, T), true at frames that are no padding."""

    frames: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    inside: torch.Tensor

    def select(self, rows: torch.Tensor) -> Memory:
        """The memory whose example i is this one's `rows[i]`."""
        return Memory(self.frames[rows], tuple(key[rows] for key in self.keys), self.inside[rows])


@dataclass(frozen=True, slots=True)
class DecoderState:
    """Where the decoder stands: the recurrent states (layers, N, W) each, ã (N, W), and the last weights (N, T)."""

    hidden: tuple[torch.Tensor, ...]
    attentional: torch.Tensor
    weights: torch.Tensor

    def select(self, rows: torch.Tensor) -> DecoderState:
        """The state whose example i is this one's `rows[i]`."""
        hidden = tuple(part[:, rows] for part in self.hidden)
        return DecoderState(hidden, self.attentional[rows], self.weights[rows])


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """Logits (N, L + 1, C) of each token and of the end, and where the decoder looked for each, (N, L + 1, T)."""

    logits: torch.Tensor
    weights: torch.Tensor


class _AdditiveAttention(nn.Module):
    """e_t = v·tanh(W q + V frame_t + U f_t + b); f is the last weights convolved over time, if `location`."""

    def __init__(self, frame_size: int, query_size: int, size: int, location: tuple[int, int] | None) -> None:
        super().__init__()
        self.context_size = frame_size
        self.key = nn.Linear(frame_size, size)
        self.query = nn.Linear(query_size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)
        self.convolution = self.location = None
        if location is not None:
            channels, kernel = location
            self.convolution = nn.Conv1d(1, channels, kernel, padding=kernel // 2, bias=False)
            self.location = nn.Linear(channels, size, bias=False)

    def keys(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.key(frames),)

    def forward(
        self, query: torch.Tensor, memory: Memory, last_weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (N, Q, ·) and their last weights (N, Q, T) → context (N, Q, ·) and weights (N, Q, T)."""
        keys, queries = memory.keys[0], self.query(query)
        searching = not torch.is_grad_enabled() and keys.device.type == "cpu"
        if searching and keys.dtype == queries.dtype == last_weights.dtype == torch.float32:
            energy = self._search_energy(keys, queries, last_weights, memory.inside)
        else:
            energy = self._energy(keys, queries, last_weights)
        weights = _masked_softmax(energy, memory.inside)
        return weights.to(memory.frames.dtype) @ memory.frames, weights

    def _energy(self, keys: torch.Tensor, queries: torch.Tensor, last_weights: torch.Tensor) -> torch.Tensor:
        """(N, Q, T)"""
        energy = keys[:, None] + queries[:, :, None]
        if self.convolution is not None and self.location is not None:
            n, count, frames = last_weights.shape
            located = self.convolution(last_weights.reshape(n * count, 1, frames)).transpose(1, 2)
            energy = energy + self.location(located).view(n, count, frames, -1)
        return self.score(torch.tanh(energy)).squeeze(3)

    def _search_energy(
        self, keys: torch.Tensor, queries: torch.Tensor, last_weights: torch.Tensor, inside: torch.Tensor
    ) -> torch.Tensor:
        """(N, Q, T), compiled."""
        from ctcrec.models.additive_energies import energies  # Numba takes a while to import

        located = None
        if self.convolution is not None and self.location is not None:
            located = (last_weights, self.convolution.weight.squeeze(1), self.location.weight)
        return energies(keys, queries, self.score.weight[0], inside.sum(1), located)

    def follow(
        self, query: torch.Tensor, memory: Memory, last_weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (N, Q, ·) of steps one after the other, weights (N, T) before the first → as `forward`.

        Only what a step needs of the last one is in the loop; convolution and projection there are one matrix.
        """
        if self.convolution is None or self.location is None:
            return self(query, memory, last_weights[:, None].expand(-1, query.shape[1], -1))
        n, frames, size = memory.keys[0].shape
        span = self.convolution.weight.shape[2]
        kernel = (self.location.weight @ self.convolution.weight.squeeze(1)).t()  # (span, size)
        beyond = torch.zeros_like(last_weights).masked_fill(~memory.inside, -math.inf)
        weights, steps = last_weights, []
        for projected in self.query(query).unbind(1):
            around = torch.nn.functional.pad(weights, (span // 2, span // 2)).unfold(1, span, 1)  # (N, T, span)
            located = (around.reshape(n * frames, span) @ kernel).view(n, frames, size)
            energy = self.score(torch.tanh(memory.keys[0] + projected[:, None] + located)).squeeze(2)
            weights = (energy.to(beyond.dtype) + beyond).softmax(1)
            steps.append(weights)
        looked = torch.stack(steps, 1)
        return looked.to(memory.frames.dtype) @ memory.frames, looked


class _DotAttention(nn.Module):
    """e_t = q·k_t / √d in each head, with queries, keys and values projected; weights are the mean of the heads'."""

    def __init__(self, frame_size: int, query_size: int, size: int, heads: int) -> None:
        super().__init__()
        self.context_size, self.heads = size, heads
        self.query = nn.Linear(query_size, size)
        self.key = nn.Linear(frame_size, size, bias=False)  # a bias would add the same to all frames
        self.value = nn.Linear(frame_size, size)

    def keys(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self._split(self.key(frames)), self._split(self.value(frames))

    def _split(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.view(*frames.shape[:2], self.heads, -1)  # (N, T, heads, d)

    def forward(
        self, query: torch.Tensor, memory: Memory, last_weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = memory.keys
        queries = self._split(self.query(query)) / math.sqrt(keys.shape[3])
        energy = torch.einsum("nqhd,nthd->nhqt", queries, keys)
        weights = _masked_softmax(energy, memory.inside[:, None])
        context = torch.einsum("nhqt,nthd->nqhd", weights.to(values.dtype), values)
        return context.flatten(2), weights.mean(1)

    def follow(
        self, query: torch.Tensor, memory: Memory, last_weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (N, Q, ·) of steps one after the other: none needs another."""
        return self(query, memory, last_weights)


def _masked_softmax(energy: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Softmax of (..., Q, T), in float32 at least, over the frames that are `inside` (..., T)."""
    precise = energy.to(torch.promote_types(energy.dtype, torch.float32))
    return precise.masked_fill(~inside.unsqueeze(-2), -math.inf).softmax(-1)


class AttentionDecoder(nn.Module):
    """Encoder frames (N, T, D) and the tokens so far → logits of the next token.

    Args:
        n_tokens: C, class 0 included.
        frame_size: D. With attention "none" the first half of D must read forwards and the second backwards.
        cell: "lstm" or "gru".
        layers, width: of the recurrent network.
        embedding: size of the token embedding.
        dropout: on embeddings, between layers, and before the output.
        attention: see the module.
        attention_size: width of energies (additive, location) or of all heads together (dot).
        heads: of `dot`.
        location_channels, location_kernel: of the convolution of `location`; the kernel is odd, in frames.
        input_feeding: whether ã goes into the next step.
        tie_weights: whether output weights are the embedding's; needs embedding = width.
    """

    def __init__(
        self,
        n_tokens: int,
        frame_size: int,
        *,
        cell: str = "lstm",
        layers: int = 1,
        width: int = 256,
        embedding: int = 64,
        dropout: float = 0.0,
        attention: AttentionKind = "location",
        attention_size: int = 128,
        heads: int = 1,
        location_channels: int = 10,
        location_kernel: int = 31,
        input_feeding: bool = False,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.layers, self.input_feeding = width, layers, input_feeding
        self.embedding = nn.Embedding(n_tokens, embedding)
        self.dropout = Dropout(dropout)
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        between = dropout if layers > 1 else 0.0
        fed = width if input_feeding else 0
        self.recurrent = recurrent(embedding + fed, width, layers, batch_first=True, dropout=between)
        self.attention: _AdditiveAttention | _DotAttention | None = None
        if attention == "dot":
            self.attention = _DotAttention(frame_size, width, attention_size, heads)
        elif attention != "none":
            location = (location_channels, location_kernel) if attention == "location" else None
            self.attention = _AdditiveAttention(frame_size, width, attention_size, location)
        self.states = 2 if cell == "lstm" else 1
        first = self.states * layers * width
        self.first_state = nn.Linear(frame_size, first) if attention == "none" else None
        self.combine = nn.Linear(width + (self.attention.context_size if self.attention else 0), width)
        self.output = None if tie_weights else nn.Linear(width, n_tokens, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(n_tokens))
        self.at_once = not input_feeding  # the recurrent network needs nothing of what a step read
        self._initialize()

    def _initialize(self) -> None:
        """Xavier weights and zero biases; the recurrent network as the encoder's."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        initialize_recurrent(self.recurrent)

    def remember(self, frames: torch.Tensor, lengths: torch.Tensor) -> Memory:
        """(N, T, D), (N,) → what every step reads."""
        keys = self.attention.keys(frames) if self.attention is not None else ()
        return Memory(frames, keys, frame_mask(lengths, frames.shape[1]))

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first token: zero, or what attention "none" makes of the frames; looking at frame 0."""
        frames = memory.frames
        count = len(frames)
        hidden = frames.new_zeros(self.states, self.layers, count, self.width)
        if self.first_state is not None:
            last = memory.inside.sum(1) - 1
            half = frames.shape[2] // 2
            ends = torch.cat([frames[torch.arange(count, device=last.device), last, :half], frames[:, 0, half:]], 1)
            made = torch.tanh(self.first_state(ends))
            hidden = made.view(count, self.states, self.layers, self.width).permute(1, 2, 0, 3).contiguous()
        weights = frames.new_zeros(frames.shape[:2], dtype=torch.promote_types(frames.dtype, torch.float32))
        weights[:, 0] = 1.0
        return DecoderState(tuple(hidden), frames.new_zeros(count, self.width), weights)

    def step(self, memory: Memory, state: DecoderState, tokens: torch.Tensor) -> tuple[torch.Tensor, DecoderState]:
        """The last tokens (M,), `END` before the first → logits (M, C) of the next, and the state after them.

        M may be a multiple of the memory's N: then M / N rows in a row, the prefixes of a search, share an example.
        """
        logits, state, _ = self._advance(memory, state, tokens[:, None])
        return logits.squeeze(1), state

    def forward(
        self, frames: torch.Tensor, lengths: torch.Tensor, targets: torch.Tensor, sampling_ratio: float = 0.0
    ) -> DecoderOutput:
        """Logits of each target token after the true tokens before it (teacher forcing).

        Args:
            frames: (N, T, D).
            lengths: (N,) frames of each example.
            targets: (N, L) token ids; what stands beyond an example's target reaches only what stands there too.
            sampling_ratio: how often, from 0 to 1, a token is drawn from the decoder's own distribution in place of
                the true one (scheduled sampling, Bengio et al. 2015); from torch's generator.
        """
        memory = self.remember(frames, lengths)
        state = self.start(memory)
        inputs = torch.nn.functional.pad(targets, (1, 0), value=END)
        if self.at_once and sampling_ratio == 0.0:
            logits, _, weights = self._advance(memory, state, inputs)
            return DecoderOutput(logits, weights)
        all_logits: list[torch.Tensor] = []
        all_weights: list[torch.Tensor] = []
        tokens = inputs[:, 0]
        for position in range(inputs.shape[1]):
            if position:
                tokens = inputs[:, position]
                if sampling_ratio > 0.0:
                    drawn = torch.multinomial(all_logits[-1].detach().float().softmax(1), 1).squeeze(1)
                    own = torch.rand(len(tokens), device=tokens.device) < sampling_ratio
                    tokens = torch.where(own, drawn, tokens)
            logits, state = self.step(memory, state, tokens)
            all_logits.append(logits)
            all_weights.append(state.weights)
        return DecoderOutput(torch.stack(all_logits, 1), torch.stack(all_weights, 1))

    def _advance(
        self, memory: Memory, state: DecoderState, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, DecoderState, torch.Tensor]:
        """Tokens (M, Q) → logits (M, Q, C), the last state, and weights (M, Q, T).

        Q > 1 only where `at_once`, and then M is the memory's N.
        """
        inputs = self.dropout(self.embedding(tokens))
        if self.input_feeding:
            inputs = torch.cat([inputs, state.attentional[:, None].to(inputs.dtype)], 2)
        hidden = tuple(part.to(inputs.dtype) for part in state.hidden)
        outputs, after = self.recurrent(inputs, hidden if self.states == 2 else hidden[0])
        weights = state.weights[:, None].expand(-1, tokens.shape[1], -1)
        read = outputs
        if self.attention is not None:
            examples, frames = memory.inside.shape
            if tokens.shape[1] > 1:
                context, looked = self.attention.follow(outputs, memory, state.weights)
            else:
                queries = outputs.reshape(examples, -1, self.width)
                context, looked = self.attention(queries, memory, state.weights.reshape(examples, -1, frames))
            read = torch.cat([outputs, context.to(outputs.dtype).view(*outputs.shape[:2], -1)], 2)
            weights = looked.reshape(*outputs.shape[:2], frames)
        attentional = torch.tanh(self.combine(read))
        matrix = self.embedding.weight if self.output is None else self.output.weight
        logits = torch.nn.functional.linear(self.dropout(attentional), matrix, self.output_bias)
        hidden = after if self.states == 2 else (after,)
        return logits, DecoderState(tuple(hidden), attentional[:, -1], weights[:, -1]), weights
