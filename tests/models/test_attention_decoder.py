"""The attention decoder: its equations, and that its logits depend on nothing but the example and the tokens so far."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ctcrec.models import additive_energies
from ctcrec.models.attention_decoder import END, AttentionDecoder, DecoderOutput

C, D = 6, 8
KINDS: dict[str, dict[str, Any]] = {
    "location-lstm": {"attention": "location", "location_channels": 3, "location_kernel": 5},
    "location-fed-gru": {"attention": "location", "cell": "gru", "input_feeding": True, "layers": 2},
    "additive": {"attention": "additive", "layers": 2},
    "additive-fed-tied": {"attention": "additive", "input_feeding": True, "embedding": 12, "tie_weights": True},
    "dot": {"attention": "dot", "heads": 2},
    "dot-gru-tied": {"attention": "dot", "cell": "gru", "embedding": 12, "tie_weights": True},
    "none-lstm": {"attention": "none", "layers": 2},
    "none-gru": {"attention": "none", "cell": "gru"},
}
LENGTHS = [7, 1, 5]
TARGETS = torch.tensor([[1, 2, 3, 1], [4, 0, 0, 0], [5, 5, 2, 0]])
TARGET_LENGTHS = [4, 1, 3]


def build(dropout: float = 0.0, **options: Any) -> AttentionDecoder:
    torch.manual_seed(1)
    decoder = AttentionDecoder(C, D, **{"width": 12, "embedding": 5, "attention_size": 6, **options}, dropout=dropout)
    for parameter in decoder.parameters():  # biases other than zero, so that nothing hides
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return decoder.double().eval()


def frames_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 7, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(decoder: AttentionDecoder, frames: torch.Tensor, **options: Any) -> DecoderOutput:
    output: DecoderOutput = decoder(frames, torch.tensor(LENGTHS), TARGETS, **options)
    return output


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_step_by_step_equals_teacher_forcing(options: dict[str, Any]) -> None:
    decoder, frames = build(**options), frames_of()
    output = run(decoder, frames)
    memory = decoder.remember(frames, torch.tensor(LENGTHS))
    state = decoder.start(memory)
    tokens = torch.full((3,), END)
    for position in range(5):
        logits, state = decoder.step(memory, state, tokens)
        torch.testing.assert_close(output.logits[:, position], logits)
        torch.testing.assert_close(output.weights[:, position], state.weights)
        tokens = TARGETS[:, position] if position < 4 else tokens


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_batch_and_padding_invariance(options: dict[str, Any]) -> None:
    decoder, frames = build(**options), frames_of()
    together = run(decoder, frames)
    for n, (length, written) in enumerate(zip(LENGTHS, TARGET_LENGTHS, strict=True)):
        frames[n, length:] = 1e3  # what padding holds does not matter
        alone = decoder(frames[n : n + 1, :length], torch.tensor([length]), TARGETS[n : n + 1, :written])
        torch.testing.assert_close(together.logits[n, : written + 1], alone.logits[0])
        torch.testing.assert_close(together.weights[n, : written + 1, :length], alone.weights[0])
    padded = run(decoder, frames)
    for n, written in enumerate(TARGET_LENGTHS):
        torch.testing.assert_close(together.logits[n, : written + 1], padded.logits[n, : written + 1])


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_weights_are_a_distribution_over_true_frames(options: dict[str, Any]) -> None:
    weights = run(build(**options), frames_of()).weights
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 5, dtype=weights.dtype))
    for n, length in enumerate(LENGTHS):
        assert weights[n, :, length:].abs().max() == 0 if length < 7 else True
    if options["attention"] != "none":
        assert weights[0].min() > 0


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_prefixes_of_a_search_share_the_memory(options: dict[str, Any]) -> None:
    decoder, frames = build(**options), frames_of()
    memory = decoder.remember(frames, torch.tensor(LENGTHS))
    rows = torch.arange(3).repeat_interleave(2)
    tokens = torch.tensor([1, 2, 3, 4, 5, 1])
    shared, apart = decoder.start(memory).select(rows), decoder.start(memory).select(rows)
    copied = memory.select(rows)
    for _ in range(2):
        logits, shared = decoder.step(memory, shared, tokens)
        expected, apart = decoder.step(copied, apart, tokens)
        torch.testing.assert_close(logits, expected)
        order = torch.tensor([1, 1, 2, 3, 5, 4])
        shared, apart = shared.select(order), apart.select(order)


def softmax_over(energies: list[torch.Tensor]) -> torch.Tensor:
    values = torch.stack(energies).exp()
    return values / values.sum()


@pytest.mark.parametrize("kind", ["additive", "location"])
def test_energies_of_additive_attention(kind: str) -> None:
    """Chorowski et al. 2015, eq. 8 and 9, frame by frame, at the first step, where it looked at frame 0 before."""
    decoder, frames = build(attention=kind, location_channels=2, location_kernel=3), frames_of()
    attention = decoder.attention
    memory = decoder.remember(frames, torch.tensor(LENGTHS))
    query = torch.randn(3, 1, 12, dtype=torch.float64)
    _, weights = attention(query, memory, decoder.start(memory).weights[:, None])  # type: ignore[misc]
    n, length = 2, LENGTHS[2]
    before = [0.0, 1.0] + [0.0] * 7  # with a frame of padding on the left
    energies = []
    for t in range(length):
        inner = attention.key(frames[n, t]) + attention.query(query[n, 0])  # type: ignore[union-attr]
        if kind == "location":
            kernel = attention.convolution.weight[:, 0]  # type: ignore[union-attr]
            located = sum(kernel[:, k] * before[t + k] for k in range(3))
            inner = inner + attention.location(located)  # type: ignore[union-attr]
        energies.append(attention.score(torch.tanh(inner))[0])  # type: ignore[union-attr]
    torch.testing.assert_close(weights[n, 0, :length], softmax_over(energies))


def test_dot_attention_is_that_of_pytorch() -> None:
    decoder, frames = build(attention="dot", heads=3), frames_of()
    attention = decoder.attention
    memory = decoder.remember(frames, torch.tensor(LENGTHS))
    query = torch.randn(3, 4, 12, dtype=torch.float64)
    context, _ = attention(query, memory, None)  # type: ignore[misc]
    heads = [x.unflatten(2, (3, 2)).transpose(1, 2) for x in (
        attention.query(query), attention.key(frames), attention.value(frames),  # type: ignore[union-attr]
    )]  # fmt: skip
    expected = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=memory.inside[:, None, None])
    torch.testing.assert_close(context, expected.transpose(1, 2).flatten(2))


def test_without_attention_only_the_last_frames_of_both_directions_count() -> None:
    decoder, frames = build(attention="none"), frames_of()
    before = run(decoder, frames).logits
    changed = frames.clone()
    changed[0, 1:6] += 1.0  # neither the first nor the last frame
    changed[0, 0, : D // 2] += 1.0  # the first frame's forward half
    changed[0, 6, D // 2 :] += 1.0  # the last one's backward half
    torch.testing.assert_close(run(decoder, changed).logits, before, rtol=0, atol=0)
    changed[0, 6, 0] += 1.0
    assert not torch.allclose(run(decoder, changed).logits[0], before[0])


def test_scheduled_sampling() -> None:
    decoder, frames = build(attention="additive"), frames_of()
    other = torch.tensor([[5, 4, 3, 2]]).expand(3, 4)
    lengths = torch.tensor(LENGTHS)
    torch.manual_seed(0)
    own = decoder(frames, lengths, TARGETS, sampling_ratio=1.0).logits
    torch.manual_seed(0)
    torch.testing.assert_close(decoder(frames, lengths, other, sampling_ratio=1.0).logits, own)  # targets unseen
    torch.manual_seed(0)
    mixed = torch.stack([decoder(frames, lengths, TARGETS, sampling_ratio=0.3).logits for _ in range(40)])
    forced = decoder(frames, lengths, TARGETS).logits
    torch.testing.assert_close(mixed[:, :, 0], forced[:, 0].expand(40, -1, -1))  # before the first there is no token
    same = (mixed[:, :, 1] - forced[:, 1]).abs().amax(2) < 1e-9
    assert 0.6 <= same.float().mean() <= 0.95  # 0.7, and those drawn that are the true ones
    state = torch.get_rng_state()
    run(decoder, frames)
    assert torch.equal(state, torch.get_rng_state())  # teacher forcing draws nothing


def test_initialization() -> None:
    decoder = AttentionDecoder(C, D, width=12, layers=2, attention="location", input_feeding=True)
    for layer in range(2):
        recurrent = getattr(decoder.recurrent, f"weight_hh_l{layer}").detach()
        for gate in recurrent.split(12):
            torch.testing.assert_close(gate @ gate.T, torch.eye(12))
        bias = getattr(decoder.recurrent, f"bias_ih_l{layer}").detach()
        assert bias.reshape(4, 12).sum(1).tolist() == [0, 12, 0, 0]  # input, forget, cell, output
    bound = (6 / (decoder.combine.in_features + 12)) ** 0.5
    assert 0.8 * bound < decoder.combine.weight.abs().max() <= bound
    assert decoder.combine.bias.abs().max() == decoder.output_bias.abs().max() == 0


def test_tied_weights_are_one_matrix() -> None:
    own, tied = build(attention="dot", embedding=12), build(attention="dot", embedding=12, tie_weights=True)
    assert "output.weight" in own.state_dict() and "output.weight" not in tied.state_dict()
    run(tied, frames_of()).logits[0, 0, 3].backward()
    gradient = tied.embedding.weight.grad
    assert gradient is not None and gradient[3].abs().max() > 0  # as an output, though token 3 was no input yet


def test_gradient_reaches_true_frames_only() -> None:
    decoder, frames = build(attention="location"), frames_of().requires_grad_()
    run(decoder, frames).logits.square().sum().backward()
    assert frames.grad is not None
    for n, length in enumerate(LENGTHS):
        assert frames.grad[n, :length].abs().sum(1).min() > 0
        assert frames.grad[n, length:].abs().sum() == 0


COMPILED = {name: options for name, options in KINDS.items() if options["attention"] in ("location", "additive")}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", COMPILED.values(), ids=COMPILED)
def test_a_search_computes_what_training_does(
    options: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradient, energies of float32 on the CPU come from compiled code."""
    calls = Mock(side_effect=additive_energies.energies)
    monkeypatch.setattr(additive_energies, "energies", calls)
    monkeypatch.setattr("ctcrec.ctc.threads._LEAST", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    decoder, frames = build(**options).float(), frames_of().float()
    memory = decoder.remember(frames, torch.tensor(LENGTHS))
    rows = torch.arange(3).repeat_interleave(2)
    state = decoder.start(memory).select(rows)
    for step, tokens in enumerate(([END] * 6, [1, 2, 3, 4, 5, 1])):
        whole, after = decoder.step(memory, state, torch.tensor(tokens))
        with torch.no_grad():
            logits, then = decoder.step(memory, state, torch.tensor(tokens))
        torch.testing.assert_close(logits, whole, msg=lambda text, step=step: f"step {step}: {text}")
        torch.testing.assert_close(then.weights, after.weights)
        assert calls.call_count == step + 1
        state = after


@pytest.mark.parametrize("attention", ["location", "additive"])
def test_a_search_keeps_nan_and_double_precision(attention: str) -> None:
    decoder, frames = build(attention=attention), frames_of()
    frames[1, 0, 0] = float("nan")
    with torch.no_grad():
        memory = decoder.remember(frames, torch.tensor(LENGTHS))
        logits, _ = decoder.step(memory, decoder.start(memory), torch.tensor([END] * 3))
    assert logits.isnan().any(1).tolist() == [False, True, False]
    decoder, frames = decoder.double(), frames_of().double()
    with torch.no_grad():
        memory = decoder.remember(frames, torch.tensor(LENGTHS))
        logits, _ = decoder.step(memory, decoder.start(memory), torch.tensor([END] * 3))
    assert logits.dtype == torch.float64 and logits.isfinite().all()
