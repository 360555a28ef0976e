"""Language model, lexicon, hotwords and masks in the search, against exhaustive search."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.decoding import NGrams, exhaustive

from ctcrec.decoding import BeamDecoder
from ctcrec.errors import ConfigError, InputError
from ctcrec.lm import NGramLM

TOKENS = ["-", "a", "b", " "]
PIECES = ["-", "▁a", "b", "▁ab"]
EVERYTHING = {"beam_size": 3000, "beam_threshold": math.inf}
WEIGHTS = {"lm_weight": 0.7, "word_score": 0.4}


def emissions(seed: int, frames: int, classes: int = 4) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, classes)) * 1.5
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), dim=1).numpy()


def random_ngrams(words: list[str], seed: int) -> NGrams:
    """A trigram model with random entries (not a distribution, but what a search must add up all the same)."""
    chance = np.random.default_rng(seed)

    def entry() -> tuple[float, float]:
        return -round(float(chance.uniform(0.1, 2.0)), 4), -round(float(chance.uniform(0.0, 0.6)), 4)

    entries = {(word,): entry() for word in ["<unk>", "<s>", "</s>", *words]}
    for length in (2, 3):
        for context in [key for key in entries if len(key) == length - 1 and key[-1] not in ("</s>", "<unk>")]:
            if length == 3 and context[1:] not in entries:
                continue
            for word in [*words, "</s>"]:
                if chance.random() < 0.5 and (*context[1:], word) in entries:
                    entries[(*context, word)] = entry()
    return entries


def as_arpa(entries: NGrams, path: Path) -> Path:
    lines = ["\\data\\"]
    lengths = sorted({len(key) for key in entries})
    lines += [f"ngram {k}={sum(len(key) == k for key in entries)}" for k in lengths]
    for k in lengths:
        lines += ["", f"\\{k}-grams:"]
        for key, (prob, backoff) in entries.items():
            if len(key) == k:
                lines.append(f"{prob}\t{' '.join(key)}" + (f"\t{backoff}" if k < lengths[-1] else ""))
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[NGrams, NGramLM]:
    entries = random_ngrams(["a", "ab", "ba", "bb"], 0)
    return entries, NGramLM.load(as_arpa(entries, tmp_path_factory.mktemp("lm") / "words.arpa"))


def check(decoder: BeamDecoder, log_probs: np.ndarray, expected: list[tuple[str, float]]) -> None:
    [hypotheses] = decoder([log_probs], nbest=100_000)
    if not expected:
        assert [(h.text, h.score, h.confidence) for h in hypotheses] == [("", -math.inf, 0.0)]
        return
    assert [h.score for h in hypotheses] == pytest.approx([score for _, score in expected], abs=1e-5)
    scores = dict(expected)
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(scores[hypothesis.text], abs=1e-5)
        assert hypothesis.acoustic_score is not None and hypothesis.lm_score is not None
        assert hypothesis.acoustic_score + hypothesis.lm_score == pytest.approx(hypothesis.score)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 5), pieces=st.booleans())
def test_word_language_model(words: tuple[NGrams, NGramLM], seed: int, frames: int, pieces: bool) -> None:
    entries, lm = words
    tokens = PIECES if pieces else TOKENS
    log_probs = emissions(seed, frames)
    options = {"unknown_score": -1.5, "unknown_letter_score": -0.7, **WEIGHTS}
    decoder = BeamDecoder(tokens, lm=lm, **options, **EVERYTHING)
    known = {"a", "ab", "ba", "bb"}
    check(decoder, log_probs, exhaustive(log_probs, tokens, 0, lm=entries, known=known, **options))


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 5), closed=st.booleans(), with_lm=st.booleans())
def test_lexicon(words: tuple[NGrams, NGramLM], seed: int, frames: int, closed: bool, with_lm: bool) -> None:
    entries, lm = words
    lexicon = ["ab", "b", "ba"]
    log_probs = emissions(seed, frames)
    unknown = None if closed else -2.0
    options = {"lm": lm, **WEIGHTS} if with_lm else {}
    letter = {} if closed else {"unknown_letter_score": -0.5}
    decoder = BeamDecoder(TOKENS, lexicon=lexicon, unknown_score=unknown, **letter, **options, **EVERYTHING)
    # a lexicon's word that the language model lacks is <unk> to it, and so are words outside the lexicon
    inside = {key: value for key, value in entries.items() if {*key} <= {*lexicon, "<s>", "</s>", "<unk>"}}
    expected = exhaustive(
        log_probs,
        TOKENS,
        0,
        lexicon=set(lexicon),
        unknown_score=unknown,
        known=set(lexicon),
        **letter,
        **({"lm": inside, **WEIGHTS} if with_lm else {}),
    )
    check(decoder, log_probs, expected)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), frames=st.integers(3, 6))
def test_letters_of_unknown_words_and_of_hotwords(seed: int, frames: int) -> None:
    """`bba` is a hotword and unknown, and so is the second word of `a bbb`; other words are unknown only."""
    log_probs = emissions(seed, frames)
    hotwords = {"bba": 1.5, "a bbb": 1.0}
    options = {"unknown_score": -1.0, "unknown_letter_score": -0.7, "hotwords": hotwords}
    decoder = BeamDecoder(TOKENS, lexicon=["a"], **options, **EVERYTHING)
    check(decoder, log_probs, exhaustive(log_probs, TOKENS, 0, known={"a"}, **options))


def test_an_unknown_hotword_costs_no_letters(words: tuple[NGrams, NGramLM]) -> None:
    """A name that the model lacks is written where it is asked for, however long it is."""
    _, lm = words
    name = "baabbaab"
    log_probs = np.full((2 * len(name), len(TOKENS)), math.log(0.02), dtype=np.float32)
    for place, letter in enumerate(name):
        log_probs[2 * place, TOKENS.index(letter)] = math.log(0.94)
        log_probs[2 * place + 1, 0] = math.log(0.94)
    scores = {}
    for letter_score in (0.0, -5.0):
        decoder = BeamDecoder(TOKENS, lm=lm, lm_weight=0.5, unknown_letter_score=letter_score, hotwords=[name])
        best = decoder([log_probs])[0][0]
        assert best.text == name
        scores[letter_score] = best.score
    assert scores[0.0] == pytest.approx(scores[-5.0])
    assert BeamDecoder(TOKENS, lm=lm, lm_weight=0.5, unknown_letter_score=-5.0)([log_probs])[0][0].text != name


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 5))
def test_token_language_model(seed: int, frames: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    entries = random_ngrams(["a", "b", "|"], seed)
    lm = NGramLM.load(as_arpa(entries, tmp_path_factory.mktemp("lm") / "tokens.arpa"))
    log_probs = emissions(seed, frames)
    tokens = ["-", "a", "b", " "]
    spaced = {tuple(" " if word == "|" else word for word in key): value for key, value in entries.items()}
    decoder = BeamDecoder(tokens, lm=lm, lm_unit="token", **WEIGHTS, **EVERYTHING)
    check(decoder, log_probs, exhaustive(log_probs, tokens, 0, token_lm=spaced, **WEIGHTS))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 6), tokens=st.sampled_from([TOKENS, PIECES, ["-", "a", "b"]]))
def test_hotwords(seed: int, frames: int, tokens: list[str]) -> None:
    log_probs = emissions(seed, frames, len(tokens))
    hotwords = (
        {"ab": 2.0, "b": -1.0, "a": 0.5} if len(tokens) == 3 else {"ab a": 3.0, "a": 0.7, "ab": -0.5, "a ab": 2.0}
    )
    decoder = BeamDecoder(tokens, hotwords=hotwords, **EVERYTHING)
    check(decoder, log_probs, exhaustive(log_probs, tokens, 0, hotwords=hotwords))


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 5),
    tokens=st.sampled_from([TOKENS, PIECES]),
    pattern=st.sampled_from(["a*", "(ab|b)+( a)?", "[^a]{1,2}", r"\w+ \w", "a(ba)*", "b{3,}", ".?.?"]),
)
def test_patterns(seed: int, frames: int, tokens: list[str], pattern: str) -> None:
    log_probs = emissions(seed, frames)
    check(
        BeamDecoder(tokens, pattern=pattern, **EVERYTHING),
        log_probs,
        exhaustive(log_probs, tokens, 0, pattern=pattern),
    )


def test_allowed_characters() -> None:
    log_probs = emissions(3, 5)
    decoder = BeamDecoder(TOKENS, characters="b", **EVERYTHING)
    check(decoder, log_probs, exhaustive(log_probs, TOKENS, 0, characters={"b"}))


def test_everything_at_once(words: tuple[NGrams, NGramLM]) -> None:
    entries, lm = words
    for seed in range(5):
        log_probs = emissions(seed, 5)
        unknown = {"unknown_score": -1.0, "unknown_letter_score": -2.0}
        options = {"hotwords": {"ab": 1.0}, "pattern": "[ab ]+", **unknown, **WEIGHTS}
        decoder = BeamDecoder(TOKENS, lm=lm, **options, **EVERYTHING)
        known = {"a", "ab", "ba", "bb"}
        expected = exhaustive(log_probs, TOKENS, 0, lm=entries, known=known, **options)
        check(decoder, log_probs, expected)


def test_a_narrow_beam_finds_the_hotword_that_partial_matches_kept() -> None:
    """The hotword is acoustically worse letter by letter; only its promise keeps it in a beam of 3."""
    tokens = ["-", " ", *"abcdefgh"]
    log_probs = np.full((12, len(tokens)), math.log(0.01), dtype=np.float32)
    for frame, (right, heard) in enumerate(itertools.chain(zip("abcdef", "ghghgh", strict=True))):
        log_probs[2 * frame, tokens.index(heard)] = math.log(0.6)
        log_probs[2 * frame, tokens.index(right)] = math.log(0.2)
        log_probs[2 * frame + 1, 0] = math.log(0.9)
    log_probs = torch.log_softmax(torch.tensor(log_probs), dim=1).numpy()
    assert BeamDecoder(tokens, beam_size=3)([log_probs])[0][0].text == "ghghgh"
    assert BeamDecoder(tokens, beam_size=3, hotwords=["abcdef"])([log_probs])[0][0].text == "abcdef"


def test_weights_can_be_changed_without_building_again(words: tuple[NGrams, NGramLM]) -> None:
    _, lm = words
    log_probs = emissions(9, 20)
    first = BeamDecoder(TOKENS, lm=lm, lm_weight=0.2, word_score=0.1, hotwords=["ab"])
    again = first.reweighted(lm_weight=0.9, word_score=-0.3, beam_size=30, unknown_score=-3.0)
    fresh = BeamDecoder(
        TOKENS, lm=lm, lm_weight=0.9, word_score=-0.3, beam_size=30, unknown_score=-3.0, hotwords=["ab"]
    )
    assert again([log_probs], nbest=10) == fresh([log_probs], nbest=10)
    plain = BeamDecoder(TOKENS, lm=lm, lm_weight=0.2, word_score=0.1)
    assert plain.with_hotwords(["ab"])([log_probs]) == first([log_probs])


def test_without_sentence_boundaries(words: tuple[NGrams, NGramLM]) -> None:
    _, lm = words
    log_probs = emissions(10, 12)
    for hypothesis in BeamDecoder(TOKENS, lm=lm, lm_weight=1.0, lm_boundary=False)([log_probs], nbest=5)[0]:
        known = sum(word not in lm for word in hypothesis.text.split())
        expected = math.log(10) * lm.score(hypothesis.text, bos=False, eos=False) - 10.0 * known
        assert hypothesis.lm_score == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_a_stream_is_the_whole(words: tuple[NGrams, NGramLM], seed: int, sizes: list[int]) -> None:
    _, lm = words
    log_probs = emissions(seed, max(sum(sizes), 1))
    decoder = BeamDecoder(TOKENS, lm=lm, beam_size=8, hotwords=["ab"])
    stream = decoder.stream()
    stable: tuple[int, ...] = ()
    start = 0
    for size in [*sizes, 1]:
        partial = stream.push(log_probs[start : start + size])
        start += size
        assert partial.tokens[: len(stable)] == stable
        stable = partial.tokens[: partial.stable]
    final = stream.finish(nbest=5)
    assert final == decoder([log_probs], nbest=5)[0]
    assert final[0].tokens[: len(stable)] == stable
    with pytest.raises(InputError, match="finished"):
        stream.push(log_probs)


def test_long_streams_forget_what_they_do_not_need(words: tuple[NGrams, NGramLM]) -> None:
    log_probs = emissions(11, 3000)
    decoder = BeamDecoder(TOKENS, beam_size=10)
    stream = decoder.stream()
    for start in range(0, 3000, 100):
        stream.push(log_probs[start : start + 100])
    assert stream.finish() == decoder([log_probs])[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hotwords": ["ab", "xyz"]}, InputError, "hotword 'xyz' cannot be written"),
        ({"hotwords": {"ab": math.nan}}, ConfigError, "weight of hotword 'ab'"),
        ({"hotwords": {"ab": 1.0}, "hotword_weight": 2.0}, ConfigError, "weights of their own"),
        ({"lexicon": ["ab", "AB"]}, InputError, "1 of 2 words of the lexicon .*'AB'"),
        ({"lexicon": []}, InputError, "empty"),
        ({"pattern": "(a"}, InputError, "not a regular expression"),
        ({"pattern": "a(?=b)"}, InputError, "assert is not supported"),
        ({"pattern": "(?i)a"}, InputError, "flags are not supported"),
        ({"pattern": "xyz"}, InputError, "matches no text"),
        ({"pattern": "(a{90}){90}{90}"}, InputError, "too large|more than|regular"),
        ({"lm_boundary": False}, ConfigError, "lm_boundary"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BeamDecoder(TOKENS, **options)  # type: ignore[arg-type]


def test_a_hotword_is_spelled_with_any_pieces() -> None:
    BeamDecoder(PIECES, hotwords=["abb ab"])
    with pytest.raises(InputError, match="'ba'"):
        BeamDecoder(PIECES, hotwords=["ba"])  # no piece begins a word with b


def test_a_language_model_of_other_letters_is_an_error(tmp_path: Path) -> None:
    lm = NGramLM.load(as_arpa(random_ngrams(["A", "AB"], 1), tmp_path / "upper.arpa"))
    with pytest.raises(InputError, match="agree in case"):
        BeamDecoder(TOKENS, lm=lm)
    with pytest.raises(InputError, match="none of the tokens"):
        BeamDecoder(TOKENS, lm=lm, lm_unit="token")
