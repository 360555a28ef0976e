"""The frontend: exact lengths, no influence of padding or of other examples, and the receptive field it claims."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.models.frontends import Convolution, ConvolutionFrontend, frame_mask

F = 12
BLOCKS = {
    "stride": [Convolution(6, stride=(2, 2)), Convolution(8, stride=(2, 2))],
    "pool": [Convolution(6, pool=(2, 2)), Convolution(8, pool=(2, 2))],
    "both": [Convolution(6, (3, 3), (3, 2), (2, 1)), Convolution(8, (5, 3))],
    "mixed": [Convolution(4, (5, 3), (2, 1), (1, 2)), Convolution(6, (3, 5), (1, 1), (3, 2)), Convolution(8, (1, 1))],
}
SIZES = st.sampled_from([1, 2, 3])
BLOCK = st.builds(
    Convolution,
    st.just(2),
    st.tuples(st.sampled_from([1, 3, 5]), st.just(3)),
    st.tuples(SIZES, st.just(1)),
    st.tuples(SIZES, st.just(1)),
)


def build(blocks: Sequence[Convolution], **options: object) -> ConvolutionFrontend:
    torch.manual_seed(0)
    return ConvolutionFrontend(F, blocks, **options)  # type: ignore[arg-type]


def random_batch(lengths: Sequence[int], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features with values beyond the lengths that would show if they were looked at."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(lengths), max(lengths) + extra, F, generator=generator)
    sizes = torch.tensor(lengths)
    features[~frame_mask(sizes, features.shape[1])] = 1e3
    return features, sizes


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_lengths_of_one_to_fifty_frames(blocks: list[Convolution]) -> None:
    frontend = build(blocks).eval()
    for length in range(1, 51):
        frames, lengths = frontend(torch.randn(1, length, F), torch.tensor([length]))
        assert frames.shape == (1, int(lengths), frontend.output_size)
        assert lengths.tolist() == frontend.output_lengths(torch.tensor([length])).tolist()
        assert int(lengths) >= 1


@settings(max_examples=25, deadline=None)
@given(blocks=st.lists(BLOCK, min_size=1, max_size=3), length=st.integers(1, 50))
def test_lengths_are_the_shapes_that_come_out(blocks: list[Convolution], length: int) -> None:
    frontend = build(blocks).eval()
    factor = frontend.subsampling_factor
    frames, lengths = frontend(torch.randn(1, length, F), torch.tensor([length]))
    assert frames.shape[1] == int(lengths) == int(frontend.output_lengths(torch.tensor([length])))
    whole = torch.tensor([factor, 2 * factor, 7 * factor])
    assert frontend.output_lengths(whole).tolist() == [1, 2, 7]
    assert length // factor <= int(lengths) <= -(-length // factor)


@pytest.mark.parametrize("options", [{}, {"projection": 5}, {"normalization": "none"}, {"global_normalization": True}])
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_batch_and_padding_invariance(blocks: list[Convolution], options: dict[str, object]) -> None:
    frontend = build(blocks, dropout=0.5, **options).eval()
    if options.get("global_normalization"):
        frontend.set_statistics(torch.linspace(-1, 1, F), torch.linspace(0.5, 2, F))
    features, sizes = random_batch([1, 2, 5, 17, 30, 31], extra=9)
    together, lengths = frontend(features, sizes)
    for index, size in enumerate(sizes.tolist()):
        alone, length = frontend(features[index : index + 1, :size], sizes[index : index + 1])
        assert int(length) == int(lengths[index]) == alone.shape[1]
        torch.testing.assert_close(together[index, : int(length)], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_batch_statistics_and_gradients_see_no_padding(blocks: list[Convolution]) -> None:
    features, sizes = random_batch([4, 17, 30])
    longer = torch.cat([features, torch.full((3, 23, F), -50.0)], dim=1)
    results = []
    for given_features in (features, longer):
        frontend = build(blocks).train()
        frames, lengths = frontend(given_features, sizes)
        mask = frame_mask(lengths, frames.shape[1])
        (frames[mask].square() * torch.linspace(-1, 1, int(mask.sum()))[:, None]).sum().backward()
        gradients = [parameter.grad for parameter in frontend.parameters()]
        statistics = [b for name, b in frontend.named_buffers() if "running" in name]
        assert len(statistics) == 2 * len(blocks)
        results.append((frames[mask], statistics, gradients))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_those_of_the_true_frames() -> None:
    frontend = build([Convolution(4, (1, 1))]).train()
    features, sizes = random_batch([3, 8])
    frontend(features, sizes)
    true = torch.cat([features[0, :3], features[1]])  # a 1×1 convolution of one channel: an affine map of each value
    block = frontend.blocks[0]
    values = true.reshape(-1, 1) * block.convolution.weight.reshape(1, 4) + block.convolution.bias
    torch.testing.assert_close(block.normalization.running_mean, 0.1 * values.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(block.normalization.running_var, 0.9 + 0.1 * values.var(0), rtol=1e-4, atol=1e-6)


def test_fixed_statistics_taken_into_the_convolution() -> None:
    frontend = build(BLOCKS["stride"])
    for _ in range(3):  # statistics, scale and shift that are not those of the start
        frontend(*random_batch([9, 14, 6]))
    for block in frontend.blocks:
        torch.nn.init.normal_(block.normalization.weight)
        torch.nn.init.normal_(block.normalization.bias)
    frontend.eval()
    features, lengths = random_batch([13])
    frames = features[:, None]
    for block in frontend.blocks:
        frames = block.convolution(frames).transpose(1, 2).flatten(0, 1)
        frames = torch.relu(block.normalization(frames)).unflatten(0, (1, -1)).transpose(1, 2)
    expected = frames.permute(0, 2, 3, 1).flatten(2)
    got, _ = frontend(features, lengths)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    slope = torch.randn_like(got)
    parameters = list(frontend.parameters())
    ours = torch.autograd.grad((got * slope).sum(), parameters)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * slope).sum(), parameters), rtol=1e-3, atol=1e-4)


def test_frames_beyond_the_length_are_zero_without_projection() -> None:
    features, sizes = random_batch([4, 30])
    frames, lengths = build(BLOCKS["stride"]).eval()(features, sizes)
    assert frames[0, int(lengths[0]) :].abs().max() == 0


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_receptive_field(blocks: list[Convolution]) -> None:
    """Change one input frame after the other: those that move the middle output frame span the receptive field."""
    frontend = build(blocks, normalization="none").eval()
    length = 16 * frontend.subsampling_factor
    middle = 8
    seen = set()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(1, length, F, generator=generator)
        changed = features.repeat(length, 1, 1)
        changed[range(length), range(length)] += 30 * torch.randn(length, F, generator=generator)
        before, _ = frontend(features, torch.tensor([length]))
        after, _ = frontend(changed, torch.full((length,), length))
        moved = (after[:, middle] - before[0, middle]).abs().amax(1) > 1e-3  # more than rounding
        seen |= set(moved.nonzero().flatten().tolist())
    assert max(seen) - min(seen) + 1 == frontend.receptive_field
    assert min(seen) <= middle * frontend.subsampling_factor <= max(seen)


def test_global_normalization() -> None:
    frontend = build([Convolution(4)], global_normalization=True).eval()
    plain = build([Convolution(4)]).eval()
    plain.load_state_dict({k: v for k, v in frontend.state_dict().items() if "feature_normalization" not in k})
    mean, std = torch.linspace(-2, 2, F), torch.linspace(0.5, 3, F)
    frontend.set_statistics(mean, std)
    features, sizes = torch.randn(2, 9, F), torch.tensor([9, 9])
    torch.testing.assert_close(frontend(features, sizes)[0], plain((features - mean) / std, sizes)[0])


def test_statistics_of_a_constant_feature_do_not_divide_by_zero() -> None:
    frontend = build([Convolution(4)], global_normalization=True).eval()
    frontend.set_statistics(torch.zeros(F), torch.zeros(F))
    frames, _ = frontend(torch.zeros(1, 5, F), torch.tensor([5]))
    assert torch.isfinite(frames).all()


def test_pooling_everything_away_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[4, 4\] leave nothing of 12 features"):
        build([Convolution(4, pool=(1, 4)), Convolution(4, pool=(1, 4))])
