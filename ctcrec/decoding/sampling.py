"""Texts drawn from a model that writes one token after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ctcrec.decoding.attention import END, Found, StepModel
from ctcrec.errors import ConfigError, InputError

__all__ = ["sample"]


@torch.no_grad()
def sample(
    model: StepModel,
    max_lengths: Sequence[int],
    *,
    count: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    nucleus: float = 1.0,
    seed: int = 0,
) -> list[list[Found]]:
    """`count` texts of each of N examples, drawn token by token from the model's distribution.

    All examples use the same random numbers, one a step and sample, so an example's texts do not depend on what it is
    batched with. `rank` and `score` of a text are its log-probability under the model itself, before temperature and
    truncation.

    Args:
        model: what gives log-probabilities.
        max_lengths: the most tokens that each example's text may have; there it ends.
        count: texts of each example.
        temperature: divides the log-probabilities before all else.
        top_k: only so many best tokens are drawn from (Fan et al. 2018).
        nucleus: only the fewest best tokens are drawn from that together have this probability (Holtzman et al. 2020).
        seed: of the random numbers.

    Raises:
        ConfigError: a value out of range.
        InputError: the model gives NaN.
    """
    if count < 1 or not temperature > 0.0 or (top_k is not None and top_k < 1) or not 0.0 < nucleus <= 1.0:
        raise ConfigError(
            "count and top_k must be at least 1, temperature more than 0, and nucleus in (0, 1]; not"
            f" {count}, {top_k}, {temperature}, {nucleus}"
        )
    n = len(max_lengths)
    if not n:
        return []
    generator = np.random.default_rng(seed)
    longest = torch.tensor(list(max_lengths)).repeat_interleave(count)
    state = model.select(model.start(), torch.arange(n).repeat_interleave(count))
    tokens = torch.full((n * count,), END)
    running = torch.ones(n * count, dtype=torch.bool)
    scores = torch.zeros(n * count, dtype=torch.float64)
    written: list[torch.Tensor] = []
    while bool(running.any()):
        log_probs, _, state = model.step(state, tokens)
        log_probs = log_probs.double().cpu()
        if bool(log_probs[running].isnan().any()):
            raise InputError("the model gives NaN; look for the cause in its weights or its input")
        uniform = torch.from_numpy(generator.random(count)).repeat(n)
        drawn = _draw(_truncated(log_probs / temperature, top_k, nucleus), uniform)
        drawn = drawn.masked_fill(~running | (longest <= len(written)), END)
        scores += log_probs.gather(1, drawn[:, None]).squeeze(1).masked_fill(~running, 0.0)
        running = running & (drawn != END)
        written.append(drawn)
        tokens = drawn
    texts = torch.stack(written, 1).tolist()
    found = [
        Found(tuple(text[: text.index(END)]), score, score) for text, score in zip(texts, scores.tolist(), strict=True)
    ]
    return [found[i : i + count] for i in range(0, n * count, count)]


def _truncated(log_probs: torch.Tensor, top_k: int | None, nucleus: float) -> torch.Tensor:
    """(M, C) probabilities after truncation; ties at an edge go to the smaller class."""
    ordered, classes = log_probs.log_softmax(1).sort(dim=1, descending=True, stable=True)
    probs = ordered.exp()
    keep = torch.ones_like(probs, dtype=torch.bool)
    if top_k is not None:
        keep[:, top_k:] = False
        probs = probs.masked_fill(~keep, 0.0)
        probs = probs / probs.sum(1, keepdim=True)
    if nucleus < 1.0:
        keep &= probs.cumsum(1) - probs < nucleus
    probs = probs.masked_fill(~keep, 0.0)
    return torch.zeros_like(probs).scatter_(1, classes, probs / probs.sum(1, keepdim=True))


def _draw(probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The class (M,) where each row's cumulative probability passes `uniform` (M,)."""
    cumulative = probs.cumsum(1)
    places = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True).squeeze(1)
    last = (probs > 0).long().mul(torch.arange(1, probs.shape[1] + 1)).amax(1) - 1  # never a class without probability
    return torch.minimum(places, last)
