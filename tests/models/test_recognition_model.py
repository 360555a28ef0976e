"""The whole model: its logits depend on nothing but the example."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ctcrec.config import ModelConfig
from ctcrec.errors import ConfigError
from ctcrec.models.frontends import frame_mask
from ctcrec.models.recognition_model import RecognitionModel, build_model, describe_model

F, C = 16, 7
STRIDES = [{"channels": 8, "stride": [2, 2]}, {"channels": 8, "stride": [2, 2]}]
POOLS = [{"channels": 8, "pool": [2, 2]}, {"channels": 8, "stride": [1, 2], "pool": [2, 1]}]
MODELS: dict[str, dict[str, Any]] = {
    "strides-lstm": {"blocks": STRIDES, "encoder": {"cell": "lstm", "layers": 2}},
    "pools-gru": {"blocks": POOLS, "encoder": {"cell": "gru", "layers": 2}},
    "projections": {"blocks": STRIDES, "frontend": {"projection": 10}, "encoder": {"layers": 3, "projection": 12}},
    "plain": {"blocks": POOLS, "frontend": {"normalization": "none"}, "encoder": {"layers": 1}},
    "global": {"blocks": STRIDES, "encoder": {"layers": 1}, "global_normalization": True},
}


def build(
    blocks: list[dict[str, Any]],
    encoder: dict[str, Any],
    frontend: dict[str, Any] | None = None,
    **options: Any,
) -> RecognitionModel:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "frontend": {"blocks": blocks, "dropout": 0.4, **(frontend or {})},
            "encoder": {"width": 16, "dropout": 0.4, **encoder},
        }
    )
    return build_model(config, F, C, **options)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_batch_and_padding_invariance(options: dict[str, Any]) -> None:
    model = build(**options)
    if options.get("global_normalization"):
        model.frontend.set_statistics(torch.randn(F), torch.rand(F) + 0.5)
    lengths = torch.tensor([1, 3, 50, 29, 30, 31])
    features = torch.randn(6, 57, F) * frame_mask(lengths, 57)[:, :, None]
    model(features, lengths)  # batch statistics other than 0 and 1
    model.eval()
    with torch.no_grad():
        together = model(features, lengths)
        assert together.lengths.tolist() == model.output_lengths(lengths).tolist()
        order = torch.tensor([4, 0, 2, 5, 1, 3])
        mixed = model(features[order], lengths[order])
        for index, size in enumerate(lengths.tolist()):
            alone = model(features[index : index + 1, :size], lengths[index : index + 1])
            frames = int(alone.lengths)
            assert alone.logits.shape == (1, frames, C)
            torch.testing.assert_close(together.logits[index, :frames], alone.logits[0], rtol=0, atol=1e-5)
            elsewhere = mixed.logits[order.tolist().index(index), :frames]
            torch.testing.assert_close(elsewhere, alone.logits[0], rtol=0, atol=1e-5)


def test_intermediate_logits_only_in_training() -> None:
    model = build(STRIDES, {"layers": 3, "projection": 6}, intermediate_layers=[1, 2])
    features, lengths = torch.randn(2, 12, F), torch.tensor([12, 8])
    output = model(features, lengths)
    assert [logits.shape for logits in output.intermediate] == [output.logits.shape] * 2
    assert model.eval()(features, lengths).intermediate == ()


def test_weights_come_from_the_seed() -> None:
    first, second = build(STRIDES, {}), build(STRIDES, {})
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_head_is_initialized_near_uniform_output() -> None:
    model = build(STRIDES, {}).eval()
    assert model.head.bias.abs().max() == 0
    output = model(torch.randn(1, 40, F), torch.tensor([40]))
    assert output.logits.abs().max() < 3


def test_description_counts_everything() -> None:
    model = build(POOLS, {"layers": 1, "cell": "gru"})
    text = describe_model(model, "pixel columns")
    total = sum(parameter.numel() for parameter in model.parameters())
    rows = [line for line in text.splitlines() if line and not line.startswith(("parameters", "subsampling", "recep"))]
    assert sum(int(line.rsplit(None, 1)[1].replace(",", "")) for line in rows) == total
    assert f"{total:,}" in text
    assert "subsampling factor: 4 pixel columns" in text
    # 3; pool 2: 4; 3 at step 2: 8; pool 2 at step 2: 10
    assert "receptive field of the frontend: 10 pixel columns" in text


def test_too_much_pooling_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"model\.frontend\.blocks: .*16 features; use fewer or smaller"):
        build([{"channels": 4, "pool": [1, 5]}, {"channels": 4, "pool": [1, 5]}], {})
