"""Risks of texts, and losses that learn from a teacher."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ctcrec.errors import InputError
from ctcrec.losses import (
    bleu_risk,
    character_errors,
    frame_distillation,
    nbest_cross_entropy,
    sentence_bleu,
    word_errors,
)

LENGTHS = torch.tensor([3, 1])


def test_edit_distances() -> None:
    assert word_errors("the cat sat", "cat sat down") == 2
    assert word_errors("", "a b") == 2
    assert character_errors("kitten", "sitting") == 3


def test_sentence_bleu_by_hand() -> None:
    reference, hypothesis = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "sat", "on", "mat"]
    precisions = [5 / 5, (3 + 1) / (4 + 1), (2 + 1) / (3 + 1), (1 + 1) / (2 + 1)]
    expected = math.prod(precisions) ** 0.25 * math.exp(1 - 6 / 5)
    assert sentence_bleu(reference, hypothesis) == pytest.approx(expected)
    assert bleu_risk("the cat sat on the mat", "the cat sat on mat") == pytest.approx(1 - expected)
    longer = ["the", "the", "the", "cat"]  # counts are clipped; nothing is taken off for length
    assert sentence_bleu(["the", "cat"], longer, order=1) == pytest.approx(2 / 4)
    assert sentence_bleu(["the", "cat"], longer, order=2) == pytest.approx(math.sqrt(2 / 4 * 2 / 4))


def test_sentence_bleu_at_the_edges() -> None:
    assert sentence_bleu(["a", "b"], ["a", "b"]) == 1.0
    assert sentence_bleu(["a"], ["a"]) == 1.0
    assert sentence_bleu(["a"], ["b"]) == 0.0
    assert sentence_bleu([], []) == 1.0
    assert sentence_bleu(["a"], []) == sentence_bleu([], ["a"]) == 0.0


def logits_of(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_frame_divergence_equals_pytorch(temperature: float) -> None:
    student, teacher = logits_of(2, 3, 4, seed=1), logits_of(2, 3, 4, seed=2)
    loss = frame_distillation(student, teacher, LENGTHS, temperature=temperature)
    for n, length in enumerate(LENGTHS):
        ours, theirs = ((x[n, :length] / temperature).log_softmax(1) for x in (student, teacher))
        expected = temperature**2 * functional.kl_div(ours, theirs, reduction="sum", log_target=True)
        torch.testing.assert_close(loss[n], expected)
    loss.sum().backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad[1, 1:].abs().sum() == 0
    assert frame_distillation(student, student, LENGTHS, temperature=temperature).abs().max() < 1e-12


def test_frame_squared_error_equals_pytorch() -> None:
    student, teacher = logits_of(2, 3, 4, seed=1), logits_of(2, 3, 4, seed=2)
    loss = frame_distillation(student, teacher, LENGTHS, kind="mse")
    for n, length in enumerate(LENGTHS):
        expected = functional.mse_loss(student[n, :length], teacher[n, :length]) * length
        torch.testing.assert_close(loss[n], expected)


def test_nbest_cross_entropy_by_hand() -> None:
    logits = logits_of(1, 2, 3, 4, seed=5)
    targets, lengths = torch.tensor([[[1, 2, 0], [3, 0, 0]]]), torch.tensor([[3, 2]])
    loss = nbest_cross_entropy(logits, targets, lengths, torch.tensor([[-1.0, -2.0]]))
    steps = logits.log_softmax(3)[0]
    texts = [steps[0, 0, 1] + steps[0, 1, 2] + steps[0, 2, 0], steps[1, 0, 3] + steps[1, 1, 0]]
    share = 1 / (1 + math.exp(-1))
    assert loss.item() == pytest.approx(-share * texts[0].item() - (1 - share) * texts[1].item(), rel=1e-6)
    one = nbest_cross_entropy(logits, targets, lengths, torch.tensor([[-1.0, -math.inf]]))
    assert one.item() == pytest.approx(-texts[0].item())
    one.backward()
    assert logits.grad is not None and logits.grad[0, 1].abs().sum() == 0


def test_wrong_arguments() -> None:
    logits = torch.zeros(2, 3, 4)
    with pytest.raises(InputError, match="one shape"):
        frame_distillation(logits, logits[:, :2], LENGTHS)
    with pytest.raises(InputError, match="temperature"):
        frame_distillation(logits, logits, LENGTHS, kind="mse", temperature=2.0)
    with pytest.raises(InputError, match="'kl' or 'mse'"):
        frame_distillation(logits, logits, LENGTHS, kind="l1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="teacher_scores"):
        nbest_cross_entropy(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3), torch.zeros(1, 2), torch.zeros(2))
