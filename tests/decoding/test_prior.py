"""Posteriors divided by priors, against the definition."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ctcrec.decoding import BeamDecoder
from ctcrec.decoding.prior import read_prior, token_prior, write_prior
from ctcrec.decoding.tuning import tune
from ctcrec.errors import ConfigError, DataError, InputError
from ctcrec.lm.estimation import estimate

TOKENS = ["-", "a", "b", " "]
PRIOR = {"-": 0.5, "a": 0.3, "b": 0.15, " ": 0.05}


def emissions(seed: int, frames: int = 30) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, len(TOKENS))) * 2.0
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), dim=1).numpy()


def divided(log_probs: np.ndarray, weight: float) -> np.ndarray:
    scaled = np.exp(log_probs.astype(np.float64)) / np.array(list(PRIOR.values())) ** weight
    return np.log(scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_search_takes_posteriors_divided_by_the_prior(weight: float) -> None:
    log_probs = [emissions(seed) for seed in range(4)]
    decoder = BeamDecoder(TOKENS, prior=PRIOR, prior_weight=weight)
    expected = BeamDecoder(TOKENS)([divided(one, weight) for one in log_probs], nbest=3)
    for found in (decoder(log_probs, nbest=3), decoder.reweighted(lm_weight=0.0, word_score=0.0)(log_probs, nbest=3)):
        assert [[h.text for h in nbest] for nbest in found] == [[h.text for h in nbest] for nbest in expected]
        for nbest, wanted in zip(found, expected, strict=True):
            assert [h.score for h in nbest] == pytest.approx([h.score for h in wanted], abs=1e-3)
            assert [(s.start, s.end) for s in nbest[0].token_spans] == [(s.start, s.end) for s in wanted[0].token_spans]
    assert decoder.final_beam(log_probs[0]).scores.max() == pytest.approx(expected[0][0].score, abs=1e-3)


def test_the_weight_has_a_default_and_can_be_changed() -> None:
    log_probs = [emissions(9)]
    given, changed = (BeamDecoder(TOKENS, prior=PRIOR, prior_weight=weight)(log_probs)[0][0] for weight in (0.3, 0.9))
    assert BeamDecoder(TOKENS, prior=PRIOR)(log_probs)[0][0] == given
    other = BeamDecoder(TOKENS, prior=PRIOR).reweighted(lm_weight=0.0, word_score=0.0, prior_weight=0.9)
    assert other(log_probs)[0][0] == changed != given


def test_a_stream_is_divided_too() -> None:
    log_probs = emissions(3, 40)
    decoder = BeamDecoder(TOKENS, prior=PRIOR, prior_weight=0.7)
    stream = decoder.stream()
    for chunk in (log_probs[:7], log_probs[7:7], log_probs[7:]):
        stream.push(chunk)
    [streamed], [[whole]] = stream.finish(), decoder([log_probs])
    assert streamed == whole
    assert whole.text != BeamDecoder(TOKENS)([log_probs])[0][0].text


def test_the_prior_is_the_mean_posterior() -> None:
    log_probs = [emissions(1, 10), emissions(2, 20)]
    mean = np.exp(np.concatenate(log_probs)).sum(axis=0)
    prior = token_prior(log_probs, TOKENS)
    assert list(prior) == TOKENS
    assert list(prior.values()) == pytest.approx((mean + 1.0) / (30 + len(TOKENS)))
    assert sum(prior.values()) == pytest.approx(1.0)


def test_tuning_finds_that_the_prior_hides_a_rare_letter() -> None:
    """Every "b" has less than its due, of which the prior knows."""
    frames = {"a": [0.05, 0.89, 0.01, 0.05], "b": [0.05, 0.50, 0.40, 0.05], " ": [0.05, 0.02, 0.01, 0.92]}
    references = ["a b a", "b b", "a a b b"]
    log_probs = [np.log(np.array([frames[c] for c in text], dtype=np.float32)) for text in references]
    lm = estimate(["a b", "b a", "a a", "b b"] * 3, 1)
    prior = {"-": 0.05, "a": 0.6, "b": 0.1, " ": 0.25}
    options = {"lm_weights": [0.0], "word_scores": [0.0], "beam_sizes": [20]}
    without = tune(log_probs, references, TOKENS, lm, **options)  # type: ignore[arg-type]
    result = tune(log_probs, references, TOKENS, lm, prior, **options)  # type: ignore[arg-type]
    assert "prior_weight" not in without.options() and without.best.wer > 0.3
    assert result.best.wer == 0.0 and result.options()["prior_weight"] == 0.2
    assert [trial.prior_weight for trial in result.priors] == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_files_and_mistakes(tmp_path: Path) -> None:
    write_prior(tmp_path / "prior.json", PRIOR)
    assert read_prior(tmp_path / "prior.json") == PRIOR
    for content, message in (("{", "cannot be read"), ("[1]", "one JSON object"), ('{"a": "b"}', "one JSON object")):
        (tmp_path / "wrong.json").write_text(content)
        with pytest.raises(DataError, match=f"wrong.json: .*{message}"):
            read_prior(tmp_path / "wrong.json")
    with pytest.raises(DataError, match=r"none.json"):
        read_prior(tmp_path / "none.json")
    for prior, message in (
        ({"-": 0.5, "a": 0.5, " ": 0.1}, "lacks 'b'"),
        ({**PRIOR, "c": 0.1}, "has 'c', which is not among the tokens"),
        ({**PRIOR, "b": 0.0}, "the prior of 'b' must be a probability above 0, not 0.0"),
        ({**PRIOR, "b": math.nan}, "must be a probability"),
    ):
        with pytest.raises(InputError, match=message):
            BeamDecoder(TOKENS, prior=prior)
    with pytest.raises(ConfigError, match="prior_weight is given but no prior"):
        BeamDecoder(TOKENS, prior_weight=0.3)
    with pytest.raises(ConfigError, match="prior_weight must be at least 0"):
        BeamDecoder(TOKENS, prior=PRIOR, prior_weight=-1.0)
    with pytest.raises(ConfigError, match="the decoder has no prior"):
        BeamDecoder(TOKENS).reweighted(lm_weight=0.0, word_score=0.0, prior_weight=0.3)
