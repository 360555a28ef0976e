"""Tuning and calibration on simulated emissions, whose acoustic errors a language model can correct."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ctcrec.decoding import BeamDecoder
from ctcrec.decoding.calibration import expected_calibration_error, fit_temperature, words_correct
from ctcrec.decoding.emissions import read_emissions
from ctcrec.decoding.tuning import save_surface, tune
from ctcrec.errors import DataError, InputError
from ctcrec.lm.estimation import estimate

TOKENS = ["-", " ", *"abcdefgh"]
WORDS = ["bad", "dad", "cab", "cafe", "face", "beach", "head", "each"]


def simulate(count: int, seed: int, noise: float = 2.2) -> tuple[list[np.ndarray], list[str]]:
    """Sentences in which a word is followed by one of two, and emissions that say them with noise."""
    chance = np.random.default_rng(seed)
    texts, emissions = [], []
    for _ in range(count):
        walk = chance.integers(0, len(WORDS)) + np.cumsum(chance.integers(1, 3, size=chance.integers(3, 6)))
        text = " ".join(WORDS[place % len(WORDS)] for place in walk)
        path = [token for letter in text for token in (TOKENS.index(letter), 0)]
        logits = chance.normal(size=(len(path), len(TOKENS))) * noise
        logits[np.arange(len(path)), path] += 5.0
        emissions.append(torch.log_softmax(torch.tensor(logits, dtype=torch.float32), 1).numpy())
        texts.append(text)
    return emissions, texts


def test_tuning_finds_that_a_language_model_helps(tmp_path: Path) -> None:
    emissions, references = simulate(40, 5)
    lm = estimate([text for _, text in zip(range(200), simulate(200, 1)[1], strict=True)], 2)
    result = tune(emissions, references, TOKENS, lm, lm_weights=[0.0, 1.5], word_scores=[0.0, 2.0], beam_sizes=[20, 40])
    assert (len(result.surface), len(result.priors), len(result.beams)) == (4, 2, 2)
    without = min(trial.wer for trial in result.surface if trial.lm_weight == 0.0)
    assert result.best.wer < without
    assert result.best.lm_weight == 1.5
    decoder = BeamDecoder(TOKENS, lm=lm, **result.options())  # type: ignore[arg-type]
    wrong = sum(h[0].text != text for h, text in zip(decoder(emissions), references, strict=True))
    assert (wrong == 0) == (result.best.wer == 0.0)
    save_surface(result, tmp_path / "surface.png")
    assert (tmp_path / "surface.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="at least one value"):
        tune(emissions, references, TOKENS, lm, lm_weights=[])
    with pytest.raises(InputError, match="40 emissions but 1 references"):
        tune(emissions, references[:1], TOKENS, lm)
    with pytest.raises(InputError, match="no words"):
        tune(emissions[:1], [" "], TOKENS, lm)


def test_a_fitted_temperature_calibrates() -> None:
    emissions, references = simulate(60, 2, noise=2.6)
    decoder = BeamDecoder(TOKENS)
    sharp = [4.0 * one - np.logaddexp.reduce(4.0 * one, axis=1, keepdims=True) for one in emissions]  # overconfident
    result = fit_temperature(decoder, sharp, references)
    assert result.temperature > 1.5
    assert result.error_after < result.error_before
    confident = decoder.reweighted(lm_weight=0.0, word_score=0.0, temperature=result.temperature)(sharp)
    got = np.array([span.confidence for [best] in confident for span in best.word_spans])
    right = np.array(
        [
            value
            for [best], reference in zip(confident, references, strict=True)
            for value in words_correct([span.word for span in best.word_spans], reference.split())
        ]
    )
    assert expected_calibration_error(got, right) == pytest.approx(result.error_after)
    with pytest.raises(InputError, match="60 emissions"):
        fit_temperature(decoder, sharp, [])


def test_calibration_error_by_hand() -> None:
    confidences = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False])
    assert expected_calibration_error(confidences, correct) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
    assert words_correct(["a", "x", "c"], ["a", "b", "c", "d"]) == [True, False, True]


def test_stored_emissions(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    one = simulate(1, 3)[0][0]
    np.save(tmp_path / "one.npy", one)
    np.save(tmp_path / "two.npy", np.stack([one, one]).astype(np.float16))
    np.savez(tmp_path / "some.npz", a=one, b=one[:3])
    save_file({"a": one}, tmp_path / "some.safetensors")
    assert list(read_emissions(tmp_path / "one.npy")) == ["one"]
    assert list(read_emissions(tmp_path / "two.npy")) == ["two-0", "two-1"]
    assert {name: len(array) for name, array in read_emissions(tmp_path / "some.npz").items()} == {
        "a": len(one),
        "b": 3,
    }
    np.testing.assert_array_equal(read_emissions(tmp_path / "some.safetensors")["a"], one)
    (tmp_path / "bad.npy").write_bytes(b"no")
    np.save(tmp_path / "flat.npy", one[0])
    for name, message in (
        ("bad.npy", "cannot read"),
        ("none.npz", "cannot read"),
        ("a.txt", "must be"),
        ("flat.npy", r"\(T, C\)"),
    ):
        with pytest.raises(DataError, match=message):
            read_emissions(tmp_path / name)
