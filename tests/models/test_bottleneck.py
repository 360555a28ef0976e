"""A decoder that sees only the encoder's last state is worse on long inputs than one with attention."""

from __future__ import annotations

import torch

from ctcrec.losses import sequence_cross_entropy
from ctcrec.models.attention_decoder import AttentionDecoder, AttentionKind
from ctcrec.models.encoder import BidirectionalEncoder

DIGITS = 5


def drawn(count: int, shortest: int, longest: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits (N, L), 1 to 5, and lengths: each is written by two noisy frames."""
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator)
    digits = torch.randint(1, DIGITS + 1, (count, longest), generator=generator)
    return digits.masked_fill(torch.arange(longest) >= lengths[:, None], 0), lengths


def share_right(attention: AttentionKind) -> tuple[float, float]:
    """Of tokens, each after the true ones, after a short training: in inputs of 1 to 3 digits, and of 9 to 12."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    encoder = BidirectionalEncoder(DIGITS, layers=1, width=16)
    decoder = AttentionDecoder(
        DIGITS + 1, 32, width=32, embedding=8, attention=attention, attention_size=16, location_kernel=7
    )
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)

    def logits_of(digits: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        clean = torch.nn.functional.one_hot(digits, DIGITS + 1)[:, :, 1:].float().repeat_interleave(2, 1)
        frames = clean + 0.1 * torch.randn(clean.shape, generator=generator)
        return decoder(encoder(frames, 2 * lengths)[-1], 2 * lengths, digits).logits

    def ended(digits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(digits, (0, 1))

    for _ in range(250):
        digits, lengths = drawn(32, 1, 12, generator)
        loss = sequence_cross_entropy(logits_of(digits, lengths), ended(digits), lengths + 1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    shares = []
    for shortest, longest in ((1, 3), (9, 12)):
        digits, lengths = drawn(200, shortest, longest, generator)
        with torch.no_grad():
            right = logits_of(digits, lengths).argmax(2) == ended(digits)
        inside = torch.arange(longest + 1) < lengths[:, None]
        shares.append(float(right[inside].float().mean()))
    return shares[0], shares[1]


def test_a_fixed_context_does_not_hold_long_inputs() -> None:
    with_attention, without = share_right("location"), share_right("none")
    assert with_attention[1] > 0.9
    assert without[0] - without[1] > 0.2  # it is length that it fails at
    assert with_attention[1] - without[1] > 0.25
