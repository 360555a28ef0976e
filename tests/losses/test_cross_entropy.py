"""Cross-entropy against hand computation and PyTorch's, values and gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from ctcrec.errors import InputError
from ctcrec.losses import sequence_cross_entropy

LENGTHS = torch.tensor([4, 1, 0, 3])
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, 4, 5, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(0, 5, (4, 4), generator=generator)


def ignoring_padding(targets: torch.Tensor) -> torch.Tensor:
    """Targets as PyTorch wants them: -100 beyond the lengths."""
    return targets.masked_fill(torch.arange(4) >= LENGTHS[:, None], -100)


def by_hand(logits: torch.Tensor, target: int, q: list[float], gamma: float = 0.0) -> float:
    """−(1 − p_y)^γ Σ_c q_c ln p_c of one step, in plain Python."""
    exponentials = [math.exp(float(x)) for x in logits.detach()]
    probs = [x / sum(exponentials) for x in exponentials]
    return -((1 - probs[target]) ** gamma) * sum(w * math.log(p) for w, p in zip(q, probs, strict=True))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_pytorch(reduction: Any, smoothing: float, weighted: bool) -> None:
    logits, targets = batch()
    class_weights = WEIGHTS if weighted else None
    ours = sequence_cross_entropy(
        logits, targets, LENGTHS, reduction=reduction, label_smoothing=smoothing, class_weights=class_weights
    )
    theirs = functional.cross_entropy(
        logits.transpose(1, 2),
        ignoring_padding(targets),
        weight=class_weights,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    torch.testing.assert_close(ours, theirs)
    [gradient] = torch.autograd.grad(ours.sum(), logits)
    [expected] = torch.autograd.grad(theirs.sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_both_definitions_of_smoothing_by_hand() -> None:
    logits, targets = batch()
    y = int(targets[0, 0])
    for smoothing, off, on in (("all", 0.2 / 5, 0.8 + 0.2 / 5), ("others", 0.2 / 4, 0.8)):
        q = [off] * 5
        q[y] = on
        loss = sequence_cross_entropy(
            logits, targets, LENGTHS, reduction="none", label_smoothing=0.2, smoothing=smoothing  # type: ignore[arg-type]
        )  # fmt: skip
        assert loss[0, 0].item() == pytest.approx(by_hand(logits[0, 0], y, q))
        assert sum(q) == pytest.approx(1.0)
    both = [
        sequence_cross_entropy(logits, targets, LENGTHS, label_smoothing=0.2, smoothing=kind).item()  # type: ignore[arg-type]
        for kind in ("all", "others")
    ]
    assert abs(both[0] - both[1]) > 0.01


def test_smoothing_over_others_is_more_smoothing_over_all() -> None:
    """q of "others" with ε is that of "all" with ε K / (K − 1)."""
    logits, targets = batch()
    others = sequence_cross_entropy(logits, targets, LENGTHS, label_smoothing=0.2, smoothing="others")
    everything = sequence_cross_entropy(logits, targets, LENGTHS, label_smoothing=0.2 * 5 / 4)
    torch.testing.assert_close(others, everything)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal(gamma: float) -> None:
    logits, targets = batch()
    losses = sequence_cross_entropy(logits, targets, LENGTHS, reduction="none", focal_gamma=gamma)
    y = int(targets[3, 2])
    q = [float(c == y) for c in range(5)]
    assert losses[3, 2].item() == pytest.approx(by_hand(logits[3, 2], y, q, gamma))
    assert bool((losses <= sequence_cross_entropy(logits, targets, LENGTHS, reduction="none")).all())
    assert torch.autograd.gradcheck(
        lambda x: sequence_cross_entropy(x, targets, LENGTHS, focal_gamma=gamma, label_smoothing=0.1), (logits,)
    )


def test_a_certain_step_has_a_finite_focal_gradient() -> None:
    logits = torch.tensor([[[200.0, 0.0]]], requires_grad=True)
    loss = sequence_cross_entropy(logits, torch.tensor([[0]]), torch.tensor([1]), focal_gamma=0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


def test_per_sequence() -> None:
    logits, targets = batch()
    steps = sequence_cross_entropy(logits, targets, LENGTHS, reduction="none")
    sums = sequence_cross_entropy(logits, targets, LENGTHS, reduction="none", per="sequence")
    torch.testing.assert_close(sums, steps.sum(1))
    assert steps[1, 1:].abs().sum() == steps[2].abs().sum() == 0
    mean = sequence_cross_entropy(logits, targets, LENGTHS, per="sequence")
    assert mean.item() == pytest.approx(steps.sum().item() / 4)
    per_token = sequence_cross_entropy(logits, targets, LENGTHS)
    assert per_token.item() == pytest.approx(steps.sum().item() / 8)
    total = sequence_cross_entropy(logits, targets, LENGTHS, reduction="sum", per="sequence")
    assert total.item() == pytest.approx(steps.sum().item())


def test_weights_of_steps_and_sequences() -> None:
    logits, targets = batch()
    plain = sequence_cross_entropy(logits, targets, LENGTHS, reduction="none")
    of_steps = 0.5 ** torch.arange(4, dtype=torch.float64).expand(4, 4)  # by position
    of_sequences = torch.tensor([1.0, 0.0, 5.0, 2.0])
    weighted = plain * of_steps * of_sequences.double()[:, None]
    options = {"step_weights": of_steps, "sequence_weights": of_sequences}
    ours = sequence_cross_entropy(logits, targets, LENGTHS, reduction="none", **options)
    torch.testing.assert_close(ours, weighted)
    weights_of_tokens = 1.875 * 1.0 + 1.0 * 0.0 + 1.75 * 2.0
    per_token = sequence_cross_entropy(logits, targets, LENGTHS, **options)
    assert per_token.item() == pytest.approx(weighted.sum().item() / weights_of_tokens)
    per_sequence = sequence_cross_entropy(logits, targets, LENGTHS, per="sequence", **options)
    assert per_sequence.item() == pytest.approx(weighted.sum().item() / 8.0)
    by_length = sequence_cross_entropy(
        logits, targets, LENGTHS, reduction="none", per="sequence", sequence_weights=1 / LENGTHS.clamp(min=1)
    )
    assert by_length[0].item() == pytest.approx(plain[0].mean().item())


def test_padding_holds_anything() -> None:
    logits, targets = batch()
    dirty, wrong = logits.detach().clone(), ignoring_padding(targets)
    dirty[1, 1:] = float("nan")
    dirty[2] = float("inf")
    dirty.requires_grad_()
    options: dict[str, Any] = {"label_smoothing": 0.1, "focal_gamma": 0.5, "class_weights": WEIGHTS}
    clean = sequence_cross_entropy(logits, targets, LENGTHS, **options)
    loss = sequence_cross_entropy(dirty, wrong, LENGTHS, **options)
    assert loss.item() == pytest.approx(clean.item())
    [gradient] = torch.autograd.grad(loss, dirty)
    [expected] = torch.autograd.grad(clean, logits)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reduction": "average"}, "reduction must be none, mean or sum"),
        ({"per": "batch"}, "per token or sequence"),
        ({"label_smoothing": 1.5}, "from 0 to 1"),
        ({"smoothing": "some"}, "all or others"),
        ({"focal_gamma": -1.0}, "at least 0"),
        ({"class_weights": torch.ones(4)}, r"class_weights must have shape \(5,\)"),
        ({"class_weights": -torch.ones(5)}, "not negative"),
        ({"step_weights": torch.ones(4)}, r"step_weights must have shape \(4, 4\)"),
        ({"sequence_weights": torch.full((4,), float("nan"))}, "finite"),
        ({"lengths": torch.tensor([5, 1, 1, 1])}, "lengths must be from 0 to 4"),
        ({"targets": torch.full((4, 4), 5)}, "classes from 0 to 4"),
        ({"targets": torch.zeros(4, 3, dtype=torch.int64)}, r"targets \(N, L\)"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    logits, targets = batch()
    with pytest.raises(InputError, match=message):
        sequence_cross_entropy(**{"logits": logits, "targets": targets, "lengths": LENGTHS, **changes})
