"""Tokenizers: text to token ids and back, exactly. Id 0 is the blank of CTC, and never comes out of `encode`.

A tokenizer is saved as plain files in a directory: `tokenizer.json` says which kind it is, `tokens.json` is the list
of printed tokens (id = position), and SentencePiece adds its own `tokenizer.model`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from ctcrec.errors import CheckpointError, TextError

__all__ = [
    "BLANK",
    "BLANK_TOKEN",
    "CharTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_tokenizer",
]

BLANK = 0
BLANK_TOKEN = "<blank>"
Unknown = Literal["error", "skip"]
_FORMAT = 1
_SPACE_PIECE = "▁"  # U+2581, how SentencePiece writes a space inside a piece
_RESERVED = frozenset("▁\n\t\r\0")  # characters that SentencePiece cannot give back


@runtime_checkable
class Tokenizer(Protocol):
    """What training and recognition need of a tokenizer.

    Attributes:
        tokens: the printed form of each id; `tokens[0]` is `"<blank>"`.
        blank: id of the blank, 0.
        word_delimiter: the string that, inside or as a token, marks where a word begins.
    """

    tokens: list[str]
    blank: int
    word_delimiter: str

    def __len__(self) -> int:
        """How many ids there are, the blank included: the width of the CTC head."""

    @property
    def size(self) -> int:
        """The same as `len`."""

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """Ids of normalized `text`, without blanks.

        Args:
            text: text after the normalizer.
            unknown: what to do with characters that the tokenizer lacks: `"error"`, or `"skip"` them.

        Raises:
            TextError: a character is lacking and `unknown` is `"error"`; the message names them all.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; blanks are ignored. `decode(encode(text)) == text`, spaces included."""

    def missing(self, text: str) -> set[str]:
        """Characters of `text` that cannot be encoded."""

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files into `directory`, which is made if needed."""


def describe_character(character: str) -> str:
    """A character as a message shows it: `'ß' (U+00DF LATIN SMALL LETTER SHARP S)`."""
    return f"{character!r} (U+{ord(character):04X} {unicodedata.name(character, 'no name')})"


def _known_text(tokenizer: Tokenizer, text: str, unknown: Unknown) -> str:
    """`text` without unknown characters, or the error that names them."""
    missing = tokenizer.missing(text)
    if not missing:
        return text
    if unknown == "skip":
        return "".join(character for character in text if character not in missing)
    if unknown != "error":
        raise TextError(f"unknown must be 'error' or 'skip', got {unknown!r}")
    shown = ", ".join(describe_character(character) for character in sorted(missing)[:20])
    raise TextError(
        f"the tokenizer has no token for {shown}{' and more' if len(missing) > 20 else ''}, in the text {text[:80]!r}; "
        "add text with these characters to the tokenizer's training text, normalize them away, or skip unknowns"
    )


def _tokens_of(ids: Sequence[int], tokens: list[str]) -> list[str]:
    """Printed tokens of `ids` without blanks. Raises TextError for an id out of range."""
    for token_id in ids:
        if not 0 <= token_id < len(tokens):
            raise TextError(f"token id {token_id} is out of range: this tokenizer has ids 0 to {len(tokens) - 1}")
    return [tokens[token_id] for token_id in ids if token_id != BLANK]


class CharTokenizer:
    """One token a code point, in code point order. The space is a token like any other."""

    def __init__(self, characters: Iterable[str]) -> None:
        characters = list(characters)
        wrong = sorted({c for c in characters if len(c) != 1 or characters.count(c) > 1})
        if wrong:
            raise TextError(f"a character tokenizer needs distinct single characters, got {wrong[:10]!r}")
        self.tokens = [BLANK_TOKEN, *characters]
        self.blank = BLANK
        self.word_delimiter = " "
        self._ids = {character: index for index, character in enumerate(characters, start=1)}

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        """The tokenizer of all characters in `texts`, the same for the texts in any order.

        Raises:
            TextError: there are no characters at all.
        """
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
        if not characters:
            raise TextError("the training text is empty, so there is no character to make a token of")
        return cls(sorted(characters))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def size(self) -> int:
        """Number of ids, the blank included."""
        return len(self.tokens)

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """See `Tokenizer.encode`."""
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            return [self._ids[character] for character in _known_text(self, text, unknown)]

    def decode(self, ids: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        return "".join(_tokens_of(ids, self.tokens))

    def missing(self, text: str) -> set[str]:
        """See `Tokenizer.missing`."""
        return set(text) - self._ids.keys()

    def save(self, directory: Path) -> None:
        """See `Tokenizer.save`."""
        _write_tokens(directory, "char", self.tokens)

    @classmethod
    def load(cls, directory: Path) -> CharTokenizer:
        """What `save` wrote. Raises CheckpointError when a file is missing or altered."""
        tokens = _read_tokens(directory)
        try:
            return cls(tokens[1:])
        except TextError as error:
            raise CheckpointError(f"{directory / 'tokens.json'}: {error}; restore the file") from None


class SentencePieceTokenizer:
    """Subwords by SentencePiece (Kudo & Richardson 2018), its unigram model (Kudo 2018) or byte-pair encoding.

    SentencePiece does no normalization of its own here: all spaces are kept, and a text comes back exactly. Its id 0 is
    the unknown piece, which never occurs because unknown characters are handled before; the blank takes that place.
    """

    def __init__(self, model: bytes) -> None:
        """Args: model: a serialized SentencePiece model, made by `train`."""
        import sentencepiece

        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError) as error:
            raise TextError(f"not a SentencePiece model: {error}") from None
        pieces = [self._processor.IdToPiece(index) for index in range(self._processor.GetPieceSize())]
        if not pieces or self._processor.unk_id() != 0 or any(map(self._processor.IsControl, range(len(pieces)))):
            raise TextError("the SentencePiece model must have its unknown piece at id 0 and no control symbols")
        self.tokens = [BLANK_TOKEN, *pieces[1:]]
        self.blank = BLANK
        self.word_delimiter = _SPACE_PIECE
        self._characters = {piece for piece in pieces[1:] if len(piece) == 1} - {_SPACE_PIECE} | {" "}

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, kind: str = "unigram") -> SentencePieceTokenizer:
        """Learn `vocab_size` ids, the blank included, that cover every character of `texts`; `kind` is unigram or bpe.

        Raises:
            TextError: `texts` are empty or contain a character that SentencePiece reserves (`▁`, newline, tab, NUL);
                or `vocab_size` is too large or too small for them (the message says what would fit).
        """
        if kind not in ("unigram", "bpe"):
            raise TextError(f"a SentencePiece tokenizer is of kind 'unigram' or 'bpe', got {kind!r}")
        texts = [text for text in texts if text]
        if not texts:
            raise TextError("the training text is empty, so there is nothing to learn subwords from")
        reserved = sorted(_RESERVED & set().union(*texts))
        if reserved:
            shown = ", ".join(map(describe_character, reserved))
            raise TextError(f"SentencePiece reserves {shown}, which the training text contains; normalize it away")
        return cls(_train_sentencepiece(texts, vocab_size, kind))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def size(self) -> int:
        """Number of ids, the blank included."""
        return len(self.tokens)

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        """See `Tokenizer.encode`."""
        return list(self._processor.EncodeAsIds(_known_text(self, text, unknown)))

    def decode(self, ids: Sequence[int]) -> str:
        """See `Tokenizer.decode`. The space that SentencePiece puts before a text is taken off again."""
        return "".join(_tokens_of(ids, self.tokens)).replace(_SPACE_PIECE, " ").removeprefix(" ")

    def missing(self, text: str) -> set[str]:
        """See `Tokenizer.missing`."""
        return set(text) - self._characters

    def save(self, directory: Path) -> None:
        """See `Tokenizer.save`."""
        _write_tokens(directory, "sentencepiece", self.tokens)
        (directory / "tokenizer.model").write_bytes(self._model)

    @classmethod
    def load(cls, directory: Path) -> SentencePieceTokenizer:
        """What `save` wrote. Raises CheckpointError when a file is missing or altered."""
        path = directory / "tokenizer.model"
        try:
            tokenizer = cls(path.read_bytes())
        except (OSError, TextError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from None
        if tokenizer.tokens != _read_tokens(directory):
            raise CheckpointError(f"{directory}: tokens.json and tokenizer.model disagree; restore both files")
        return tokenizer


def _train_sentencepiece(texts: list[str], vocab_size: int, kind: str) -> bytes:
    """The serialized model. SentencePiece's own messages about sizes are turned into ours."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=kind,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            unk_piece="\n",  # the usual "<unk>" would hide these characters wherever a text has them
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=1 << 30,  # longer ones would be left out silently
            num_threads=4,  # a constant, so that the result does not depend on the machine
            minloglevel=2,
        )
    except RuntimeError as error:
        message = str(error)
        if high := re.search(r"value <= (\d+)", message):
            advice = f"the text supports at most {high[1]}; set vocab_size to that or less, or give more text"
        elif low := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
            advice = f"its characters alone need {low[1]}; set vocab_size to that or more"
        else:
            advice = message
        raise TextError(f"vocab_size {vocab_size} does not suit this training text: {advice}") from None
    return model.getvalue()


def _write_tokens(directory: Path, kind: str, tokens: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    header = {"format": _FORMAT, "kind": kind, "size": len(tokens), "blank": BLANK}
    (directory / "tokenizer.json").write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    (directory / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def _read_tokens(directory: Path) -> list[str]:
    path = directory / "tokens.json"
    with contextlib.suppress(OSError, ValueError):
        tokens = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens) and tokens[:1] == [BLANK_TOKEN]:
            return tokens
    raise CheckpointError(f"{path}: missing, or not a JSON list of tokens that starts with '<blank>'; restore the file")


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int | None = None) -> Tokenizer:
    """Build a tokenizer from normalized training text.

    Args:
        kind: `"char"`, `"unigram"` or `"bpe"`.
        texts: the training text, already normalized.
        vocab_size: number of ids with the blank, for `"unigram"` and `"bpe"` only.

    Raises:
        TextError: an unknown kind, a vocab_size missing or without effect, or text that does not suit the kind.
    """
    if kind == "char":
        if vocab_size is not None:
            raise TextError("a character tokenizer takes every character of its text; vocab_size has no effect on it")
        return CharTokenizer.train(texts)
    if kind in ("unigram", "bpe"):
        if vocab_size is None:
            raise TextError(f"a {kind} tokenizer needs a vocab_size, for example 500")
        return SentencePieceTokenizer.train(texts, vocab_size, kind)
    raise TextError(f"unknown tokenizer {kind!r}; there are: char, unigram, bpe")


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load what a tokenizer's `save` wrote.

    Raises:
        CheckpointError: a file is missing, altered or of a later version; the message names it.
    """
    directory = Path(directory)
    path = directory / "tokenizer.json"
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        kind, format_version = header["kind"], header["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or not a tokenizer's header ({error}); restore the file") from None
    if format_version != _FORMAT:
        raise CheckpointError(
            f"{path}: format {format_version!r}, this ctcrec reads {_FORMAT}; use the matching ctcrec"
        )
    loaders: dict[str, Callable[[Path], Tokenizer]] = {
        "char": CharTokenizer.load,
        "sentencepiece": SentencePieceTokenizer.load,
    }
    if kind not in loaders:
        raise CheckpointError(f"{path}: unknown tokenizer kind {kind!r}; there are: {', '.join(loaders)}")
    tokenizer = loaders[kind](directory)
    if header.get("size") != len(tokenizer):
        raise CheckpointError(
            f"{directory}: tokenizer.json says {header.get('size')} ids, tokens.json has {len(tokenizer)}"
        )
    return tokenizer
