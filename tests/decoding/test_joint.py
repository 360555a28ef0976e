"""CTC prefix scores by enumeration of all paths; joint search between its two ends; rescoring; the safeguard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.attention import TableModel, exhaustive_texts, text_score
from oracles.decoding import sentence_log10, sequence_probabilities

from ctcrec.decoding import BeamDecoder
from ctcrec.decoding.assembly import FusionOptions
from ctcrec.decoding.attention import SearchOptions, beam_search
from ctcrec.decoding.ctc_prefix import CTCPrefixScorer, ctc_log_likelihoods
from ctcrec.decoding.fused_text import TextScorer
from ctcrec.decoding.joint import implausible, joint_search, rescore
from ctcrec.errors import ConfigError, InputError
from ctcrec.lm import NGramLM
from ctcrec.records import Hypothesis

FRAMES = (5, 1, 4)
CLASSES = 3
Text = tuple[int, ...]


def emissions_of(frames: Sequence[int] = FRAMES, classes: int = CLASSES, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(1.5 * torch.randn(t, classes, generator=generator)).log_softmax(1) for t in frames]


def texts_of(emissions: torch.Tensor) -> dict[Text, float]:
    """ln p of every text, all paths enumerated."""
    return sequence_probabilities(emissions.double().numpy(), 0)


def extended(scorer: CTCPrefixScorer, prefix: Text, examples: int) -> Any:
    """The state after the same prefix in every example."""
    state = scorer.start(examples)
    for token in prefix:
        state = scorer.advance(state, torch.arange(examples), torch.full((examples,), token))
    return state


@pytest.mark.parametrize("prefix", [(), (1,), (2,), (1, 1), (1, 2), (2, 1, 1), (1, 1, 1)])
def test_prefix_scores_by_enumeration(prefix: Text) -> None:
    emissions = emissions_of()
    scorer = CTCPrefixScorer(emissions, 0.7)
    scores = scorer.score(extended(scorer, prefix, 3)).tolist()
    for n, one in enumerate(emissions):
        probs = texts_of(one)
        assert scores[n][0] == pytest.approx(0.7 * probs.get(prefix, -math.inf), abs=1e-6)
        for token in range(1, CLASSES):
            longer = (*prefix, token)
            starting = [p for text, p in probs.items() if text[: len(longer)] == longer and p > -math.inf]
            expected = 0.7 * float(np.logaddexp.reduce(starting)) if starting else -math.inf
            assert scores[n][token] == pytest.approx(expected, abs=1e-6)


def test_prefixes_of_an_example_in_any_number_and_order() -> None:
    """Two prefixes each of examples 0 and 2; example 1 is done."""
    emissions = emissions_of()
    scorer = CTCPrefixScorer(emissions, 1.0)
    state = scorer.advance(
        scorer.start(3), torch.tensor([0, 0, 2, 2]), torch.tensor([1, 2, 2, -1])
    )  # example 1 is done
    scores = scorer.score(state)
    for row, (example, prefix) in enumerate([(0, (1,)), (0, (2,)), (2, (2,)), (2, ())]):
        alone = CTCPrefixScorer([emissions[example]], 1.0)
        torch.testing.assert_close(scores[row], alone.score(extended(alone, prefix, 1))[0])


def test_a_prefix_is_at_least_as_probable_as_its_extensions_together() -> None:
    scorer = CTCPrefixScorer(emissions_of((60,), 6), 1.0)
    state, total = scorer.start(1), 0.0
    for _ in range(30):
        scores = scorer.score(state)[0]
        assert float(scores.logsumexp(0)) == pytest.approx(total, abs=1e-5)  # the end and all else
        token = int(scores[1:].argmax()) + 1
        total = float(scores[token])
        state = scorer.advance(state, torch.tensor([0]), torch.tensor([token]))


def test_long_and_certain_emissions() -> None:
    """Scores far below e^-700 stay right where they matter."""
    emissions = torch.full((400, 3), -30.0)
    emissions[:, 0] = 0.0
    emissions[5::4, 0], emissions[5::4, 1] = -30.0, 0.0
    scorer = CTCPrefixScorer([emissions.log_softmax(1)], 1.0)
    state = extended(scorer, (1,) * 98, 1)
    scores = scorer.score(state)[0]
    assert scores[1] > -1e-3 and -40 < scores[2] < -25 and -40 < scores[0] < -25
    wrong = scorer.score(extended(scorer, (2,) * 40, 1))[0]  # each a substitution
    assert -40 * 31 < wrong[1] < -40 * 29


def test_likelihoods_by_enumeration() -> None:
    emissions = emissions_of()
    for text in [(), (1,), (1, 1), (2, 1, 2), (1, 1, 1), (1, 1, 1, 1)]:
        found = ctc_log_likelihoods(emissions, [text] * 3)
        assert found == pytest.approx([texts_of(one).get(text, -math.inf) for one in emissions], abs=1e-5)


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────

WIDE = SearchOptions(beam_size=400, nbest=4, beam_threshold=math.inf)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("normalized", [False, True])
def test_joint_search_is_exhaustive(weight: float, normalized: bool) -> None:
    model, emissions = TableModel(FRAMES, CLASSES), emissions_of()
    options = SearchOptions(
        beam_size=400, nbest=4, beam_threshold=math.inf, length_normalization="length" if normalized else "none"
    )
    results = joint_search(model, emissions, [4, 2, 4], options, weight)
    for n, (found, longest) in enumerate(zip(results, [4, 2, 4], strict=True)):
        probs = texts_of(emissions[n])

        def ctc(text: Text, probs: dict[Text, float] = probs) -> float:
            return weight * probs.get(text, -math.inf) if weight else 0.0

        expected = exhaustive_texts(model, n, options, longest, ctc, 1 - weight)
        expected = [item for item in expected if item[1] > -math.inf][:4]
        assert [(item.tokens, pytest.approx(item.rank, abs=1e-5)) for item in found] == expected


def test_weight_zero_is_attention() -> None:
    model, emissions = TableModel((9,) * 8, 4, end=0.3), emissions_of((9,) * 8, 4)
    options = SearchOptions(beam_size=4, nbest=3)
    assert joint_search(model, emissions, [6] * 8, options, 0.0) == beam_search(model, [6] * 8, options)


def test_weight_one_is_ctc() -> None:
    """The same best texts and scores as the frame-by-frame beam search of CTC, and attention has no say."""
    emissions = emissions_of((7,) * 8, 4, seed=4)
    options = SearchOptions(beam_size=30, beam_threshold=math.inf)
    decoder = BeamDecoder(["<blank>", "a", "b", "c"], beam_size=3000, beam_threshold=1e9)
    expected = decoder(emissions)
    for seed in (0, 1):
        found = joint_search(TableModel((7,) * 8, 4, seed=seed), emissions, [7] * 8, options, 1.0)
        for [ours], [theirs] in zip(found, expected, strict=True):
            assert ours.tokens == theirs.tokens
            assert ours.score == pytest.approx(theirs.score, abs=1e-4)


def test_one_alone_equals_one_in_a_batch() -> None:
    frames = (9, 2, 6, 5)
    model, emissions = TableModel(frames, 4), emissions_of(frames, 4)
    together = joint_search(model, emissions, [9, 2, 6, 5], SearchOptions(beam_size=5, nbest=2), 0.4)
    for n in range(4):

        class Only:
            step, select = staticmethod(model.step), staticmethod(model.select)

            def start(self, n: int = n) -> Any:
                return [(n, ())]

        [alone] = joint_search(Only(), [emissions[n]], [frames[n]], SearchOptions(beam_size=5, nbest=2), 0.4)
        for ours, theirs in zip(alone, together[n], strict=True):
            assert ours.tokens == theirs.tokens
            assert ours.rank == pytest.approx(theirs.rank, abs=1e-9)


def test_words_hotwords_and_masks_count_in_the_search() -> None:
    """The scores of finished texts are attention's plus what BeamDecoder's fusion adds, exhaustively."""
    tokens = ["<blank>", " ", "a", "b"]
    model = TableModel((4,), 4, seed=8)
    options = FusionOptions(word_score=0.8, hotwords={"ab": 2.0}, lexicon=["ab", "a", "ba"], unknown_score=-1.5)
    scorer = TextScorer(tokens, options)

    def added(text: Text) -> float:
        words = "".join(tokens[token] for token in text).split()
        hits = f" {' '.join(words)} ".count(" ab ")
        return 0.8 * len(words) + 2.0 * hits - 1.5 * sum(word not in ("ab", "a", "ba") for word in words)

    [found] = beam_search(model, [4], WIDE, [scorer])
    expected = exhaustive_texts(model, 0, WIDE, 4, added)[:4]
    assert [(item.tokens, pytest.approx(item.rank, abs=1e-6)) for item in found] == expected
    closed = TextScorer(tokens, FusionOptions(lexicon=["ab", "ba"]))
    [found] = beam_search(model, [4], WIDE, [closed])
    words = ["".join(tokens[token] for token in item.tokens).split() for item in found]
    assert all(set(text) <= {"ab", "ba"} for text in words) and any(words)


ENTRIES = {  # log10 p, log10 back-off
    ("<unk>",): (-2.0, 0.0),
    ("<s>",): (-9.0, -0.3),
    ("</s>",): (-0.9, 0.0),
    ("a",): (-0.5, -0.2),
    ("ab",): (-1.1, -0.4),
    ("a", "ab"): (-0.2, 0.0),
    ("<s>", "ab"): (-0.4, 0.0),
    ("ab", "</s>"): (-0.1, 0.0),
}


@pytest.fixture
def lm(tmp_path: Path) -> NGramLM:
    lines = ["\\data\\", "ngram 1=5", "ngram 2=3"]
    for order in (1, 2):
        lines += ["", f"\\{order}-grams:"]
        rows = [(key, values) for key, values in ENTRIES.items() if len(key) == order]
        lines += [f"{p}\t{' '.join(key)}" + (f"\t{backoff}" if order == 1 else "") for key, (p, backoff) in rows]
    path = tmp_path / "model.arpa"
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return NGramLM.load(path)


@pytest.mark.parametrize("unit", ["word", "token"])
def test_language_model_counts_in_the_search(unit: str, lm: NGramLM) -> None:
    tokens = ["<blank>", " ", "a", "ab"]
    model, emissions = TableModel((4,), 4, seed=3), emissions_of((4,), 4)
    scorer = TextScorer(tokens, FusionOptions(lm=lm, lm_unit=unit, lm_weight=0.6, unknown_score=None))
    probs = texts_of(emissions[0])

    def added(text: Text) -> float:
        names = [tokens[token] for token in text]
        words = names if unit == "token" else "".join(names).split()
        known = [word if (word,) in ENTRIES else "<unk>" for word in words]
        fused = 0.6 * math.log(10) * sentence_log10(ENTRIES, known)
        fused -= 10.0 * sum(word == "<unk>" for word in known) if unit == "word" else 0.0  # BeamDecoder's default
        return fused + 0.4 * probs.get(text, -math.inf)

    [found] = joint_search(model, emissions, [4], WIDE, 0.4, [scorer])
    expected = exhaustive_texts(model, 0, WIDE, 4, added, 0.6)[:4]
    assert [(item.tokens, pytest.approx(item.rank, abs=1e-4)) for item in found] == expected


def test_weights_out_of_range() -> None:
    with pytest.raises(ConfigError, match="ctc_weight must be from 0 to 1"):
        joint_search(TableModel((3,), 3), emissions_of((3,)), [3], WIDE, 1.5)
    with pytest.raises(ConfigError, match="more than 0"):
        CTCPrefixScorer(emissions_of(), 0.0)
    with pytest.raises(InputError, match="utterance 1: zero frames"):
        CTCPrefixScorer([torch.zeros(3, 3).log_softmax(1), torch.zeros(0, 3)], 0.5)


# ── rescoring and the safeguard ──────────────────────────────────────────────────────────────────────────────────────


def test_rescoring() -> None:
    nbest = [
        Hypothesis("a", (1,), -1.0, acoustic_score=-1.5, lm_score=0.5),
        Hypothesis("b", (2,), -2.0),
        Hypothesis("", (), -3.0),
    ]
    found = rescore(nbest, [-9.0, -1.0, -2.0], 0.25)
    assert [item.tokens for item in found] == [(2,), (), (1,)]
    assert [item.score for item in found] == pytest.approx([-0.75 - 0.5, -1.5 - 0.75, -6.75 - 0.375 + 0.5])
    assert [item.tokens for item in rescore(nbest, [-math.inf] * 3, 1.0)] == [(1,), (2,), ()]
    with pytest.raises(InputError, match="2 attention scores for 3 hypotheses"):
        rescore(nbest, [0.0, 0.0], 0.5)


def test_a_loop_and_a_skip_are_implausible_and_a_variant_is_not() -> None:
    """Frames that clearly say 1 2 3 1 2 3, with some doubt in one place."""
    said = (1, 2, 3, 1, 2, 3)
    emissions = torch.full((24, 4), -9.0)
    emissions[:, 0] = 0.0
    for place, token in enumerate(said):
        emissions[4 * place + 1, 0], emissions[4 * place + 1, token] = -9.0, 0.0
    emissions[9, 1] = -1.0  # the first 3 might be a 1
    emissions = emissions.log_softmax(1)
    texts = {"said": said, "variant": (1, 2, 1, 1, 2, 3), "loop": said + (1, 2, 3), "skip": said[:3]}
    scores = dict(zip(texts, ctc_log_likelihoods([emissions] * 4, list(texts.values())), strict=True))
    flagged = {name: implausible(score, scores["said"], 6, 2.0) for name, score in scores.items()}
    assert flagged == {"said": False, "variant": False, "loop": True, "skip": True}
    assert implausible(-math.inf, -3.0, 0, 2.0)


def test_both_heads_are_needed() -> None:
    """A text that is second for each head can be first for both."""
    model, emissions = TableModel(FRAMES, CLASSES, seed=11), emissions_of(seed=11)
    best = {weight: joint_search(model, emissions, [4, 1, 4], WIDE, weight) for weight in (0.0, 0.5, 1.0)}
    tops = {weight: [items[0].tokens for items in found] for weight, found in best.items()}
    assert len(set(map(tuple, tops.values()))) == 3
    for n, [top, *_] in enumerate(best[0.5]):
        attention = text_score(model, n, top.tokens, WIDE, [4, 1, 4][n])
        assert top.score == pytest.approx(0.5 * attention + 0.5 * texts_of(emissions[n])[top.tokens], abs=1e-5)
