"""InfoNCE by hand, and which frames are hidden."""

from __future__ import annotations

import math

import pytest
import torch

from ctcrec.errors import InputError
from ctcrec.losses import draw_spans, info_nce


def test_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    chosen = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1]]).bool()
    expected, correct = 0.0, 0
    for n in range(2):
        places = chosen[n].nonzero().flatten().tolist()
        for t in places:
            cosines = [float(torch.nn.functional.cosine_similarity(ours[n, t], theirs[n, s], dim=0)) for s in places]
            terms = [math.exp(c / 0.2) for c in cosines]
            expected -= math.log(terms[places.index(t)] / sum(terms))
            correct += places[cosines.index(max(cosines))] == t
    found = info_nce(ours, theirs, chosen, temperature=0.2)
    assert found.loss.item() == pytest.approx(expected)
    assert (found.frames, found.correct) == (5, correct)


def test_only_chosen_frames_count() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1, 5, 3, generator=generator, dtype=torch.float64)
    theirs = torch.randn(1, 5, 3, generator=generator, dtype=torch.float64)
    chosen = torch.tensor([[1, 0, 1, 1, 0]]).bool()
    before = info_nce(ours, theirs, chosen).loss.item()
    ours[0, 1], theirs[0, 4] = 9.0, -3.0
    assert info_nce(ours, theirs, chosen).loss.item() == before
    alone = torch.tensor([[1, 0, 0, 0, 0]]).bool()
    found = info_nce(ours.requires_grad_(), theirs, alone)
    assert (found.loss.item(), found.frames, found.correct) == (0.0, 0, 0)
    found.loss.backward()


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = (torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    chosen = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]]).bool()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, chosen, 0.5).loss, (ours, theirs))


def test_spans() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([200, 40, 3, 1])
    hidden = draw_spans(lengths, 200, share=0.4, span=4)
    assert hidden.shape == (4, 200)
    for row, length in zip(hidden, lengths.tolist(), strict=True):
        assert not row[length:].any() and row[:length].any()
    assert 0.2 < hidden[0].float().mean() < 0.4  # spans may overlap
    runs = "".join("x" if cell else " " for cell in hidden[0]).split()
    assert min(map(len, runs)) >= 4


def test_wrong_arguments() -> None:
    frames, chosen = torch.zeros(1, 4, 3), torch.ones(1, 4).bool()
    with pytest.raises(InputError, match=r"chosen \(N, T\)"):
        info_nce(frames, frames, chosen[:, :2])
    with pytest.raises(InputError, match="temperature"):
        info_nce(frames, frames, chosen, 0.0)
