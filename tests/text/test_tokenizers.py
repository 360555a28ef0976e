"""Tokenizers give every text back exactly, are deterministic, and say which characters they lack."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import CheckpointError, TextError
from ctcrec.text import (
    BLANK_TOKEN,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

ALPHABET = "abcdeé ß'ſ\u00a0\u3000😀-<unk>"
TEXTS = [
    "the cat  sat on the mat",
    " the dog sat on the cat",
    "a cat and a dog",
    "nine nine five ",
    "one two three four five six seven eight nine",
] * 4


@pytest.fixture(scope="module", params=["char", "unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    size = None if request.param == "char" else 36
    return train_tokenizer(request.param, [*TEXTS, ALPHABET], size)


def test_kinds_follow_the_protocol(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.blank == 0
    assert tokenizer.tokens[0] == BLANK_TOKEN
    assert tokenizer.size == len(tokenizer) == len(tokenizer.tokens)
    assert len(set(tokenizer.tokens)) == len(tokenizer)


@given(text=st.text(alphabet=ALPHABET))
@settings(max_examples=200, deadline=None)
def test_round_trip_is_exact(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert all(0 < token_id < len(tokenizer) for token_id in ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", ["", " ", "  ", " the", "the ", "  the  cat  ", "<unk>", "<unk> the <unk>"])
def test_spaces_and_unk_lookalikes_come_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decode_ignores_blanks(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([0, *ids, 0, 0]) == "the cat"
    assert tokenizer.decode([]) == ""


def test_decode_refuses_ids_out_of_range(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="out of range"):
        tokenizer.decode([len(tokenizer)])
    with pytest.raises(TextError, match="out of range"):
        tokenizer.decode([-1])


def test_unknown_characters_are_named_or_skipped(tokenizer: Tokenizer) -> None:
    assert tokenizer.missing("the Qat Ω") == {"Q", "Ω"}
    with pytest.raises(TextError, match=r"'Q' \(U\+0051 LATIN CAPITAL LETTER Q\).*'Ω'.*the Qat Ω"):
        tokenizer.encode("the Qat Ω")
    assert tokenizer.decode(tokenizer.encode("the Qat Ω", unknown="skip")) == "the at "
    with pytest.raises(TextError, match="'error' or 'skip'"):
        tokenizer.encode("the Qat", unknown="ignore")  # type: ignore[arg-type]


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new")
    again = load_tokenizer(tmp_path / "new")
    assert type(again) is type(tokenizer)
    assert again.tokens == tokenizer.tokens
    assert again.word_delimiter == tokenizer.word_delimiter
    assert again.encode("the cat  sat") == tokenizer.encode("the cat  sat")
    assert json.loads((tmp_path / "new" / "tokens.json").read_text("utf-8")) == tokenizer.tokens


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sentencepiece_training_is_deterministic(kind: str) -> None:
    assert train_tokenizer(kind, TEXTS, 28).tokens == train_tokenizer(kind, TEXTS, 28).tokens


@given(st.lists(st.text(max_size=20), min_size=1).filter(any), st.randoms())
@settings(deadline=None)
def test_character_tokenizer_does_not_depend_on_order(texts: list[str], random: object) -> None:
    tokenizer = CharTokenizer.train(texts)
    assert tokenizer.tokens[1:] == sorted(set("".join(texts)))
    random.shuffle(texts)  # type: ignore[attr-defined]
    assert CharTokenizer.train(texts).tokens == tokenizer.tokens
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_of_subwords_start_with_the_delimiter() -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, 30)
    pieces = [tokenizer.tokens[i] for i in tokenizer.encode("the cat")]
    assert "".join(pieces) == f"{tokenizer.word_delimiter}the{tokenizer.word_delimiter}cat"
    assert max(map(len, tokenizer.tokens[1:])) > 1


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_vocab_size_that_does_not_fit_says_what_would(kind: str) -> None:
    with pytest.raises(TextError, match=r"vocab_size 4000 .* at most (\d+)") as caught:
        train_tokenizer(kind, TEXTS, 4000)
    largest = int(str(caught.value).split("at most ")[1].split(";")[0])
    assert len(train_tokenizer(kind, TEXTS, largest)) == largest
    with pytest.raises(TextError, match=r"vocab_size 5 .* need (\d+)") as caught:
        train_tokenizer(kind, TEXTS, 5)
    smallest = int(str(caught.value).split("alone need ")[1].split(";")[0])
    assert len(train_tokenizer(kind, TEXTS, smallest)) == smallest


def test_training_on_nothing_and_on_reserved_characters() -> None:
    for kind, size in (("char", None), ("unigram", 20), ("bpe", 20)):
        with pytest.raises(TextError, match="training text is empty"):
            train_tokenizer(kind, ["", ""], size)
    for kind in ("unigram", "bpe"):
        with pytest.raises(TextError, match=r"reserves .*U\+2581"):
            train_tokenizer(kind, ["a▁b"], 20)


def test_reserved_characters_are_missing_from_sentencepiece() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, 30)
    assert tokenizer.missing("a▁b\n") >= {"▁", "\n"}
    assert tokenizer.decode(tokenizer.encode("the▁cat", unknown="skip")) == "thecat"


def test_options_without_effect_or_missing_are_errors() -> None:
    with pytest.raises(TextError, match="no effect"):
        train_tokenizer("char", TEXTS, 40)
    with pytest.raises(TextError, match="needs a vocab_size"):
        train_tokenizer("bpe", TEXTS)
    with pytest.raises(TextError, match="char, unigram, bpe"):
        train_tokenizer("word", TEXTS)


@pytest.mark.parametrize("kind", ["char", "unigram"])
def test_damaged_files_are_named(kind: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(kind, TEXTS, None if kind == "char" else 30)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path / "none")
    tokenizer.save(tmp_path)
    for name in sorted(path.name for path in tmp_path.iterdir()):
        content = (tmp_path / name).read_bytes()
        for damaged in (None, b"", content[: len(content) // 2], b"[]", b"\xff\xfe{}"):
            (tmp_path / name).unlink()
            if damaged is not None:
                (tmp_path / name).write_bytes(damaged)
            with pytest.raises(CheckpointError, match=name.split(".")[0]):
                load_tokenizer(tmp_path)
            (tmp_path / name).write_bytes(content)
    header = json.loads((tmp_path / "tokenizer.json").read_text())
    for change, message in (
        ({"format": 2}, "format 2"),
        ({"kind": "word"}, "unknown tokenizer kind"),
        ({"size": 3}, "3"),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps(header | change))
        with pytest.raises(CheckpointError, match=message):
            load_tokenizer(tmp_path)
