"""The two-directional encoder equals PyTorch's own on packed sequences, value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ctcrec.models.encoder import BidirectionalEncoder, initialize_recurrent, reverse_sequences
from ctcrec.models.frontends import frame_mask

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_reverse_sequences(lengths: list[int]) -> None:
    sizes = torch.tensor(lengths)
    frames = torch.arange(8 * len(lengths) * 2).reshape(8, len(lengths), 2)
    reversed_frames = reverse_sequences(frames, sizes)
    for index, size in enumerate(lengths):
        expected = frames[:, index].tolist()
        expected[:size] = expected[:size][::-1]
        assert reversed_frames[:, index].tolist() == expected
    assert torch.equal(reverse_sequences(reversed_frames, sizes), frames)


def pytorch_twin(encoder: BidirectionalEncoder, cell: str, input_size: int, width: int) -> nn.Module:
    """PyTorch's own stack with the weights of `encoder`."""
    layers = len(encoder.layers)
    twin = CELLS[cell](input_size, width, num_layers=layers, bidirectional=True, batch_first=True)
    state = {}
    for index, layer in enumerate(encoder.layers):
        for side, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            for name, weight in side.state_dict().items():
                state[name.replace("_l0", f"_l{index}{suffix}")] = weight
    twin.load_state_dict(state)
    return twin


@pytest.mark.parametrize("cell", CELLS)
def test_equals_pytorch_on_packed_sequences(cell: str) -> None:
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(5, cell=cell, layers=3, width=7)
    twin = pytorch_twin(encoder, cell, 5, 7)
    frames = torch.randn(4, 20, 5)
    lengths = torch.tensor([20, 1, 13, 4])
    mask = frame_mask(lengths, 20)
    ours = encoder(frames, lengths)[-1][mask]
    packed, _ = twin(pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False))
    theirs = pad_packed_sequence(packed, batch_first=True)[0][mask]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    gradients = dict(twin.named_parameters())
    for index, layer in enumerate(encoder.layers):
        for side, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            for name, parameter in side.named_parameters():
                other = gradients[name.replace("_l0", f"_l{index}{suffix}")]
                torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("projection", [None, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_batch_and_padding_invariance(cell: str, projection: int | None) -> None:
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(5, cell=cell, layers=2, width=8, dropout=0.5, projection=projection).eval()
    lengths = torch.tensor([1, 9, 16, 2])
    frames = torch.randn(4, 16, 5)
    frames[~frame_mask(lengths, 16)] = 100.0
    together = encoder(frames, lengths)
    for index, size in enumerate(lengths.tolist()):
        alone = encoder(frames[index : index + 1, :size], lengths[index : index + 1])
        for layer in range(2):
            torch.testing.assert_close(together[layer][index, :size], alone[layer][0], rtol=1e-5, atol=1e-5)


def test_every_layer_is_given_with_its_size() -> None:
    encoder = BidirectionalEncoder(5, layers=3, width=8, projection=6)
    outputs = encoder(torch.randn(2, 4, 5), torch.tensor([4, 3]))
    assert [output.shape[2] for output in outputs] == [6, 6, 16]  # no projection after the last
    assert encoder.output_size == 16


def test_dropout_changes_training_only() -> None:
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(5, layers=2, width=8, dropout=0.5)
    frames, lengths = torch.randn(1, 6, 5), torch.tensor([6])
    assert not torch.equal(encoder(frames, lengths)[-1], encoder(frames, lengths)[-1])
    encoder.eval()
    assert torch.equal(encoder(frames, lengths)[-1], encoder(frames, lengths)[-1])


@pytest.mark.parametrize("cell", CELLS)
def test_initialization(cell: str) -> None:
    """Orthogonal recurrent matrices, Xavier input weights for each gate, forget-gate bias 1 and all others 0."""
    torch.manual_seed(0)
    width, inputs = 6, 10
    layer = CELLS[cell](inputs, width)
    initialize_recurrent(layer)
    for gate in layer.weight_hh_l0.split(width):
        torch.testing.assert_close(gate @ gate.T, torch.eye(width), rtol=0, atol=1e-5)
    bound = math.sqrt(6 / (width + inputs))
    for gate in layer.weight_ih_l0.split(width):
        assert 0.8 * bound < gate.abs().max() <= bound
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().reshape(-1, width)
    expected = torch.zeros_like(bias)
    if cell == "lstm":
        expected[1] = 1.0  # the forget gate, the second of PyTorch's four
    assert torch.equal(bias, expected)


def test_the_encoder_is_initialized_so() -> None:
    torch.manual_seed(0)
    for layer in BidirectionalEncoder(5, layers=2, width=8).layers:
        for side in (layer.forwards, layer.backwards):
            assert side.bias_ih_l0[8:16].tolist() == [1.0] * 8
            gate = side.weight_hh_l0[:8]
            torch.testing.assert_close(gate @ gate.T, torch.eye(8), rtol=0, atol=1e-5)
