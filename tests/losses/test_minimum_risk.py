"""Expected risk and its gradient against brute force over a hypothesis space small enough to enumerate."""

from __future__ import annotations

import itertools

import pytest
import torch

from ctcrec.errors import InputError
from ctcrec.losses import character_errors, expected_risk, reinforce_loss

REFERENCE = "ab"
SPACE = ["".join(text) for length in range(3) for text in itertools.product("ab", repeat=length)]  # "", a, b, aa, ...


def log_probs_of(logits: torch.Tensor) -> torch.Tensor:
    """(7,) ln p of all texts of at most two letters, from logits (3, 3) of a, b and the end after 0, 1, 2 letters."""
    steps = logits.log_softmax(1)
    totals = []
    for text in SPACE:
        letters = ["ab".index(letter) for letter in text]
        path = [steps[place, letter] for place, letter in enumerate(letters)]
        if len(text) < 2:
            path.append(steps[len(text), 2])
        totals.append(torch.stack(path).sum())
    return torch.stack(totals)


def setting() -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    logits[1, 2] = -30.0  # not to end after one letter: then the third row decides nothing
    return logits.requires_grad_(), torch.tensor([character_errors(REFERENCE, text) for text in SPACE])


def test_the_space_is_whole() -> None:
    logits, risks = setting()
    assert log_probs_of(logits).exp().sum().item() == pytest.approx(1.0)
    assert risks.tolist() == [2, 1, 1, 1, 0, 2, 1]


def test_expected_risk_over_the_whole_space_is_the_expectation() -> None:
    logits, risks = setting()
    probs = log_probs_of(logits).exp()
    brute = sum(p * r for p, r in zip(probs.tolist(), risks.tolist(), strict=True))
    loss = expected_risk(log_probs_of(logits)[None], risks[None], baseline="none")
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(brute)
    [gradient] = torch.autograd.grad(loss.sum(), logits)
    for place in itertools.product(range(2), range(3)):  # by finite differences of the brute force
        step = torch.zeros_like(logits)
        step[place] = 1e-6
        up, down = (float((log_probs_of((logits + sign * step).detach()).exp() * risks).sum()) for sign in (1, -1))
        assert gradient[place].item() == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_the_baseline_changes_the_value_and_not_the_gradient() -> None:
    logits, risks = setting()
    plain = expected_risk(log_probs_of(logits)[None], risks[None], baseline="none")
    based = expected_risk(log_probs_of(logits)[None], risks[None])
    assert (plain - based).item() == pytest.approx(risks.double().mean().item())
    torch.testing.assert_close(torch.autograd.grad(plain.sum(), logits), torch.autograd.grad(based.sum(), logits))


def test_short_lists_and_sharpness() -> None:
    scores = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -torch.inf, -4.0]], requires_grad=True)
    risks = torch.tensor([[0.0, 4.0, 100.0], [1.0, 50.0, 2.0]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    loss = expected_risk(scores, risks, baseline="none", sharpness=0.5, valid=valid)
    first = 4 / (1 + 2.718281828**0.5)
    second = 1 + 1 / (1 + 2.718281828**0.5)
    assert loss.tolist() == pytest.approx([first, second])
    loss.sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == scores.grad[1, 1] == 0
    assert bool(torch.isfinite(scores.grad).all())
    assert expected_risk(scores, risks, valid=valid).tolist() == pytest.approx(
        [4 / (1 + 2.718281828) - 2, 1 + 1 / (1 + 2.718281828) - 1.5]
    )


@pytest.mark.parametrize("baseline", ["greedy", "others", "none"])
def test_the_mean_gradient_of_reinforce_is_that_of_the_expected_risk(baseline: str) -> None:
    """Exactly: averaged over all pairs of samples with their probabilities."""
    logits, risks = setting()
    [expected] = torch.autograd.grad((log_probs_of(logits).exp() * risks).sum(), logits)
    probs = log_probs_of(logits).exp().detach()
    greedy = risks[int(probs.argmax())]
    total = torch.zeros_like(logits)
    for i, j in itertools.product(range(len(SPACE)), repeat=2):
        chosen = torch.tensor([i, j])
        given = {"greedy": greedy[None], "others": "others", "none": "none"}[baseline]
        loss = reinforce_loss(log_probs_of(logits)[chosen][None], risks[chosen][None], given)  # type: ignore[arg-type]
        total += probs[i] * probs[j] * torch.autograd.grad(loss.sum(), logits)[0]
    torch.testing.assert_close(total, expected)


def test_a_baseline_lowers_the_variance() -> None:
    logits, risks = setting()
    probs = log_probs_of(logits).exp().detach()
    greedy = risks[int(probs.argmax())]

    def variance(baseline: torch.Tensor | str) -> float:
        gradients = []
        for i in range(len(SPACE)):
            loss = reinforce_loss(log_probs_of(logits)[[i]][None], 10 + risks[[i]][None], baseline)  # type: ignore[arg-type]
            gradients.append(torch.autograd.grad(loss.sum(), logits)[0].flatten())
        stacked = torch.stack(gradients)
        mean = (probs[:, None] * stacked).sum(0)
        return float((probs[:, None] * (stacked - mean).square()).sum())

    assert variance(10 + greedy[None]) < 0.1 * variance("none")


def test_wrong_arguments() -> None:
    scores, risks = torch.zeros(2, 3), torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"must be \(N, H\)"):
        expected_risk(scores, risks[0])
    with pytest.raises(InputError, match="sharpness"):
        expected_risk(scores, risks, sharpness=0.0)
    with pytest.raises(InputError, match="a hypothesis with a probability above zero"):
        expected_risk(torch.full((1, 2), -torch.inf), torch.zeros(1, 2))
    with pytest.raises(InputError, match="at least 2 samples"):
        reinforce_loss(scores[:, :1], risks[:, :1])
    with pytest.raises(InputError, match=r"baseline must be \(2,\)"):
        reinforce_loss(scores, risks, torch.zeros(3))
    with pytest.raises(InputError, match="valid must be bool"):
        reinforce_loss(scores, risks, valid=torch.ones(2, 3))
