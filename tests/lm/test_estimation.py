"""Modified Kneser-Ney against its definition."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.lm import KneserNey

from ctcrec.errors import ConfigError, DataError
from ctcrec.lm import NGramLM
from ctcrec.lm.arpa import write_arpa
from ctcrec.lm.estimation import estimate


def text(sentences: int, vocabulary: int, seed: int) -> list[str]:
    """Sentences whose words are Zipf-distributed, so that the counts of counts look like a language's."""
    chance = random.Random(seed)
    words = [f"w{n}" for n in range(vocabulary)]
    weights = [1 / (n + 1) for n in range(vocabulary)]
    return [" ".join(chance.choices(words, weights, k=chance.randint(0, 12))) for _ in range(sentences)]


def log10_of(model: NGramLM, context: tuple[str, ...], word: str) -> float:
    bos = context[:1] == ("<s>",)
    return model.score_words(" ".join((*context[bos:], word)), bos=bos, eos=False)[-1].log10_prob


@pytest.mark.parametrize(("order", "sentences", "vocabulary"), [(1, 50, 40), (2, 200, 60), (3, 300, 50), (4, 60, 10)])
def test_probabilities_are_those_of_the_definition(order: int, sentences: int, vocabulary: int) -> None:
    corpus = text(sentences, vocabulary, order)
    model, oracle = estimate(corpus, order), KneserNey(corpus, order)
    chance = random.Random(1)
    vocabulary_list = sorted(oracle.vocabulary - {"<s>", "</s>"})
    for _ in range(200):
        context = tuple(chance.choices(vocabulary_list, k=chance.randint(0, order - 1)))
        if chance.random() < 0.3:
            context = ("<s>", *context)[: order - 1]
        word = chance.choice(vocabulary_list)
        assert 10 ** log10_of(model, context, word) == pytest.approx(oracle.prob(word, context), rel=2e-5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=6), st.integers(1, 3))
def test_small_texts_give_distributions(corpus: list[list[str]], order: int) -> None:
    """Texts too small for discounts of their own fall back, and every context sums to 1."""
    sentences = [" ".join(words) for words in corpus]
    if not any(corpus):
        with pytest.raises(DataError, match="no words"):
            estimate(sentences, order)
        return
    model = estimate(sentences, order)
    predicted = [word for word in model.words if word not in ("<s>", "</s>")]
    for context in [(), ("<s>",), ("a",), ("<s>", "a"), ("a", "b")]:
        if len(context) < order:
            total = sum(10 ** log10_of(model, context, word) for word in predicted)
            bos = context[:1] == ("<s>",)
            end = model.score_words(" ".join(context[bos:]), bos=bos, eos=True)[-1].log10_prob
            assert total + 10**end == pytest.approx(1.0, abs=1e-4)


def test_pruning_leaves_n_grams_out_and_moves_their_mass() -> None:
    corpus = text(300, 40, 5)
    full, pruned = estimate(corpus, 3), estimate(corpus, 3, prune=[0, 0, 1])
    assert pruned.counts[:2] == full.counts[:2] and pruned.counts[2] < full.counts[2] / 2
    predicted = [word for word in pruned.words if word not in ("<s>", "</s>", "<unk>")]
    context = ("w0", "w1")
    total = sum(10 ** log10_of(pruned, context, word) for word in [*predicted, "<unk>"])
    end = pruned.score_words(" ".join(context), bos=False, eos=True)[-1].log10_prob
    assert total + 10**end == pytest.approx(1.0, abs=1e-4)
    held_out = text(100, 40, 6)
    assert pruned.perplexity(held_out).with_unknown < 1.1 * full.perplexity(held_out).with_unknown


def test_kenlm_reads_what_we_write(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", exc_type=ImportError)
    model = estimate(text(200, 30, 7), 3)
    write_arpa(model, tmp_path / "model.arpa")
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    for sentence in [*text(50, 40, 8), "never seen"]:
        assert model.score(sentence) == pytest.approx(theirs.score(sentence), abs=1e-4)


def test_wrong_arguments() -> None:
    for order, prune in ((0, ()), (7, ()), (2, (1,)), (3, (0, 2, 1))):
        with pytest.raises(ConfigError):
            estimate(["a b"], order, prune=prune)
    with pytest.raises(DataError, match="sentence 2 of the text has </s>"):
        estimate(["a b", "c </s> d"], 2)
