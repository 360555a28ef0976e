"""Modified Kneser-Ney by its definition, one probability at a time, with dictionaries (Chen & Goodman 1998)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache


class KneserNey:
    """p(word | context) of an interpolated modified Kneser-Ney model of the sentences."""

    def __init__(self, sentences: Sequence[str], order: int) -> None:
        self.order = order
        padded = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
        self.vocabulary = {word for sentence in padded for word in sentence} | {"<unk>"}
        raw = {k: Counter(s[i : i + k] for s in padded for i in range(len(s) - k + 1)) for k in range(1, order + 1)}
        self.counts: dict[int, dict[tuple[str, ...], int]] = {order: dict(raw[order])}
        for k in range(1, order):
            left: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for ngram in raw[k + 1]:
                left[ngram[1:]].add(ngram[0])
            self.counts[k] = {ngram: raw[k][ngram] if ngram[0] == "<s>" else len(left[ngram]) for ngram in raw[k]}
        self.counts[1].pop(("<s>",), None)
        self.discounts = {k: self._discounts(list(self.counts[k].values())) for k in self.counts}

    @staticmethod
    def _discounts(values: list[int]) -> tuple[float, float, float]:
        t = [0, *(values.count(j) for j in range(1, 5))]
        if all(t[1:]):
            y = t[1] / (t[1] + 2 * t[2])
            d = tuple(j - (j + 1) * y * t[j + 1] / t[j] for j in (1, 2, 3))
            if all(0 <= value <= j for j, value in enumerate(d, start=1)):
                return d
        return (0.5, 1.0, 1.5)

    def prob(self, word: str, context: tuple[str, ...]) -> float:
        context = context[max(0, len(context) - self.order + 1) :]
        return self._prob(word, context)

    @cache  # noqa: B019 - lives as long as one test
    def _prob(self, word: str, context: tuple[str, ...]) -> float:
        k = len(context) + 1
        following = {ngram[-1]: count for ngram, count in self.counts[k].items() if ngram[:-1] == context}
        lower = 1 / (len(self.vocabulary) - 1) if k == 1 else self._prob(word, context[1:])
        if not following:
            return lower
        discount = self.discounts[k]
        total = sum(following.values())
        count = following.get(word, 0)
        taken = sum(discount[min(value, 3) - 1] for value in following.values())
        own = max(count - discount[min(count, 3) - 1], 0.0) if count else 0.0
        return own / total + taken / total * lower
