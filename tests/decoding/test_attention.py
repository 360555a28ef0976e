"""Beam search over token-by-token models against exhaustive search, and sampling against the distribution."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from oracles.attention import TableModel, all_texts, diverse_texts, exhaustive_texts, text_score

from ctcrec.decoding.attention import END, Found, SearchOptions, beam_search
from ctcrec.decoding.sampling import sample
from ctcrec.errors import ConfigError, InputError

FRAMES = (6, 3, 4)
LONGEST = (4, 2, 3)
EVERYTHING = 1000  # more prefixes than there are
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "length": {"length_normalization": "length", "length_exponent": 0.7},
    "gnmt": {"length_normalization": "gnmt", "length_exponent": 1.0},
    "coverage": {"coverage_weight": 0.3},
    "length-coverage": {"length_normalization": "length", "coverage_weight": 0.1},
    "repetition": {"repetition_penalty": 1.8},
    "unigrams-once": {"blocked_ngrams": 1},
    "bigrams-once": {"blocked_ngrams": 2},
    "at-least-two": {"min_length": 2},
    "end-threshold": {"end_threshold": 1.2},
    "all": {
        "length_normalization": "gnmt", "length_exponent": 0.6, "coverage_weight": 0.2, "repetition_penalty": 1.3,
        "blocked_ngrams": 2, "min_length": 1, "end_threshold": 2.0,
    },
}  # fmt: skip


def ranked(found: list[Found]) -> list[tuple[tuple[int, ...], float]]:
    return [(item.tokens, pytest.approx(item.rank, abs=1e-9)) for item in found]


@pytest.mark.parametrize("values", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_is_exhaustive(values: dict[str, Any], seed: int) -> None:
    model = TableModel(FRAMES, 4, seed=seed)
    options = SearchOptions(beam_size=EVERYTHING, nbest=5, beam_threshold=math.inf, **values)
    results = beam_search(model, LONGEST, options)
    for example, found in enumerate(results):
        assert ranked(found) == exhaustive_texts(model, example, options, LONGEST[example])[:5]


def test_the_options_change_what_is_found() -> None:
    """The oracle's answers differ between options, so equality with it means something."""
    answers = {}
    for name, values in OPTIONS.items():
        options = SearchOptions(**values)
        models = [TableModel(FRAMES, 4, seed=seed) for seed in (0, 1)]
        answers[name] = tuple(
            tuple(exhaustive_texts(model, n, options, LONGEST[n])[:5]) for model in models for n in range(3)
        )
    assert len(set(answers.values())) == len(answers)


def greedy(model: TableModel, example: int, longest: int) -> tuple[int, ...]:
    text: tuple[int, ...] = ()
    while len(text) < longest:
        token = int(model.log_probs(example, text).argmax())
        if token == END:
            break
        text = (*text, token)
    return text


@pytest.mark.parametrize("seed", range(5))
def test_beam_one_is_greedy(seed: int) -> None:
    model = TableModel((4,) * 6, 5, seed=seed, end=0.5)
    found = beam_search(model, [8] * 6, SearchOptions(beam_size=1))
    for example, [best] in enumerate(found):
        assert best.tokens == greedy(model, example, 8)
        assert best.score == pytest.approx(text_score(model, example, best.tokens, SearchOptions(), 8))
    assert len({best.tokens for [best] in found}) > 3


def test_a_wider_beam_finds_better_texts() -> None:
    model = TableModel((4,) * 20, 5, sharpness=1.0, end=0.5)
    scores = []
    for size in (1, 3, 30):
        found = beam_search(model, [6] * 20, SearchOptions(beam_size=size))
        scores.append(sum(best.rank for [best] in found))
    assert scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("beam_size", [1, 3, 6])
@pytest.mark.parametrize("values", OPTIONS.values(), ids=OPTIONS)
def test_one_alone_equals_one_in_a_batch(beam_size: int, values: dict[str, Any]) -> None:
    model = TableModel(FRAMES, 5, end=-1.0)
    options = SearchOptions(beam_size=beam_size, nbest=3, **values)
    together = beam_search(model, LONGEST, options)
    for example in range(3):
        one = dataclasses.replace(model, frames=FRAMES)
        alone = beam_search(_Only(one, example), [LONGEST[example]], options)
        assert ranked(alone[0]) == [(item.tokens, item.rank) for item in together[example]]


class _Only:
    """One example of a table model."""

    def __init__(self, model: TableModel, example: int) -> None:
        self.model, self.example = model, example
        self.step, self.select = model.step, model.select

    def start(self) -> Any:
        return [(self.example, ())]


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("diversity", [0.5, 5.0])
@pytest.mark.parametrize("size", [1, 2, 40])
def test_diverse_groups(groups: int, diversity: float, size: int) -> None:
    model = TableModel(FRAMES, 4, seed=2)
    options = SearchOptions(
        beam_size=groups * size, nbest=groups, groups=groups, diversity=diversity, beam_threshold=math.inf
    )
    for example, found in enumerate(beam_search(model, LONGEST, options)):
        of_groups = diverse_texts(model, example, options, LONGEST[example])
        best = [max(texts, key=lambda item: item[1]) for texts in of_groups if texts]
        assert ranked(found) == sorted(best, key=lambda item: -item[1])


def test_diversity_makes_groups_differ() -> None:
    model = TableModel((4,) * 20, 5, end=-1.0)
    options = SearchOptions(beam_size=3, nbest=3, groups=3, diversity=20.0, min_length=1)
    found = beam_search(model, [5] * 20, options)
    first_tokens = [{item.tokens[0] for item in items} for items in found]
    assert sum(len(tokens) == 3 for tokens in first_tokens) >= 15


def test_no_text_is_possible() -> None:
    """Two tokens, each at most once, but at least three of them."""
    model = TableModel((4, 4), 3)
    options = SearchOptions(beam_size=5, blocked_ngrams=1, min_length=3)
    assert beam_search(model, [6, 6], options) == [[Found((), -math.inf, -math.inf)]] * 2
    assert beam_search(model, [], options) == []
    assert [found[0].tokens for found in beam_search(model, [0, 0], SearchOptions())] == [(), ()]


def test_the_threshold_drops_what_is_far_behind() -> None:
    model = TableModel((4,) * 10, 5, sharpness=3.0)
    wide = SearchOptions(beam_size=50, nbest=50, beam_threshold=math.inf)
    narrow = dataclasses.replace(wide, beam_threshold=2.0)
    for all_found, found in zip(beam_search(model, [4] * 10, wide), beam_search(model, [4] * 10, narrow), strict=True):
        assert len(found) < len(all_found)
        assert ranked(found)[0] == (all_found[0].tokens, all_found[0].rank)


def test_not_a_number_names_the_example() -> None:
    class Broken(TableModel):
        def log_probs(self, example: int, prefix: tuple[int, ...]) -> torch.Tensor:
            return super().log_probs(example, prefix) * (float("nan") if example == 2 and len(prefix) == 1 else 1.0)

    with pytest.raises(InputError, match="NaN for example 2"):
        beam_search(Broken(FRAMES, 4), LONGEST, SearchOptions(beam_size=3, min_length=2))
    with pytest.raises(InputError, match="NaN"):
        sample(Broken((4, 4, 4), 4, end=-9.0), [3, 3, 3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam_size": 0}, "beam_size must be at least 1"),
        ({"beam_size": 4, "groups": 3, "diversity": 1.0}, "multiple of groups"),
        ({"groups": 2}, "go together"),
        ({"diversity": 0.5}, "go together"),
        ({"repetition_penalty": 0.5}, "repetition_penalty"),
        ({"blocked_ngrams": 0}, "blocked_ngrams"),
        ({"end_threshold": 0.0}, "end_threshold"),
        ({"length_normalization": "words"}, "none, length or gnmt"),
        ({"beam_threshold": 0.0}, "beam_threshold"),
    ],
)
def test_wrong_options(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**values)


# ── sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────

COUNT = 4000


def expected_distribution(model: TableModel, longest: int, change: Any) -> dict[tuple[int, ...], float]:
    """Probability of each text if `change` is applied to the probabilities of each step."""
    probs: dict[tuple[int, ...], float] = {}
    for text in all_texts(model.classes, longest):
        total = 1.0
        for place, token in enumerate((*text, END)):
            total *= 1.0 if place == longest else change(model.log_probs(0, text[:place]).exp().tolist())[token]
        probs[text] = total
    return probs


def tempered(temperature: float) -> Any:
    return lambda probs: [p ** (1 / temperature) / sum(q ** (1 / temperature) for q in probs) for p in probs]


def top(k: int) -> Any:
    def change(probs: list[float]) -> list[float]:
        least = sorted(probs)[-k]
        return [p / sum(q for q in probs if q >= least) if p >= least else 0.0 for p in probs]

    return change


def nucleus(mass: float) -> Any:
    def change(probs: list[float]) -> list[float]:
        kept: list[float] = []
        for p in sorted(probs, reverse=True):
            if sum(kept) < mass:
                kept.append(p)
        return [p / sum(kept) if p in kept else 0.0 for p in probs]

    return change


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({}, tempered(1.0)),
        ({"temperature": 2.0}, tempered(2.0)),
        ({"temperature": 0.5}, tempered(0.5)),
        ({"top_k": 2}, top(2)),
        ({"nucleus": 0.8}, nucleus(0.8)),
        ({"top_k": 3, "temperature": 1.5}, lambda probs: top(3)(tempered(1.5)(probs))),
    ],
    ids=["plain", "hot", "cold", "top-k", "nucleus", "hot-top-k"],
)
def test_frequencies_of_samples(options: dict[str, Any], change: Any) -> None:
    """Pearson's chi-square against the exact distribution of texts; the seed is fixed, so it passes always or never."""
    model = TableModel((4,), 4, sharpness=1.0)
    [found] = sample(model, [2], count=COUNT, seed=5, **options)
    counts = Counter(item.tokens for item in found)
    expected = expected_distribution(model, 2, change)
    assert sum(expected.values()) == pytest.approx(1.0)
    assert set(counts) <= {text for text, p in expected.items() if p > 0}
    common = {text: COUNT * p for text, p in expected.items() if COUNT * p >= 5}
    rest = COUNT - sum(common.values())
    statistic = sum((counts[text] - n) ** 2 / n for text, n in common.items())
    if rest >= 5:
        statistic += (COUNT - sum(counts[text] for text in common) - rest) ** 2 / rest
    freedom = len(common) - (rest < 5)
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3  # Wilson & Hilferty, p = 0.001
    assert statistic < limit
    wrong = expected_distribution(model, 2, tempered(1.3))  # another distribution is told from it
    assert sum((counts[text] - COUNT * p) ** 2 / (COUNT * p) for text, p in wrong.items() if COUNT * p >= 5) > limit


def test_scores_of_samples_are_the_models_own() -> None:
    model = TableModel((4, 4), 4)
    for example, found in enumerate(sample(model, [3, 3], count=5, temperature=3.0, seed=1)):
        for item in found:
            assert item.score == item.rank
            assert item.score == pytest.approx(text_score(model, example, item.tokens, SearchOptions(), 3))


def test_samples_depend_on_the_seed_and_not_on_the_batch() -> None:
    model = TableModel(FRAMES, 5)
    together = sample(model, LONGEST, count=4, seed=3)
    assert together == sample(model, LONGEST, count=4, seed=3)
    assert together != sample(model, LONGEST, count=4, seed=4)
    for example in range(3):
        [alone] = sample(_Only(model, example), [LONGEST[example]], count=4, seed=3)
        assert alone == together[example]
    assert sample(model, []) == []


@pytest.mark.parametrize("options", [{"count": 0}, {"temperature": 0.0}, {"top_k": 0}, {"nucleus": 1.5}])
def test_wrong_sampling_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        sample(TableModel(FRAMES, 4), LONGEST, **options)
