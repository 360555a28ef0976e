"""Prefix beam search against exhaustive search, -ctc_loss, and itself in other batches and chunks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.decoding import exhaustive, sequence_probabilities

from ctcrec.decoding import BeamDecoder
from ctcrec.errors import ConfigError, InputError
from ctcrec.records import Hypothesis

TOKENS = ["-", "a", "b", " "]
EVERYTHING = {"beam_size": 2000, "beam_threshold": math.inf}


def emissions(seed: int, frames: int, classes: int, scale: float = 1.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, classes)) * scale
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), dim=1).numpy()


def minus_ctc_loss(log_probs: np.ndarray, tokens: tuple[int, ...], blank: int) -> float:
    loss = torch.nn.functional.ctc_loss(
        torch.tensor(log_probs, dtype=torch.float64)[:, None],
        torch.tensor([tokens], dtype=torch.long).reshape(1, -1),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(tokens)]),
        blank=blank,
        reduction="sum",
    )
    return -loss.item()


def compare(hypotheses: list[Hypothesis], expected: list[tuple[str, float]]) -> None:
    assert [hypothesis.score for hypothesis in hypotheses] == pytest.approx([score for _, score in expected], abs=1e-6)
    scores = dict(expected)
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(scores[hypothesis.text], abs=1e-6)


def test_the_best_path_is_not_the_best_text() -> None:
    """Two frames, p(blank) = 0.6 and p(a) = 0.4: the best path is empty, but "a" has 0.64 (Graves 2012, figure 7.5)."""
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], dtype=np.float32))
    [[first, second]] = BeamDecoder(["-", "a"])([log_probs], nbest=2)
    assert (first.text, second.text) == ("a", "")
    assert math.exp(first.score) == pytest.approx(0.64)
    assert first.confidence == pytest.approx(0.64)
    assert first.token_spans[0].confidence == pytest.approx(0.64)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 3), st.sampled_from([0.3, 1.0, 4.0]))
def test_without_pruning_it_is_exhaustive_search(seed: int, frames: int, blank: int, scale: float) -> None:
    log_probs = emissions(seed, frames, 4, scale)
    tokens = TOKENS[1:]
    tokens.insert(blank, "-")
    [hypotheses] = BeamDecoder(tokens, blank=blank, **EVERYTHING)([log_probs], nbest=10_000)
    compare(hypotheses, exhaustive(log_probs, tokens, blank))
    assert len({hypothesis.text for hypothesis in hypotheses}) == len(hypotheses)
    sums = sequence_probabilities(log_probs, blank)
    for hypothesis in hypotheses:
        assert hypothesis.acoustic_score == pytest.approx(sums[hypothesis.tokens], abs=1e-6)
        assert hypothesis.lm_score == pytest.approx(0.0, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 2), st.sampled_from([1.0, 6.0]))
def test_scores_are_minus_ctc_loss(seed: int, frames: int, classes: int, scale: float) -> None:
    """Up to 9 frames, so that nothing is pruned."""
    log_probs = emissions(seed, frames, classes + 1, scale)
    [hypotheses] = BeamDecoder(["-", *"ab"[:classes]], **EVERYTHING)([log_probs], nbest=20)
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(minus_ctc_loss(log_probs, hypothesis.tokens, 0), abs=1e-4)


@pytest.mark.parametrize("scale", [0.5, 2.0, 6.0])
def test_the_bookkeeping_of_a_long_search_is_sound(scale: float) -> None:
    """Many prefixes leave the beam and come back; the score never exceeds the exact one, and nearly reaches it."""
    log_probs = emissions(0, 400, 12, scale)
    [hypotheses] = BeamDecoder(["-", *"abcdefghijk"], beam_size=60)([log_probs], nbest=30)
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert len({hypothesis.tokens for hypothesis in hypotheses}) == 30
    for hypothesis in hypotheses:
        exact = minus_ctc_loss(log_probs, hypothesis.tokens, 0)
        assert exact - 40 / scale < hypothesis.score <= exact + 1e-6


def test_a_wider_beam_is_not_worse_and_a_narrow_one_is_a_search() -> None:
    log_probs = emissions(1, 100, 8, 2.0)
    scores = [
        minus_ctc_loss(log_probs, BeamDecoder(list("-abcdefg"), beam_size=size)([log_probs])[0][0].tokens, 0)
        for size in (1, 10, 100)
    ]
    assert scores[0] < scores[1] <= scores[2] + 1e-9


def test_token_limit_and_threshold_prune() -> None:
    log_probs = emissions(2, 6, 4, 1.0)
    best_two = np.argsort(-log_probs, axis=1)[:, :2]
    [hypotheses] = BeamDecoder(TOKENS, beam_size_token=1, **EVERYTHING)([log_probs], nbest=1000)
    nonblank_best = {int(np.argmax(frame[1:])) + 1 for frame in log_probs}
    assert {token for hypothesis in hypotheses for token in hypothesis.tokens} <= nonblank_best
    assert best_two.shape == (6, 2)
    [close] = BeamDecoder(TOKENS, beam_size=2000, beam_threshold=2.0)([log_probs], nbest=1000)
    assert 1 <= len(close) < 50
    assert close[0].score - close[-1].score <= 2.0


def test_blank_frames_are_skipped_without_joining_repeats() -> None:
    """a, certain blank, a stays "aa"; and the score is as good as that of the full search."""
    frames = np.full((5, 3), 1e-7)
    frames[[0, 4], 1] = 1.0
    frames[1:4, 0] = 1.0
    log_probs = np.log(frames / frames.sum(axis=1, keepdims=True)).astype(np.float32)
    [[full]] = BeamDecoder(["-", "a", "b"])([log_probs])
    [[skipped]] = BeamDecoder(["-", "a", "b"], blank_skip_threshold=0.999)([log_probs])
    assert full.text == skipped.text == "aa"
    assert skipped.score == pytest.approx(full.score, abs=1e-4)


def test_results_do_not_depend_on_batch_order_padding_or_threads() -> None:
    lengths = [3, 40, 17, 29]
    batch = np.stack([emissions(seed, 40, 4) for seed in range(4)])
    decoder = BeamDecoder(TOKENS, beam_size=20)
    together = decoder(torch.tensor(batch), torch.tensor(lengths), nbest=5, threads=2)
    alone = [decoder([batch[n, : lengths[n]]], nbest=5, threads=1)[0] for n in range(4)]
    assert together == alone
    assert decoder(batch[::-1].astype(np.float64), lengths[::-1], nbest=5)[::-1] == alone


def test_spans_are_those_of_the_best_alignment() -> None:
    path = [0, 1, 1, 0, 1, 3, 0, 2, 2, 2, 0]
    probs = np.full((len(path), 4), 0.02)
    probs[np.arange(len(path)), path] = 0.94
    [[hypothesis]] = BeamDecoder(TOKENS)([np.log(probs)])
    assert hypothesis.text == "aa b"
    spans = [(span.token, span.start, span.end) for span in hypothesis.token_spans]
    assert spans == [("a", 1, 3), ("a", 4, 5), (" ", 5, 6), ("b", 7, 10)]
    assert [(span.word, span.start, span.end) for span in hypothesis.word_spans] == [("aa", 1, 5), ("b", 7, 10)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_spans_go_forward_and_fit(seed: int, frames: int) -> None:
    for hypothesis in BeamDecoder(TOKENS, beam_size=10)([emissions(seed, frames, 4)], nbest=10)[0]:
        edges = [edge for span in hypothesis.token_spans for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert all(0 <= span.start < span.end <= frames for span in hypothesis.token_spans)
        assert all(0.0 <= span.confidence <= 1.0 for span in (*hypothesis.token_spans, *hypothesis.word_spans))


def test_confidences_are_posterior_mass_of_the_beam() -> None:
    """By enumeration: the mass of all texts that have the word in that place."""
    log_probs = emissions(5, 5, 4, 1.5)
    [hypotheses] = BeamDecoder(TOKENS, **EVERYTHING)([log_probs], nbest=10_000)
    best = hypotheses[0]
    sums = sequence_probabilities(log_probs, 0)
    texts: dict[str, float] = {}
    for sequence, score in sums.items():
        text = " ".join("".join(TOKENS[token] for token in sequence).split())
        texts[text] = texts.get(text, 0.0) + math.exp(score)
    assert best.confidence == pytest.approx(texts[best.text], abs=0.02)
    assert len(best.word_spans) == 1
    alone = sum(mass for text, mass in texts.items() if best.text in text.split())
    assert best.word_spans[0].confidence == pytest.approx(alone, abs=0.02)


def test_a_higher_temperature_is_less_confident() -> None:
    log_probs = emissions(6, 30, 4, 3.0)
    cold, hot = (BeamDecoder(TOKENS, temperature=t)([log_probs])[0][0].confidence for t in (1.0, 5.0))
    assert cold is not None and hot is not None and hot < cold


def test_a_large_alphabet() -> None:
    tokens = ["<blank>", *(chr(0x4E00 + n) for n in range(19_999))]
    log_probs = emissions(7, 8, 20_000)
    path = [5, 5, 0, 19_999, 0, 7, 7, 0]
    log_probs[np.arange(8), path] = -0.01
    [[hypothesis]] = BeamDecoder(tokens, beam_size=20)([log_probs])
    assert hypothesis.tokens == (5, 19_999, 7)


def test_impossible_tokens_are_never_written() -> None:
    log_probs = emissions(8, 6, 4)
    log_probs[:, 1] = -math.inf
    [hypotheses] = BeamDecoder(TOKENS, **EVERYTHING)([log_probs], nbest=10_000)
    assert all(1 not in hypothesis.tokens for hypothesis in hypotheses)
    log_probs[:, 0] = -math.inf  # no blank: repeats cannot be parted
    [hypotheses] = BeamDecoder(TOKENS, **EVERYTHING)([log_probs], nbest=10_000)
    assert hypotheses and all(a != b for h in hypotheses for a, b in zip(h.tokens, h.tokens[1:], strict=False))


def test_extreme_confidence_does_not_underflow() -> None:
    log_probs = np.full((200, 3), -90.0, dtype=np.float32)
    log_probs[np.arange(200), np.arange(200) % 3] = 0.0
    [[hypothesis]] = BeamDecoder(["-", "a", "b"], beam_size=10)([log_probs])
    assert hypothesis.text == "ab" * 66 + "a"
    assert hypothesis.score == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:0], "utterance second: zero frames"),
        (lambda x: x[:, :3], r"utterance second: emissions must be \(T, 4\)"),
        (lambda x: np.where(np.arange(5)[:, None] == 3, np.nan, x), "utterance second: NaN at frame 3"),
        (lambda x: np.where(np.arange(5)[:, None] == 2, np.inf, x), r"utterance second: \+inf at frame 2"),
        (lambda x: np.where(np.arange(5)[:, None] == 4, -np.inf, x), "utterance second: only -inf at frame 4"),
        (lambda x: x + 3.0, "log_softmax"),
    ],
)
def test_unusable_emissions_name_the_utterance(change, message: str) -> None:  # type: ignore[no-untyped-def]
    good = emissions(0, 5, 4)
    with pytest.raises(InputError, match=message):
        BeamDecoder(TOKENS)([good, change(good)], ids=["first", "second"])


def test_wrong_arguments() -> None:
    one = emissions(0, 5, 4)
    decoder = BeamDecoder(TOKENS)
    with pytest.raises(InputError, match="put one example into a list"):
        decoder(one)
    with pytest.raises(InputError, match="length of utterance 0"):
        decoder(one[None], [6])
    with pytest.raises(InputError, match="cut the"):
        decoder([one], [5])
    assert decoder([]) == []
    for options in (
        {"beam_size": 0}, {"beam_threshold": 0.0}, {"beam_size_token": 0}, {"blank_skip_threshold": 0.0},
        {"temperature": -1.0}, {"lm_weight": 0.5}, {"unknown_score": -1.0}, {"hotword_weight": 1.0},
        {"unknown_letter_score": -1.0},
        {"lm_unit": "char"}, {"lm_unit": "token"}, {"word_score": math.inf}, {"hotwords": []},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            BeamDecoder(TOKENS, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="blank"):
        BeamDecoder(TOKENS, blank=4)
