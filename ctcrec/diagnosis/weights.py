"""What weights show: layers that training left as they were, and units that never do anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ctcrec.models.encoder import BidirectionalLayer
from ctcrec.models.frontends import ConvolutionBlock, frame_mask
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.records import Batch
from ctcrec.signals import Finding

__all__ = ["movement_findings", "unit_finding"]

_STILL = 1e-3  # deviation of a recurrent unit's output, which lies in [-1, 1]


def movement_findings(initial: RecognitionModel, trained: RecognitionModel) -> list[Finding]:
    """How far training moved each layer's weights from where the seed had put them, as a share of their size there."""
    before, after = dict(initial.named_parameters()), dict(trained.named_parameters())
    moved: dict[str, float] = {}
    for name, module in initial.named_modules():
        weights = [f"{name}.{key}" for key, p in module.named_parameters(recurse=False) if p.dim() >= 2]
        if not weights:
            continue
        size = math.sqrt(sum(float(before[key].detach().square().sum()) for key in weights))
        way = math.sqrt(
            sum(float((after[key].detach().cpu() - before[key].detach()).square().sum()) for key in weights)
        )
        moved[name] = way / max(size, 1e-12)
    frozen = [name for name, share in moved.items() if share == 0.0]
    shares = sorted(moved.values())
    median = shares[len(shares) // 2]
    details = tuple(f"{name}: {share:.2g}" for name, share in moved.items())
    meaning = "distance of the weights from their initial values over the size of these, median of the layers"
    return [
        Finding(
            "frozen layers",
            len(frozen),
            0,
            "above",
            "layers whose weights are exactly as the seed had made them",
            "AdamW moves every weight that has a gradient",
            "requires_grad of their parameters; a part of the model that is not connected to its output",
            tuple(frozen),
        ),
        Finding(
            "weights hardly moved",
            median,
            0.05,
            "below",
            meaning,
            "healthy recipes move them by 0.4 to 1.5 times their size; nearer, they are still mostly random",
            "a higher training.learning_rate (`ctcrec doctor CONFIG` shows which), or longer training",
            details,
        ),
        Finding(
            "weights blown up",
            median,
            10.0,
            "above",
            meaning,
            "healthy recipes move them by 0.4 to 1.5 times their size; far beyond, units are saturated",
            "a lower training.learning_rate, more training.warmup_steps, more training.weight_decay",
        ),
    ]


@torch.no_grad()
def unit_finding(model: RecognitionModel, batches: Sequence[Batch]) -> Finding:
    """Convolution channels that are zero on every frame, and recurrent units that never change.

    The model runs in the mode that it is in.
    """
    alive: dict[str, torch.Tensor] = {}
    names = {module: name for name, module in model.named_modules()}

    def watch_convolution(module: torch.nn.Module, given: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        active = output[0].amax(dim=(0, 2, 3)) > 0
        alive[names[module]] = alive.get(names[module], torch.zeros_like(active)) | active

    def watch_recurrent(
        module: torch.nn.Module, given: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor
    ) -> None:
        true = output[frame_mask(given[1], len(output)).t()]  # layers have time first
        active = true.std(0) > _STILL
        alive[names[module]] = alive.get(names[module], torch.zeros_like(active)) | active

    hooks = []
    for module in model.modules():
        if isinstance(module, ConvolutionBlock):
            hooks.append(module.register_forward_hook(watch_convolution))
        elif isinstance(module, BidirectionalLayer):
            hooks.append(module.register_forward_hook(watch_recurrent))
    try:
        for batch in batches:
            model(batch.features, batch.feature_lengths)
    finally:
        for hook in hooks:
            hook.remove()
    dead = {name: 1.0 - float(active.float().mean()) for name, active in alive.items()}
    return Finding(
        "dead units",
        max(dead.values(), default=0.0),
        0.2,
        "above",
        "share of the units of the worst layer that are always zero (convolution) or always the same (recurrent)",
        "a few are usual after ReLU; where many are dead, the layer is narrower than it was meant to be",
        "a lower training.learning_rate, batch normalization in the frontend; look for constant features",
        tuple(f"{name}: {100 * share:.0f} %" for name, share in dead.items() if share > 0),
    )
