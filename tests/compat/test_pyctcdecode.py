"""pyctcdecode's interface: labels, result tuples, parameters, and values that pyctcdecode 0.5.0 gave."""

import math
from pathlib import Path

import numpy as np
import pytest

from ctcrec.compat.pyctcdecode import Alphabet, BeamSearchDecoderCTC, build_ctcdecoder
from ctcrec.errors import DataError, InputError
from ctcrec.lm.arpa import write_arpa
from ctcrec.lm.estimation import estimate

LABELS = ["<pad>", "|", "a", "b", "c"]


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "words.arpa"
    write_arpa(estimate(["ab ab ca", "ca ab", "ab cab", "cab ca ab ca"] * 3, 2), path)
    return path


def logits(text: str, confusion: float = 0.3) -> np.ndarray:
    """Two frames a letter, the second blank; every letter is confused with the next one."""
    rows = []
    for letter in text.replace(" ", "|"):
        row = np.full(len(LABELS), 0.02)
        index = LABELS.index(letter)
        row[index] = 1.0
        row[index % 4 + 1] += confusion
        rows += [row, np.array([1.0, 0.02, 0.02, 0.02, 0.02])]
    probs = np.stack(rows)
    return np.log(probs / probs.sum(axis=1, keepdims=True))


def test_alphabets_are_brought_into_pyctcdecodes_form() -> None:
    assert Alphabet.build_alphabet(LABELS).labels == ["", " ", "a", "b", "c"]
    assert Alphabet.build_alphabet(["_", " ", "a"]).labels == ["", " ", "a"]
    assert Alphabet.build_alphabet([" ", "a"]).labels == [" ", "a", ""]
    assert Alphabet.build_alphabet(["[PAD]", "<unk>", "▁a", "b"]).labels == ["", "▁⁇▁", "▁a", "b"]
    assert Alphabet.build_alphabet(["<pad>", "a", "##b"]).labels == ["", "▁a", "b"]
    assert Alphabet.loads(Alphabet.build_alphabet(LABELS).dumps()).labels == ["", " ", "a", "b", "c"]
    with pytest.raises(InputError, match="repeats"):
        Alphabet.build_alphabet(["a", "a"])
    with pytest.raises(InputError, match="space"):
        Alphabet.build_alphabet(["▁a", " "])


def test_without_language_model() -> None:
    decoder = build_ctcdecoder(LABELS)
    assert decoder.decode(logits("ab cab")) == "ab cab"
    beams = decoder.decode_beams(logits("ab cab"))
    text, state, frames, acoustic, total = beams[0]
    assert (text, state) == ("ab cab", None)
    assert frames == [("ab", (0, 3)), ("cab", (6, 11))]
    assert acoustic == total
    assert [beam[-1] for beam in beams] == sorted((beam[-1] for beam in beams), reverse=True)


def test_batches_are_their_utterances() -> None:
    decoder = build_ctcdecoder(LABELS)
    batch = [logits("ab"), logits("ca cab")]
    assert decoder.decode_batch(None, batch) == [decoder.decode(one) for one in batch]
    together = decoder.decode_beams_batch(None, batch, beam_width=5)
    alone = [[(t, f, a, s) for t, _, f, a, s in decoder.decode_beams(one, beam_width=5)] for one in batch]
    assert together == alone


def test_logits_probabilities_and_log_probabilities_are_the_same() -> None:
    decoder = build_ctcdecoder(LABELS)
    log_probs = logits("ab ca")
    for given in (log_probs, log_probs + 5.0, np.exp(log_probs)):
        assert decoder.decode_beams(given)[0][3] == pytest.approx(decoder.decode_beams(log_probs)[0][3], abs=1e-5)


def test_the_language_models_part_of_the_score(arpa: Path) -> None:
    decoder = build_ctcdecoder(LABELS, str(arpa), alpha=0.7, beta=1.1, unk_score_offset=-3.0)
    lm = decoder._language_model
    assert lm is not None
    for text, state, _, acoustic, total in decoder.decode_beams(logits("ab cb ca"), beam_width=20)[:5]:
        words = text.split()
        unknown = sum(word not in lm.model for word in words)
        expected = 0.7 * math.log(10) * (lm.model.score(text) - 3.0 * unknown) + 1.1 * len(words)
        assert total - acoustic == pytest.approx(expected, abs=1e-4)
        assert state == lm.model.state_after(words, lm.model.start_state)


def test_parameters_can_be_reset_as_hugging_face_does(arpa: Path) -> None:
    decoder = build_ctcdecoder(LABELS, str(arpa))
    one = logits("cc ab", 0.9)
    before = decoder.decode_beams(one)[0]
    setattr(decoder.model_container[decoder._model_key], "alpha", 3.0)  # noqa: B010
    decoder.reset_params(beta=0.0, lm_score_boundary=False)
    after = decoder.decode_beams(one)[0]
    fresh = build_ctcdecoder(LABELS, str(arpa), alpha=3.0, beta=0.0, lm_score_boundary=False).decode_beams(one)[0]
    assert after == fresh and after[-1] != before[-1]


def test_a_text_can_be_decoded_in_two_parts(arpa: Path) -> None:
    decoder = build_ctcdecoder(LABELS, str(arpa), lm_score_boundary=False)
    first = decoder.decode_beams(logits("ab"))[0]
    second = decoder.decode_beams(logits("ca"), lm_start_state=first[1])[0]
    lm = decoder._language_model
    assert lm is not None and second[0] == "ca"
    both = lm.model.score("ab ca", bos=False, eos=False) - lm.model.score("ab", bos=False, eos=False)
    assert second[-1] - second[-2] == pytest.approx(0.5 * math.log(10) * both + 1.5, abs=1e-4)


def test_hotwords_and_history() -> None:
    decoder = build_ctcdecoder(LABELS)
    one = logits("ab", 0.9)
    assert decoder.decode(one) == "ab"
    assert decoder.decode(one, hotwords=["bb"], hotword_weight=5.0) == "bb"
    with pytest.raises(InputError, match="'xyz'"):
        decoder.decode(one, hotwords=["xyz"])
    many, few = (decoder.decode_beams(logits("ab ab ab", 0.9), prune_history=flag) for flag in (False, True))
    assert few[0] == many[0] and len(few) < len(many)


def test_saved_and_loaded(arpa: Path, tmp_path: Path) -> None:
    decoder = build_ctcdecoder(LABELS, str(arpa), unigrams=["ab", "ca"], alpha=0.9)
    decoder.save_to_dir(str(tmp_path / "saved"))
    again = BeamSearchDecoderCTC.load_from_dir(str(tmp_path / "saved"))
    one = logits("ab ca", 0.5)
    assert again.decode_beams(one) == decoder.decode_beams(one)
    with pytest.raises(DataError, match="not a decoder's folder"):
        BeamSearchDecoderCTC.load_from_dir(str(tmp_path))
    (tmp_path / "k.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n")
    with pytest.raises(DataError, match="KenLM's binary form"):
        build_ctcdecoder(LABELS, str(tmp_path / "k.bin"))
    with pytest.raises(DataError, match="no such"):
        build_ctcdecoder(LABELS, str(tmp_path / "none.arpa"))


def test_wrong_width() -> None:
    with pytest.raises(InputError, match=r"\(time, 5\)"):
        build_ctcdecoder(LABELS).decode(np.zeros((4, 3)))
