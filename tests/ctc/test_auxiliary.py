"""Consistency between views, intermediate losses and label priors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from ctcrec.ctc import LabelPriors, consistency_loss, ctc_loss_from_logits, intermediate_loss
from ctcrec.errors import InputError


def test_consistency_is_the_mean_of_both_divergences_within_the_lengths() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(7, 3, 5, dtype=torch.float64), torch.randn(7, 3, 5, dtype=torch.float64)
    lengths = [7, 4, 0]
    expected = torch.zeros(3, dtype=torch.float64)
    for n, frames in enumerate(lengths):
        if frames:
            p, q = Categorical(logits=a[:frames, n]), Categorical(logits=b[:frames, n])
            expected[n] = 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)).sum()
    losses = consistency_loss(a, b, lengths, reduction="none")
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(consistency_loss(a, b, lengths, reduction="sum"), expected.sum())
    mean = (expected / torch.tensor([7, 4, 1])).mean()
    torch.testing.assert_close(consistency_loss(a, b, torch.tensor(lengths)), mean)
    torch.testing.assert_close(consistency_loss(b, a, lengths), mean)
    torch.testing.assert_close(consistency_loss(a.log_softmax(dim=2), b, lengths), mean)


def test_each_view_learns_from_the_other_as_a_fixed_target() -> None:
    torch.manual_seed(0)
    a = torch.randn(3, 1, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 1, 4, dtype=torch.float64, requires_grad=True)
    for_a, for_b = torch.autograd.grad(consistency_loss(a, b, [3], reduction="sum"), (a, b))
    # d KL(q || softmax a) / d a = softmax(a) - q
    difference = 0.5 * (a.softmax(dim=2) - b.softmax(dim=2))
    torch.testing.assert_close(for_a, difference)
    torch.testing.assert_close(for_b, -difference)


def test_consistency_ignores_padding_and_impossible_classes() -> None:
    a, b = torch.randn(4, 1, 3), torch.randn(4, 1, 3)
    clean = consistency_loss(a, b, [2])
    a[2:], b[3:] = math.nan, math.inf
    assert torch.equal(consistency_loss(a, b, [2]), clean)
    a[:2, 0, 1] = b[:2, 0, 1] = -math.inf
    assert consistency_loss(a, b, [2]).isfinite()
    with pytest.raises(InputError, match="one shape"):
        consistency_loss(a, b[:3], [2])
    with pytest.raises(InputError, match="2 entries"):
        consistency_loss(a, b, [2, 2])
    with pytest.raises(InputError, match="reduction"):
        consistency_loss(a, b, [2], reduction="max")


def test_intermediate_loss() -> None:
    final, first, second = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(4.0)
    assert float(intermediate_loss(final, [first, second], weight=0.3)) == pytest.approx(0.7 + 0.3 * 3.0)
    assert float(intermediate_loss(final, [first], weight=0.0)) == 1.0
    with pytest.raises(InputError, match="at least one"):
        intermediate_loss(final, [])
    with pytest.raises(InputError, match="weight"):
        intermediate_loss(final, [first], weight=1.0)


def test_label_priors_are_the_mean_posteriors_of_the_frames() -> None:
    torch.manual_seed(0)
    priors = LabelPriors(5)
    with pytest.raises(InputError, match="at least one update"):
        priors.log_priors()
    batches = [(torch.randn(6, 2, 5), [6, 3]), (torch.randn(4, 1, 5), [2])]
    frames = torch.cat([logits[:n, i] for logits, lengths in batches for i, n in enumerate(lengths)])
    for logits, lengths in batches:
        priors.update(logits, lengths)
    expected = frames.softmax(dim=1).mean(dim=0).log()
    torch.testing.assert_close(priors.log_priors(), expected)
    assert float(priors.log_priors(floor=0.3).min()) == pytest.approx(math.log(0.3))
    with pytest.raises(InputError, match="expected logits"):
        priors.update(torch.randn(6, 2, 4), [6, 3])
    loss = ctc_loss_from_logits(torch.randn(6, 1, 5), torch.tensor([[1, 2]]), [6], [2], label_priors=expected)
    assert loss.isfinite()
    priors.reset()
    with pytest.raises(InputError, match="at least one update"):
        priors.log_priors()
