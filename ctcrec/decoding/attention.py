"""Batched beam search over a model that writes one token after another; beam 1 is greedy search.

The model is any `StepModel`: given the tokens so far it says how probable each next one is. Class `END` ends the text.
`PrefixScorer`s add to the score of a prefix what they know of it: a language model (`ctcrec.decoding.fused_text`), or
the CTC head (`ctcrec.decoding.ctc_prefix`). With s the sum of all that, a finished text of L tokens is ranked by

    s / norm(L + 1) + β Σ_t ln min(Σ_i w_it, 1)

norm(n) is 1, n^α, or ((5 + n) / 6)^α, and the coverage term sums over frames t what attention weights w_it they got in
all (Wu et al. 2016, "Google's neural machine translation system", eq. 14). At each step the `beam_size` best
extensions of all prefixes are taken; those that end leave the beam (Sutskever et al. 2014, §3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from ctcrec.errors import ConfigError, InputError

__all__ = ["END", "Found", "PrefixScorer", "SearchOptions", "StepModel", "beam_search"]

END = 0
_LEAST_COVERAGE = 1e-3  # a frame never looked at costs β ln of this, not all


class StepModel(Protocol):
    """A model of the next token. Its states hold M rows, one a prefix; the M / N of one example stand together."""

    def start(self) -> Any:
        """The state of N empty prefixes."""

    def step(self, state: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
        """The last tokens (M,), `END` before the first → log-probabilities (M, C) of the next, the attention weights
        (M, T) that gave them (zero beyond an example's frames, and only there) or None, and the state after them."""

    def select(self, state: Any, rows: torch.Tensor) -> Any:
        """The state whose row i is this one's `rows[i]`."""


class PrefixScorer(Protocol):
    """What else is known of a prefix. `falling` says that no extension scores higher than its prefix."""

    falling: bool

    def start(self, examples: int) -> Any:
        """The state of one empty prefix of each example."""

    def score(self, state: Any) -> torch.Tensor:
        """(M, C) float64: the whole score of each prefix extended by each class; class END: of the prefix as a text."""

    def advance(self, state: Any, rows: torch.Tensor, tokens: torch.Tensor) -> Any:
        """The state whose row i is this one's `rows[i]` extended by `tokens[i]`; by END where a row is out of use."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search and rank.

    Attributes:
        beam_size: prefixes kept from step to step, of all groups together.
        nbest: how many texts to give, at most.
        length_normalization, length_exponent: norm and α, see the module.
        coverage_weight: β.
        groups, diversity: diverse beam search (Vijayakumar et al. 2018): the beam in groups, which choose one after the
            other; a token counts `diversity` less for each time that earlier groups chose it at the same step. It
            decides what is kept and is no part of any score.
        repetition_penalty: log-probabilities of tokens written before are multiplied by it (after Keskar et al. 2019).
        blocked_ngrams: no n-gram of this length may come twice; None allows all.
        min_length: fewest tokens of a text.
        end_threshold: γ; a text ends only where ln p(END) > γ max ln p(others) (Hannun et al. 2019, §3.3).
        beam_threshold: prefixes that are worse than the best prefix or text by more are dropped.

    Raises:
        ConfigError: values out of range, or options without effect.
    """

    beam_size: int = 10
    nbest: int = 1
    length_normalization: Literal["none", "length", "gnmt"] = "none"
    length_exponent: float = 1.0
    coverage_weight: float = 0.0
    groups: int = 1
    diversity: float = 0.0
    repetition_penalty: float = 1.0
    blocked_ngrams: int | None = None
    min_length: int = 0
    end_threshold: float | None = None
    beam_threshold: float = 25.0

    def __post_init__(self) -> None:
        for name in ("beam_size", "nbest", "groups"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.length_normalization not in ("none", "length", "gnmt"):
            raise ConfigError(f"length_normalization must be none, length or gnmt, not {self.length_normalization!r}")
        if self.beam_size % self.groups:
            raise ConfigError(f"beam_size {self.beam_size} must be a multiple of groups {self.groups}")
        if (self.groups > 1) != (self.diversity > 0.0) or self.diversity < 0.0:
            raise ConfigError("groups above 1 and a diversity above 0 go together; one without the other does nothing")
        if self.repetition_penalty < 1.0:
            raise ConfigError(f"repetition_penalty must be at least 1, not {self.repetition_penalty}")
        if self.blocked_ngrams is not None and self.blocked_ngrams < 1:
            raise ConfigError(f"blocked_ngrams must be at least 1, not {self.blocked_ngrams}")
        if self.end_threshold is not None and not self.end_threshold > 0.0:
            raise ConfigError(f"end_threshold must be more than 0, not {self.end_threshold}")
        if self.min_length < 0 or self.coverage_weight < 0.0 or not self.beam_threshold > 0.0:
            raise ConfigError("min_length and coverage_weight must be at least 0, and beam_threshold more than 0")

    def norm(self, length: int) -> float:
        """What divides the score of a text of `length` tokens, its end counted."""
        if self.length_normalization == "length":
            return float(length**self.length_exponent)
        if self.length_normalization == "gnmt":
            return float(((5 + length) / 6) ** self.length_exponent)
        return 1.0

    def bound(self, score: float, longest: int) -> float:
        """The best rank that extensions of a prefix can have whose score cannot rise, and is at most 0."""
        norms = (self.norm(1), self.norm(longest + 1))
        return score / (max(norms) if score <= 0.0 else min(norms))


@dataclass(frozen=True, slots=True)
class Found:
    """A text that the search found: tokens without the end, its rank, and its score (natural logarithm)."""

    tokens: tuple[int, ...]
    rank: float
    score: float


@torch.no_grad()
def beam_search(
    model: StepModel,
    max_lengths: Sequence[int],
    options: SearchOptions,
    scorers: Sequence[PrefixScorer] = (),
    model_weight: float = 1.0,
) -> list[list[Found]]:
    """The best texts of each of N examples, best first.

    Args:
        model: what gives log-probabilities.
        max_lengths: the most tokens that each example's text may have; there it has to end.
        options: how to search.
        scorers: what else counts.
        model_weight: factor of the model's log-probabilities, at least 0.

    Returns:
        For each example up to `nbest` texts, with groups as many of each as evenly can be; where no text is
        possible, one without tokens and of rank −inf.

    Raises:
        InputError: the model gives NaN (names the example).
    """
    if not max_lengths:
        return []
    search = _Search(model, max_lengths, options, scorers, model_weight)
    while search.advance():
        pass
    return search.results()


class _Search:
    """One search under way. Prefixes are (n, G, W): examples still searched, groups, and prefixes of a group."""

    def __init__(
        self,
        model: StepModel,
        max_lengths: Sequence[int],
        options: SearchOptions,
        scorers: Sequence[PrefixScorer],
        model_weight: float,
    ) -> None:
        self.model, self.options, self.scorers, self.model_weight = model, options, scorers, model_weight
        self.max_lengths = list(max_lengths)
        n, groups = len(max_lengths), options.groups
        self.quota = [max(len(range(g, options.nbest, groups)), 1) for g in range(groups)]
        self.finished: list[list[list[Found]]] = [[[] for _ in range(groups)] for _ in range(n)]
        self.examples = list(range(n))  # those still searched
        self.falling = all(scorer.falling for scorer in scorers)
        rows = torch.arange(n).repeat_interleave(groups)
        self.state = model.select(model.start(), rows)
        ends = torch.full((len(rows),), -1)
        self.scorer_states = [scorer.advance(scorer.start(n), rows, ends) for scorer in scorers]
        self.tokens = torch.zeros(n, groups, 1, 0, dtype=torch.int64)
        self.model_scores = torch.zeros(n, groups, 1, dtype=torch.float64)
        self.alive = torch.ones(n, groups, 1, dtype=torch.bool)
        self.coverage: torch.Tensor | None = None

    def advance(self) -> bool:
        """One more token for every prefix; whether any prefix is left."""
        n, groups, width, written = self.tokens.shape
        last = self.tokens[..., -1].flatten() if written else torch.full((n * groups * width,), END)
        log_probs, weights, state = self.model.step(self.state, last)
        log_probs = log_probs.double().cpu()
        self._refuse_nan(log_probs)
        steps, allowed = _constrained(log_probs, self.tokens.flatten(0, 2), self.options)
        if any(self.max_lengths[example] <= written for example in self.examples):
            must = torch.tensor([self.max_lengths[example] <= written for example in self.examples])
            only_end = torch.arange(steps.shape[1]) == END
            must = must.repeat_interleave(groups * width)
            allowed = torch.where(must[:, None], only_end, allowed)
        model_scores = self.model_scores.unsqueeze(3) + steps.view(n, groups, width, -1)
        totals = self.model_weight * model_scores if self.model_weight else torch.zeros_like(model_scores)
        for scorer, scorer_state in zip(self.scorers, self.scorer_states, strict=True):
            totals = totals + scorer.score(scorer_state).view_as(totals)
        keep = allowed.view_as(totals) & self.alive.unsqueeze(3)
        totals = totals.masked_fill(~keep | totals.isnan(), -math.inf)
        coverage = self._covered(weights)
        parents, tokens, scores = self._choose(totals)
        self._finish(parents, tokens, scores, coverage)
        self.alive = (tokens != END) & (scores > -math.inf)
        self._prune(scores, written + 1)
        classes = totals.shape[3]
        chosen = model_scores.flatten(2).gather(2, parents * classes + tokens)
        return self._follow(state, parents, tokens, chosen, coverage)

    def _refuse_nan(self, log_probs: torch.Tensor) -> None:
        wrong = log_probs.isnan().any(1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise InputError(f"the model gives NaN for example {self.examples[row * len(self.examples) // len(wrong)]}")

    def _covered(self, weights: torch.Tensor | None) -> torch.Tensor | None:
        """(n, G, W, T) all that the prefixes' steps have looked at each frame."""
        if self.options.coverage_weight == 0.0:
            return None
        if weights is None:
            raise ConfigError("coverage_weight has no effect on a model without attention; leave it out")
        now = weights.double().cpu().view(*self.alive.shape, -1)
        return now if self.coverage is None else self.coverage + now

    def _choose(self, totals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Parent, token and score of the best extensions, (n, G, K) each; groups choose one after the other."""
        n, groups, width, classes = totals.shape
        kept = min(self.options.beam_size // groups, width * classes)
        counts = torch.zeros(n, 1, classes, dtype=totals.dtype)
        parts = []
        for group in range(groups):
            penalized = (totals[:, group] - self.options.diversity * counts).flatten(1)
            places = penalized.topk(kept).indices
            scores = totals[:, group].flatten(1).gather(1, places)
            tokens = places % classes
            parts.append((places // classes, tokens, scores))
            counts[:, 0].scatter_add_(1, tokens, (scores > -math.inf).to(counts))
        parents, tokens, scores = (torch.stack(column, 1) for column in zip(*parts, strict=True))
        return parents, tokens, scores

    def _finish(
        self, parents: torch.Tensor, tokens: torch.Tensor, scores: torch.Tensor, coverage: torch.Tensor | None
    ) -> None:
        """Keep the texts that end now, as many of each group as can be among the results."""
        norm = self.options.norm(self.tokens.shape[3] + 1)
        for place in ((tokens == END) & (scores > -math.inf)).nonzero().tolist():
            i, group, k = place
            parent = int(parents[i, group, k])
            score = float(scores[i, group, k])
            rank = score / norm
            if coverage is not None:
                seen = coverage[i, group, parent]
                seen = seen[seen > 0].clamp(_LEAST_COVERAGE, 1.0)  # without the frames beyond the example's own
                rank += self.options.coverage_weight * float(seen.log().sum())
            found = self.finished[self.examples[i]][group]
            found.append(Found(tuple(self.tokens[i, group, parent].tolist()), rank, score))
            found.sort(key=lambda item: -item.rank)
            del found[self.quota[group] :]

    def _prune(self, scores: torch.Tensor, written: int) -> None:
        """Give up prefixes that are far too bad, and examples whose results nothing can change.

        All groups of an example go on to the same step, for each counts in the choices of the next.
        """
        best = scores.masked_fill(~self.alive, -math.inf).amax(2)  # (n, G)
        finished = [self.finished[example] for example in self.examples]
        if self.options.beam_threshold < math.inf:
            ended = [
                [max((item.score for item in found), default=-math.inf) for found in groups] for groups in finished
            ]
            top = torch.maximum(best, torch.tensor(ended, dtype=best.dtype))
            self.alive &= scores >= (top - self.options.beam_threshold).unsqueeze(2)
        if not self.falling:
            return
        for i, (example, groups) in enumerate(zip(self.examples, finished, strict=True)):
            if any(len(found) < quota for found, quota in zip(groups, self.quota, strict=True)):
                continue
            longest = max(self.max_lengths[example], written)
            bounds = [self.options.bound(score, longest) for score in best[i].tolist()]
            if all(bound <= found[-1].rank for bound, found in zip(bounds, groups, strict=True)):
                self.alive[i] = False

    def _follow(
        self,
        state: Any,
        parents: torch.Tensor,
        tokens: torch.Tensor,
        model_scores: torch.Tensor,
        coverage: torch.Tensor | None,
    ) -> bool:
        """Make the chosen extensions the prefixes of the next step; leave out examples that are done."""
        n, groups, width, _ = self.tokens.shape
        left = self.alive.flatten(1).any(1).nonzero().squeeze(1)
        if not len(left):
            return False
        first = (torch.arange(n)[:, None] * groups + torch.arange(groups)) * width
        rows = (first[:, :, None] + parents)[left].flatten()
        history = self.tokens.gather(2, parents[..., None].expand(-1, -1, -1, self.tokens.shape[3]))
        self.tokens = torch.cat([history, tokens[..., None]], 3)[left]
        self.alive = self.alive[left]
        self.model_scores = model_scores[left]
        self.examples = [self.examples[i] for i in left.tolist()]
        self.state = self.model.select(state, rows)
        written = torch.where(self.alive, self.tokens[..., -1], END).flatten()
        self.scorer_states = [
            scorer.advance(before, rows, written)
            for scorer, before in zip(self.scorers, self.scorer_states, strict=True)
        ]
        if coverage is not None:
            self.coverage = coverage.flatten(0, 2)[rows].view(*self.alive.shape, -1)
        return True

    def results(self) -> list[list[Found]]:
        """What was found, best first."""
        found = [
            sorted((item for group in groups for item in group), key=lambda item: -item.rank)
            for groups in self.finished
        ]
        return [items[: self.options.nbest] or [Found((), -math.inf, -math.inf)] for items in found]


def _constrained(
    log_probs: torch.Tensor, history: torch.Tensor, options: SearchOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (M, C) after the repetition penalty, and which classes may follow; `history` is (M, L)."""
    rows, classes = log_probs.shape
    written = history.shape[1]
    allowed = torch.ones(rows, classes, dtype=torch.bool)
    if options.end_threshold is not None:
        others = log_probs[:, END + 1 :].amax(1)
        allowed[:, END] = log_probs[:, END] > options.end_threshold * others
    if written < options.min_length:
        allowed[:, END] = False
    if options.repetition_penalty != 1.0 and written:
        before = torch.zeros(rows, classes, dtype=torch.bool).scatter_(1, history, True)
        log_probs = torch.where(before, options.repetition_penalty * log_probs, log_probs)
    n = options.blocked_ngrams
    if n is not None and written >= n:
        grams = history.unfold(1, n, 1)  # (M, L − n + 1, n)
        repeats = (grams[:, :, :-1] == history[:, None, written - n + 1 :]).all(2)
        blocked = torch.zeros(rows, classes).scatter_add_(1, grams[:, :, -1], repeats.float()) > 0
        allowed &= ~blocked
    return log_probs, allowed
