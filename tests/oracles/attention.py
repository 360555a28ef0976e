"""Search over token-by-token models, slow and obviously right: all texts enumerated, or one prefix at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ctcrec.decoding.attention import END, SearchOptions

Text = tuple[int, ...]


@dataclass(frozen=True)
class TableModel:
    """A `StepModel` whose probabilities and attention weights are a random function of example and whole prefix.

    `sharpness` makes distributions less uniform, `end` makes the end more probable.
    """

    frames: Sequence[int]
    classes: int
    sharpness: float = 2.0
    end: float = 0.0
    seed: int = 0

    def log_probs(self, example: int, prefix: Text) -> torch.Tensor:
        """(C,) float64."""
        generator = torch.Generator().manual_seed(hash((self.seed, example, prefix)) % 2**31)
        logits = self.sharpness * torch.randn(self.classes, generator=generator, dtype=torch.float64)
        logits[END] += self.end
        return logits.log_softmax(0)

    def weights(self, example: int, prefix: Text) -> torch.Tensor:
        """(T,) weights of the step after `prefix`, zero beyond the example's frames."""
        generator = torch.Generator().manual_seed(hash((self.seed, -1, example, prefix)) % 2**31)
        weights = torch.zeros(max(self.frames), dtype=torch.float64)
        own = self.frames[example]
        weights[:own] = (2 * torch.randn(own, generator=generator, dtype=torch.float64)).softmax(0)
        return weights

    # the protocol: a state is a list of (example, prefix), whose first token is the start

    def start(self) -> list[tuple[int, Text]]:
        return [(n, ()) for n in range(len(self.frames))]

    def step(self, state: list[tuple[int, Text]], tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:
        after = [(n, (*prefix, int(token))) for (n, prefix), token in zip(state, tokens, strict=True)]
        log_probs = torch.stack([self.log_probs(n, prefix[1:]) for n, prefix in after])
        return log_probs, torch.stack([self.weights(n, prefix[1:]) for n, prefix in after]), after

    def select(self, state: list[tuple[int, Text]], rows: torch.Tensor) -> list[tuple[int, Text]]:
        return [state[row] for row in rows.tolist()]


def all_texts(classes: int, longest: int) -> Iterator[Text]:
    """Every text of up to `longest` tokens 1 .. classes − 1."""
    for length in range(longest + 1):
        yield from itertools.product(range(1, classes), repeat=length)


def step_scores(model: TableModel, example: int, prefix: Text, options: SearchOptions, longest: int) -> list[float]:
    """(C,) ln p of each next class; −inf where the options forbid it."""
    plain = model.log_probs(example, prefix).tolist()
    scores = [options.repetition_penalty * p if c in prefix else p for c, p in enumerate(plain)]
    if len(prefix) == longest:
        return [scores[END]] + [-math.inf] * (len(plain) - 1)
    if len(prefix) < options.min_length:
        scores[END] = -math.inf
    if options.end_threshold is not None and plain[END] <= options.end_threshold * max(plain[1:]):
        scores[END] = -math.inf
    n = options.blocked_ngrams
    if n is not None:
        seen = {prefix[i : i + n] for i in range(len(prefix) - n + 1)}
        for c in range(1, len(scores)):
            if (*prefix[len(prefix) - n + 1 :], c) in seen:
                scores[c] = -math.inf
    return scores


def text_score(model: TableModel, example: int, text: Text, options: SearchOptions, longest: int) -> float:
    """ln p of the text and its end, with penalties; −inf if the options forbid it."""
    total = 0.0
    for place, token in enumerate((*text, END)):
        total += step_scores(model, example, text[:place], options, longest)[token]
    return total


def rank_of(model: TableModel, example: int, text: Text, score: float, options: SearchOptions) -> float:
    """The score after length normalization and coverage, from the definition."""
    n = len(text) + 1
    alpha = options.length_exponent
    norm = {"none": 1.0, "length": n**alpha, "gnmt": ((5 + n) / 6) ** alpha}[options.length_normalization]
    covered = 0.0
    if options.coverage_weight:
        seen = sum(model.weights(example, text[:place]) for place in range(n))
        assert isinstance(seen, torch.Tensor)
        for t in range(model.frames[example]):
            covered += math.log(min(max(float(seen[t]), 1e-3), 1.0))
    return score / norm + options.coverage_weight * covered


def exhaustive_texts(
    model: TableModel,
    example: int,
    options: SearchOptions,
    longest: int,
    extra: Callable[[Text], float] = lambda text: 0.0,
    model_weight: float = 1.0,
) -> list[tuple[Text, float]]:
    """All texts with their ranks, best first. `extra` is added to a text's score."""
    ranked = []
    for text in all_texts(model.classes, longest):
        score = text_score(model, example, text, options, longest)
        if score == -math.inf:
            continue
        total = (model_weight * score if model_weight else 0.0) + extra(text)
        ranked.append((text, rank_of(model, example, text, total, options)))
    return sorted(ranked, key=lambda item: -item[1])


def diverse_texts(
    model: TableModel, example: int, options: SearchOptions, longest: int
) -> list[list[tuple[Text, float]]]:
    """Texts found by each group of a diverse beam search (Vijayakumar et al. 2018, algorithm 1), prefix by prefix."""
    size = options.beam_size // options.groups
    beams: list[list[tuple[Text, float]]] = [[((), 0.0)] for _ in range(options.groups)]
    found: list[list[tuple[Text, float]]] = [[] for _ in range(options.groups)]
    for _ in range(longest + 1):
        used: list[int] = []
        for group in range(options.groups):
            candidates = []
            for prefix, score in beams[group]:
                for token, step in enumerate(step_scores(model, example, prefix, options, longest)):
                    if step > -math.inf:
                        penalty = options.diversity * used.count(token)
                        candidates.append((score + step - penalty, prefix, token, score + step))
            candidates.sort(key=lambda item: -item[0])
            chosen = candidates[:size]
            used += [token for _, _, token, _ in chosen]
            found[group] += [
                (prefix, rank_of(model, example, prefix, score, options)) for _, prefix, c, score in chosen if c == END
            ]
            beams[group] = [((*prefix, token), score) for _, prefix, token, score in chosen if token != END]
    return found
