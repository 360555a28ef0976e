"""pyctcdecode 0.5's interface on `ctcrec.decoding.BeamDecoder`: change the import, keep the program.

    from ctcrec.compat.pyctcdecode import build_ctcdecoder

For code that imports pyctcdecode itself, such as Hugging Face's `Wav2Vec2ProcessorWithLM`, put this module in its place
before: `sys.modules["pyctcdecode"] = ctcrec.compat.pyctcdecode`.

What differs from pyctcdecode: the search sums over alignments exactly; language models must be ARPA files (gzip too)
or ctcrec's binary form, not KenLM's binary form; a hotword that the labels cannot spell is an error; batches are
decoded in threads, so a `pool` need not be given and is not used; a language model state is an integer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.prefix_beam import BeamDecoder
from ctcrec.errors import DataError, InputError
from ctcrec.lm.ngram import NGramLM
from ctcrec.records import Hypothesis

__all__ = ["Alphabet", "BeamSearchDecoderCTC", "LanguageModel", "OutputBeam", "OutputBeamMPSafe", "build_ctcdecoder"]

WordFrames = tuple[str, tuple[int, int]]
OutputBeam = tuple[str, int | None, list[WordFrames], float, float]
"""text, language model state after it, frames of its words, acoustic score, total score."""
OutputBeamMPSafe = tuple[str, list[WordFrames], float, float]

_LN10 = float(np.log(10.0))
_SMALLEST_PROBABILITY = 1e-15
_WORD_START = "\u2581"
_UNKNOWN = "\u2047"
_PAD = re.compile(r"^[<\[]pad[>\]]$", re.IGNORECASE)
_UNK = re.compile(r"^[<\[]unk[>\]]$", re.IGNORECASE)
_SPECIAL = re.compile(r"^[<\[].+[>\]]$")


class Alphabet:
    """Labels in pyctcdecode's standard form: "" is the blank, " " or a leading "▁" a word boundary."""

    def __init__(self, labels: Sequence[str], is_bpe: bool) -> None:
        self._labels = list(labels)
        self.is_bpe = is_bpe

    @property
    def labels(self) -> list[str]:
        """A copy of the labels."""
        return list(self._labels)

    @classmethod
    def build_alphabet(cls, labels: Sequence[str]) -> Alphabet:
        """Bring a model's labels into the standard form, as pyctcdecode does.

        Raises:
            InputError: labels stand twice, or look like pieces of words and have a space.
        """
        is_bpe = any(label.startswith(("##", _WORD_START)) for label in labels)
        if len(labels) != len(set(labels)):
            raise InputError("the labels have repeats; each must stand once")
        if is_bpe and any(" " in label for label in labels):
            raise InputError("the labels are pieces of words (## or ▁), but some have a space")
        standard = list(labels)
        if any(label.startswith("##") for label in labels):
            standard = [_from_wordpiece(label) for label in labels]
        elif not is_bpe and "|" in standard and " " not in standard:
            standard[standard.index("|")] = " "
        standard = ["" if _PAD.match(label) else label for label in standard]
        if not is_bpe and "_" in standard and "" not in standard:
            standard[standard.index("_")] = ""
        if "" not in standard:
            standard.append("")
        unknown = f"{_WORD_START}{_UNKNOWN}{_WORD_START}" if is_bpe else _UNKNOWN
        return cls([unknown if _UNK.match(label) else label for label in standard], is_bpe)

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({"labels": self._labels, "is_bpe": self.is_bpe})

    @classmethod
    def loads(cls, text: str) -> Alphabet:
        """From `dumps`' JSON."""
        record = json.loads(text)
        return cls(record["labels"], record["is_bpe"])


def _from_wordpiece(label: str) -> str:
    if label.startswith("##"):
        return label[2:]
    return label if _SPECIAL.match(label) or label in ("", _WORD_START) else _WORD_START + label


class LanguageModel:
    """An n-gram model and its weights; they may be set at any time."""

    def __init__(
        self,
        kenlm_model: NGramLM,
        unigrams: Collection[str] | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        unk_score_offset: float = -10.0,
        score_boundary: bool = True,
    ) -> None:
        self.model = kenlm_model
        self.unigrams = None if unigrams is None else sorted(set(unigrams))
        self.alpha = alpha
        self.beta = beta
        self.unk_score_offset = unk_score_offset
        self.score_boundary = score_boundary

    @property
    def order(self) -> int:
        """Longest n-gram."""
        return self.model.order

    def reset_params(self, **params: Any) -> None:
        """Set alpha, beta, unk_score_offset or score_boundary."""
        for name, value in params.items():
            if name not in ("alpha", "beta", "unk_score_offset", "score_boundary"):
                raise InputError(f"the language model has no parameter {name!r}")
            setattr(self, name, value)

    def get_start_state(self) -> int:
        """The state before a text."""
        return self.model.start_state if self.score_boundary else 0


class BeamSearchDecoderCTC:
    """pyctcdecode's decoder class."""

    model_container: ClassVar[dict[bytes, LanguageModel | None]] = {}

    def __init__(self, alphabet: Alphabet, language_model: LanguageModel | None = None) -> None:
        self._alphabet = alphabet
        self._idx2vocab = dict(enumerate(alphabet.labels))
        self._is_bpe = alphabet.is_bpe
        self._model_key = os.urandom(16)
        self._built: dict[bool, BeamDecoder] = {}
        BeamSearchDecoderCTC.model_container[self._model_key] = language_model

    @property
    def _language_model(self) -> LanguageModel | None:
        return BeamSearchDecoderCTC.model_container[self._model_key]

    @classmethod
    def clear_class_models(cls) -> None:
        """Forget the language models of all decoders."""
        cls.model_container.clear()

    def cleanup(self) -> None:
        """Forget this decoder's language model."""
        BeamSearchDecoderCTC.model_container.pop(self._model_key, None)

    def reset_params(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        unk_score_offset: float | None = None,
        lm_score_boundary: bool | None = None,
    ) -> None:
        """Set parameters of the language model."""
        given = {
            "alpha": alpha, "beta": beta, "unk_score_offset": unk_score_offset, "score_boundary": lm_score_boundary,
        }  # fmt: skip
        if self._language_model is not None:
            self._language_model.reset_params(**{name: value for name, value in given.items() if value is not None})

    def _decoder(
        self, beam_width: int, beam_prune_logp: float, hotwords: Iterable[str] | None, hotword_weight: float
    ) -> BeamDecoder:
        """The beam decoder with the parameters as they are now."""
        labels, lm = self._alphabet.labels, self._language_model
        boundary = lm.score_boundary if lm is not None else True
        if boundary not in self._built:
            options: dict[str, Any] = {}
            if lm is not None:
                lexicon = None
                if lm.unigrams is not None:
                    lexicon = [word for word in lm.unigrams if word in lm.model and set(word) <= set("".join(labels))]
                unknown = {"unknown_score": -1.0, "unknown_letter_score": 0.0}
                options = {"lm": lm.model, "lexicon": lexicon or None, "lm_boundary": boundary, **unknown}
            self._built[boundary] = BeamDecoder(labels, blank=labels.index(""), **options)
        decoder = self._built[boundary].reweighted(
            lm_weight=lm.alpha if lm is not None else 0.0,
            word_score=lm.beta if lm is not None else 0.0,
            unknown_score=lm.alpha * _LN10 * lm.unk_score_offset if lm is not None else None,
            beam_size=beam_width,
            beam_threshold=-beam_prune_logp,
        )
        words = [word for hotword in hotwords or () for word in hotword.split()]
        return decoder.with_hotwords(dict.fromkeys(words, hotword_weight)) if words else decoder

    def decode_beams(
        self,
        logits: npt.NDArray[Any],
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        prune_history: bool = False,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: int | None = None,
    ) -> list[OutputBeam]:
        """Decode one utterance, (T, C) logits, log-probabilities or probabilities: its beams, best first.

        Args:
            logits: a column for every label of the alphabet.
            beam_width: prefixes kept.
            beam_prune_logp: prefixes worse than the best by more (a negative number) are dropped.
            token_min_logp: tokens below are not looked at, unless they are the frame's best.
            prune_history: give only the best of the beams that end in the same words, as far as the model can tell.
            hotwords: words to prefer; phrases count word by word.
            hotword_weight: added for each.
            lm_start_state: a state of another result's beams, to go on after it.
        """
        decoder = self._decoder(beam_width, beam_prune_logp, hotwords, hotword_weight)
        if lm_start_state is not None and self._language_model is None:
            raise InputError("lm_start_state is given but the decoder has no language model")
        if lm_start_state is not None:
            decoder = decoder.starting_at(lm_start_state)
        [hypotheses] = decoder([self._log_probs(logits, token_min_logp)], nbest=beam_width, threads=1)
        return self._beams(hypotheses, prune_history, lm_start_state)

    def decode_beams_batch(
        self,
        pool: Any,
        logits_list: Sequence[npt.NDArray[Any]],
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        prune_history: bool = False,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
    ) -> list[list[OutputBeamMPSafe]]:
        """`decode_beams` for a list, in threads; the results have no language model state."""
        decoder = self._decoder(beam_width, beam_prune_logp, hotwords, hotword_weight)
        batch = decoder([self._log_probs(logits, token_min_logp) for logits in logits_list], nbest=beam_width)
        return [
            [(text, frames, logit, total) for text, _, frames, logit, total in self._beams(one, prune_history, None)]
            for one in batch
        ]

    def decode(
        self,
        logits: npt.NDArray[Any],
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: int | None = None,
    ) -> str:
        """The best text of one utterance; see `decode_beams`."""
        decoder = self._decoder(beam_width, beam_prune_logp, hotwords, hotword_weight)
        if lm_start_state is not None:
            decoder = decoder.starting_at(lm_start_state)
        return decoder([self._log_probs(logits, token_min_logp)], threads=1)[0][0].text

    def decode_batch(
        self,
        pool: Any,
        logits_list: Sequence[npt.NDArray[Any]],
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
    ) -> list[str]:
        """The best texts of a list, in threads."""
        decoder = self._decoder(beam_width, beam_prune_logp, hotwords, hotword_weight)
        batch = decoder([self._log_probs(logits, token_min_logp) for logits in logits_list])
        return [hypotheses[0].text for hypotheses in batch]

    def _log_probs(self, logits: npt.NDArray[Any], token_min_logp: float) -> npt.NDArray[np.float32]:
        """Log-probabilities, clipped as in pyctcdecode; tokens under token_min_logp that are not the best are -inf."""
        array = np.asarray(logits, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self._idx2vocab):
            raise InputError(f"logits must be (time, {len(self._idx2vocab)}), one column a label, not {array.shape}")
        if len(array) and np.isclose(array.sum(axis=1).mean(), 1.0):
            scores = np.log(np.clip(array, _SMALLEST_PROBABILITY, 1.0))
        else:
            shifted = array - array.max(axis=1, keepdims=True)
            scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            scores = np.clip(scores, np.log(_SMALLEST_PROBABILITY), 0.0)
        looked_at = (scores >= token_min_logp) | (scores == scores.max(axis=1, keepdims=True))
        return np.where(looked_at, scores, -np.inf).astype(np.float32)

    def _beams(self, hypotheses: Sequence[Hypothesis], prune_history: bool, start: int | None) -> list[OutputBeam]:
        lm = self._language_model
        beams: list[OutputBeam] = []
        seen: set[tuple[str, ...]] = set()
        for hypothesis in hypotheses:
            words = hypothesis.text.split()
            if prune_history:
                recent = tuple(words[-max(1, (lm.order if lm is not None else 1) - 1) :])
                if recent in seen:
                    continue
                seen.add(recent)
            state = None
            if lm is not None:
                state = lm.model.state_after(words, lm.get_start_state() if start is None else start)
            frames = [(span.word, (int(span.start), int(span.end))) for span in hypothesis.word_spans]
            acoustic = hypothesis.score if hypothesis.acoustic_score is None else hypothesis.acoustic_score
            beams.append((hypothesis.text, state, frames, acoustic, hypothesis.score))
        return beams

    def save_to_dir(self, filepath: str) -> None:
        """Write alphabet and language model into a folder, in pyctcdecode's layout."""
        folder = Path(filepath)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alphabet.json").write_text(self._alphabet.dumps(), encoding="utf-8")
        lm = self._language_model
        if lm is None:
            return
        (folder / "language_model").mkdir(exist_ok=True)
        attributes = {name: getattr(lm, name) for name in ("alpha", "beta", "unk_score_offset", "score_boundary")}
        (folder / "language_model" / "attrs.json").write_text(json.dumps(attributes), encoding="utf-8")
        (folder / "language_model" / "unigrams.txt").write_text("\n".join(lm.unigrams or ()), encoding="utf-8")
        lm.model.save(folder / "language_model" / "model.ngram")

    @classmethod
    def load_from_dir(cls, filepath: str, unigram_encoding: str | None = None) -> BeamSearchDecoderCTC:
        """Read what `save_to_dir` wrote, or pyctcdecode with an ARPA model.

        Raises:
            DataError: files are missing, or the model is in KenLM's binary form.
        """
        folder = Path(filepath)
        try:
            alphabet = Alphabet.loads((folder / "alphabet.json").read_text(encoding="utf-8"))
            models = folder / "language_model"
            if not models.is_dir():
                return cls(alphabet)
            attributes = json.loads((models / "attrs.json").read_text(encoding="utf-8"))
            unigrams = (models / "unigrams.txt").read_text(encoding=unigram_encoding or "utf-8").splitlines()
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder}: not a decoder's folder ({error})") from error
        files = [
            path for path in models.iterdir() if path.name not in ("attrs.json", "unigrams.txt") and path.is_file()
        ]
        if len(files) != 1:
            raise DataError(f"{models}: expected one language model file, found {len(files)}")
        return cls(alphabet, LanguageModel(_load_model(files[0]), unigrams or None, **attributes))


def _load_model(path: str | Path) -> NGramLM:
    with open(path, "rb") as file:
        if file.read(17).startswith(b"mmap lm http://kh"):
            raise DataError(f"{path}: KenLM's binary form cannot be read; give the ARPA file that it was made from")
    return NGramLM.load(path)


def build_ctcdecoder(
    labels: Sequence[str],
    kenlm_model_path: str | Path | None = None,
    unigrams: Collection[str] | None = None,
    alpha: float = 0.5,
    beta: float = 1.5,
    unk_score_offset: float = -10.0,
    lm_score_boundary: bool = True,
) -> BeamSearchDecoderCTC:
    """A decoder for a model's labels, with an n-gram model if a file is given.

    Args:
        labels: the model's labels in the order of its logits.
        kenlm_model_path: ARPA (gzip too) or ctcrec's binary form.
        unigrams: known words; those that the model has not are unknown. None: all words of the model.
        alpha: weight of the language model.
        beta: added for every word.
        unk_score_offset: log10, added to the model's score of unknown words.
        lm_score_boundary: whether texts are scored as whole sentences.
    """
    alphabet = Alphabet.build_alphabet(labels)
    if kenlm_model_path is None:
        return BeamSearchDecoderCTC(alphabet)
    if not Path(kenlm_model_path).is_file():
        raise DataError(f"{kenlm_model_path}: no such language model file")
    model = _load_model(kenlm_model_path)
    return BeamSearchDecoderCTC(
        alphabet, LanguageModel(model, unigrams, alpha, beta, unk_score_offset, lm_score_boundary)
    )
