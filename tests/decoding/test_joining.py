import pytest

from ctcrec.decoding.joining import join_tokens, token_surface, word_groups


@pytest.mark.parametrize(
    ("tokens", "delimiter", "text"),
    [
        ([], " ", ""),
        (list("a cat"), " ", "a cat"),
        (["a", "|", "|", "b", "|"], "|", "a b"),
        (["▁the", "▁c", "at", "s"], " ", "the cats"),
        (["▁", "the", "▁", "cat"], " ", "the cat"),
        (["of▁the", "m"], " ", "of them"),
        (["▁na", "<0xC3>", "<0xAF>", "ve"], " ", "naïve"),
        (["日", "本"], " ", "日本"),
    ],
)
def test_text(tokens: list[str], delimiter: str, text: str) -> None:
    assert join_tokens(tokens, delimiter) == text
    assert " ".join(word for word, _ in word_groups(tokens, delimiter)) == text


def test_word_groups_name_the_tokens_of_each_word() -> None:
    assert word_groups(list(" ab  c ")) == [("ab", range(1, 3)), ("c", range(5, 6))]
    assert word_groups(["▁of▁the", "m"]) == [("of", range(0, 1)), ("them", range(0, 2))]


def test_only_the_delimiter_itself_is_a_boundary() -> None:
    assert token_surface("|", "|") == " "
    assert token_surface("|") == "|"
