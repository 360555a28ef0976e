"""From a decoder's options to the tables that the compiled search reads (`ctcrec.decoding.fusion.Fusion`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctcrec.decoding.fusion import LM_NONE, LM_TOKEN, LM_WORD, Fusion
from ctcrec.decoding.joining import token_surface
from ctcrec.decoding.mask import compile_mask
from ctcrec.errors import ConfigError, InputError
from ctcrec.lm.automaton import empty_tables
from ctcrec.lm.hotwords import HotwordTables, build_hotwords, empty_hotwords
from ctcrec.lm.lexicon import LexiconTrie, build_trie, empty_trie
from ctcrec.lm.ngram import NGramLM

__all__ = ["Alphabet", "FusionOptions", "build_fusion", "hotword_tables", "reweighted"]

LN10 = math.log(10.0)
DEFAULT_LM_WEIGHT = 0.5
DEFAULT_UNKNOWN_SCORE = -10.0
DEFAULT_UNKNOWN_LETTER_SCORE = -2.0
DEFAULT_HOTWORD_WEIGHT = 10.0
_SPACES_IN_MODELS = (
    "|",
    "<space>",
    "\u2581",
)  # how character-level models write the space, which separates their words


@dataclass(frozen=True, slots=True)
class FusionOptions:
    """The options of `BeamDecoder` that need tables; None means that the option was not given."""

    lm: NGramLM | None = None
    lm_unit: str = "word"
    lm_weight: float | None = None
    lm_boundary: bool = True
    word_score: float = 0.0
    lexicon: Sequence[str] | None = None
    unknown_score: float | None = None
    unknown_letter_score: float | None = None
    hotwords: Mapping[str, float] | Iterable[str] | None = None
    hotword_weight: float | None = None
    characters: Iterable[str] | None = None
    pattern: str | None = None

    def check(self) -> None:
        """Raise ConfigError for options that are wrong or would have no effect."""
        if self.lm_unit not in ("word", "token"):
            raise ConfigError(f"lm_unit must be 'word' or 'token', not {self.lm_unit!r}")
        if self.lm is None and self.lm_weight is not None:
            raise ConfigError("lm_weight is given but no lm")
        if self.lm_weight is not None and not 0.0 <= self.lm_weight < math.inf:
            raise ConfigError(f"lm_weight must be at least 0, not {self.lm_weight}")
        if self.lm is None and not self.lm_boundary:
            raise ConfigError("lm_boundary is False but no lm is given")
        if self.lm is None and self.lm_unit == "token":
            raise ConfigError("lm_unit is 'token' but no lm is given")
        has_words = self.lexicon is not None or (self.lm is not None and self.lm_unit == "word")
        if self.unknown_score is not None and not has_words:
            raise ConfigError("unknown_score needs a lexicon or a word-level lm: without them no word is unknown")
        if self.unknown_letter_score is not None:
            if not has_words or (self.lexicon is not None and self.unknown_score is None):
                raise ConfigError(
                    "unknown_letter_score needs a word-level lm, or a lexicon with unknown_score:"
                    " else no word is unknown"
                )
            if not self.unknown_letter_score <= 0.0:
                raise ConfigError(f"unknown_letter_score must be at most 0, not {self.unknown_letter_score}")
        if self.hotwords is None and self.hotword_weight is not None:
            raise ConfigError("hotword_weight is given but no hotwords")
        for name in ("word_score", "unknown_score", "unknown_letter_score", "hotword_weight"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"{name} must be a finite number, not {value}")


class Alphabet:
    """The characters that tokens add to the text, numbered; 0 is the word boundary.

    Attributes:
        symbols: character of each number, in the order of their code points after the boundary. A byte of
            SentencePiece's byte fallback is a symbol of its own, which is no character.
        spelling: symbol numbers of each token.
        boundaries: whether any token has a word boundary.
    """

    def __init__(self, tokens: Sequence[str], blank: int, word_delimiter: str) -> None:
        surfaces = [
            "" if index == blank else token_surface(token, word_delimiter) for index, token in enumerate(tokens)
        ]
        pieces = [[s] if s.startswith("<0x") and s.endswith(">") else list(s) for s in surfaces]
        found = {piece for spelled in pieces for piece in spelled} - {" "}
        self.symbols = [" ", *sorted(piece for piece in found if len(piece) == 1)]
        self.symbols += sorted(piece for piece in found if len(piece) > 1)
        number = {piece: index for index, piece in enumerate(self.symbols)}
        self.spelling = [[number[piece] for piece in spelled] for spelled in pieces]
        self.boundaries = any(0 in spelled for spelled in self.spelling)
        self._number = number
        self._surfaces = {surface for surface in surfaces if surface}
        self._longest = max(map(len, self._surfaces), default=0)

    def flat(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(C + 1,) first symbol of each token, and all symbols."""
        lengths = [len(spelled) for spelled in self.spelling]
        first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return first, np.array([symbol for spelled in self.spelling for symbol in spelled] or [0], dtype=np.int32)

    def can_spell(self, phrase: str) -> bool:
        """Whether some sequence of tokens writes `phrase` between word boundaries (or text ends)."""
        text = f" {phrase} " if self.boundaries else phrase
        reached = {0, 1} if self.boundaries else {0}
        for end in range(1, len(text) + 1):
            spans = range(max(0, end - self._longest), end)
            if any(start in reached and text[start:end] in self._surfaces for start in spans):
                reached.add(end)
        return len(text) in reached or (self.boundaries and len(text) - 1 in reached)

    def numbers(self, phrase: str) -> tuple[int, ...]:
        """Symbol numbers of a phrase that can be spelled."""
        return tuple(self._number[character] for character in phrase)


def build_fusion(
    tokens: Sequence[str], blank: int, word_delimiter: str, options: FusionOptions
) -> tuple[Fusion, npt.NDArray[np.int32]]:
    """The tables, and the five numbers of the state before the text.

    Raises:
        ConfigError: options that are wrong or do not go together.
        InputError: a hotword or lexicon that the tokens cannot spell (names it), or a wrong mask.
    """
    options.check()
    alphabet = Alphabet(tokens, blank, word_delimiter)
    first_symbol, symbols = alphabet.flat()
    lm = options.lm
    unit = LM_NONE if lm is None else LM_WORD if options.lm_unit == "word" else LM_TOKEN
    words = _words(options, unit)
    trie, lm_word = _lexicon(words, alphabet, options, unit)
    hotwords = empty_hotwords()
    if options.hotwords is not None:
        hotwords = hotword_tables(alphabet, options.hotwords, options.hotword_weight)
    mask_next, mask_final = np.zeros((1, 1), np.int32), np.ones(1, dtype=bool)
    if options.pattern is not None:
        mask_next, mask_final = compile_mask(options.pattern, alphabet.symbols)
    unknown_score, unknown_letter_score = options.unknown_score, options.unknown_letter_score
    fusion = Fusion(
        active=bool(lm or words is not None or options.hotwords or options.pattern is not None or options.word_score),
        allowed=_allowed(alphabet, blank, options),
        breaks=np.array([0 in spelled for spelled in alphabet.spelling]),
        headroom=0.0,
        leave=-math.inf,
        first_symbol=first_symbol,
        symbols=symbols,
        lm_unit=unit,
        lm=empty_tables() if lm is None else lm.tables,
        lm_scale=0.0,
        lm_token=_token_words(tokens, blank, word_delimiter, lm) if unit == LM_TOKEN and lm else np.zeros(1, np.int32),
        lm_word=lm_word,
        lm_unknown=0 if lm is None else lm.unknown,
        lm_end=lm.end if lm is not None and options.lm_boundary else -1,
        word_score=options.word_score,
        has_lexicon=words is not None,
        closed=options.lexicon is not None and unknown_score is None,
        unknown_score=DEFAULT_UNKNOWN_SCORE if unknown_score is None else unknown_score,
        unknown_letter_score=DEFAULT_UNKNOWN_LETTER_SCORE if unknown_letter_score is None else unknown_letter_score,
        unknown_potential=0.0,
        lexicon=trie,
        has_hotwords=options.hotwords is not None,
        hotwords=hotwords,
        has_mask=options.pattern is not None,
        mask_next=mask_next,
        mask_final=mask_final,
    )
    weight = DEFAULT_LM_WEIGHT if options.lm_weight is None else options.lm_weight
    start = [lm.start_state if lm is not None and options.lm_boundary else 0, 0, int(hotwords.start[0]), 0, 0]
    return reweighted(fusion, weight if lm else 0.0, options.word_score), np.array(start, dtype=np.int32)


def reweighted(fusion: Fusion, lm_weight: float, word_score: float, unknown_score: float | None = None) -> Fusion:
    """The same tables with other weights."""
    scale = lm_weight * LN10
    unknown = fusion.unknown_score if unknown_score is None else unknown_score
    spelled = np.diff(fusion.first_symbol)
    longest = int(spelled.max(initial=1))
    hotwords = fusion.hotwords
    # An upper bound on what one token can add: every symbol may end a word, start one and advance the hotwords.
    headroom = (longest + 1) * (
        max(word_score, 0.0)
        + (max(unknown, 0.0) if fusion.has_lexicon else 0.0)
        + max(float(hotwords.reward.max()), 0.0)
    ) + (float(hotwords.potential.max() - hotwords.potential.min()) + max(word_score, 0.0))
    unknown_potential = 0.0
    if fusion.lm_unit == LM_WORD:
        unknown_potential = scale * float(fusion.lm.log10_prob[1 + fusion.lm_unknown])
    leave = -math.inf
    if fusion.has_lexicon and not fusion.closed:
        leave = unknown + unknown_potential + max(float(hotwords.potential.max()), 0.0) + max(word_score, 0.0)
    return fusion._replace(
        active=fusion.active or word_score != 0.0,
        headroom=headroom,
        leave=leave,
        lm_scale=scale,
        word_score=float(word_score),
        unknown_score=float(unknown),
        unknown_potential=unknown_potential,
    )


def _words(options: FusionOptions, unit: int) -> list[str] | None:
    """The words of the lexicon, else those of a word-level language model, else None."""
    if options.lexicon is not None:
        words = list(dict.fromkeys(options.lexicon))
        if not words:
            raise InputError("the lexicon is empty; leave it out to allow every word")
        return words
    if unit == LM_WORD and options.lm is not None:
        return options.lm.words
    return None


def _lexicon(
    words: list[str] | None, alphabet: Alphabet, options: FusionOptions, unit: int
) -> tuple[LexiconTrie, npt.NDArray[np.int32]]:
    lm = options.lm
    if words is None:
        return empty_trie(), np.zeros(1, np.int32)
    if options.lexicon is not None and (wrong := [word for word in words if not alphabet.can_spell(word)]):
        raise InputError(
            f"{len(wrong)} of {len(words)} words of the lexicon cannot be written with the tokens "
            f"({', '.join(map(repr, wrong[:3]))}); write the lexicon as the model writes (case, apostrophes)"
        )
    lm_word, best = np.zeros(len(words), np.int32), None
    if unit == LM_WORD and lm is not None:
        if words is lm.words:
            special = {lm.unknown, lm.start, lm.end}
            lm_word = np.arange(len(words), dtype=np.int32)
            words = ["" if number in special else word for number, word in enumerate(words)]
        else:
            lm_word = np.array([lm.index(word) for word in words], dtype=np.int32)
        best = lm.tables.log10_prob[1 + lm_word]
    trie = build_trie(words, alphabet.symbols, best)
    if len(trie.symbol) == 1:
        raise InputError(
            "no word of the language model can be written with the tokens; they must agree in case and script "
            f"(the model has {', '.join(map(repr, words[3:6]))}, the tokens {''.join(alphabet.symbols)[:60]!r})"
        )
    return trie, lm_word


def hotword_tables(
    alphabet: Alphabet, given: Mapping[str, float] | Iterable[str], hotword_weight: float | None
) -> HotwordTables:
    """The automaton of hotwords that are given as a decoder's options are."""
    default = DEFAULT_HOTWORD_WEIGHT if hotword_weight is None else hotword_weight
    weights = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, default)
    if isinstance(given, Mapping) and hotword_weight is not None:
        raise ConfigError("hotwords have weights of their own, so hotword_weight would have no effect")
    phrases: dict[Sequence[int], float] = {}
    for phrase, weight in weights.items():
        words = " ".join(phrase.split())
        if not words or not alphabet.can_spell(words):
            raise InputError(f"hotword {phrase!r} cannot be written with the tokens; spell it as the model writes")
        if not math.isfinite(weight):
            raise ConfigError(f"the weight of hotword {phrase!r} must be a finite number, not {weight}")
        phrases[alphabet.numbers(words)] = float(weight)
    if not phrases:
        raise ConfigError("hotwords are given but empty")
    return build_hotwords(phrases, len(alphabet.symbols), alphabet.boundaries)


def _allowed(alphabet: Alphabet, blank: int, options: FusionOptions) -> npt.NDArray[np.bool_]:
    """Tokens that the set of allowed characters admits; word boundaries always are."""
    allowed = np.ones(len(alphabet.spelling), dtype=bool)
    if options.characters is not None:
        admitted = {0} | {number for number, text in enumerate(alphabet.symbols) if text in set(options.characters)}
        allowed[:] = [admitted.issuperset(spelled) for spelled in alphabet.spelling]
    allowed[blank] = True
    return allowed


def _token_words(tokens: Sequence[str], blank: int, word_delimiter: str, lm: NGramLM) -> npt.NDArray[np.int32]:
    """The token-level model's word for every token."""
    found = np.full(len(tokens), lm.unknown, np.int32)
    for number, token in enumerate(tokens):
        names = (token, *_SPACES_IN_MODELS) if token in (word_delimiter, " ") else (token,)
        found[number] = next((lm.index(name) for name in names if name in lm), lm.unknown)
    if all(word == lm.unknown for number, word in enumerate(found) if number != blank):
        raise InputError("the language model has none of the tokens; use lm_unit='word' for a word-level model")
    return found
