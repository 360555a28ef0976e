"""Suspicious Unicode, and ordinary texts that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcrec.checking.findings import Finding, findings_text
from ctcrec.checking.texts import TextSurvey


def survey(*texts: str) -> list[Finding]:
    texts_seen = TextSurvey()
    for number, text in enumerate(texts):
        texts_seen.add("train.jsonl", str(number), text)
    return list(texts_seen.findings())


@pytest.mark.parametrize(
    "texts",
    [
        ("don't", 'say "no"', "well-known – or not"),
        ("“don’t”, he said", "‘quoted’", "well-known — no"),
        ("Grüße, Ærøskøbing, naïve", "œuvre"),
        ("cafe\u0301", "e\u0301te\u0301"),  # all of one form
        ("αβγ абв abc",),  # scripts apart from one another
        ("β-Carotin, 5 µm, Ω",),
        ("می\u200cخواهم", "क्\u200dष"),  # joiners where they belong
        ("한국어", "日本語の文字", "العربية"),
        ("ſtraße wird", "ꝛ ⁊"),
        ("",),
    ],
)
def test_ordinary_texts(texts: tuple[str, ...]) -> None:
    assert survey(*texts) == []


@pytest.mark.parametrize(
    ("texts", "kind", "ids", "message"),
    [
        (("é", "e\u0301"), "form", ("1",), "in 1 examples, and composed characters in 1"),
        (("é e\u0301",), "form", ("0",), "NFC"),
        (("한", "\u1112\u1161\u11ab"), "form", ("1",), "NFC"),
        (
            ("don't", "don’t", "can't"),
            "look-alike",
            ("1",),
            'apostrophes in 2 styles: "\'" (U+0027 APOSTROPHE) 2 times',
        ),
        (("don't", "``no''"), "look-alike", ("1",), "apostrophes in 2 styles"),
        (('"a"', "“b”"), "look-alike", ("1",), "quotation marks in 2 styles"),
        (("a-b", "a\u2010b"), "look-alike", ("1",), "hyphens in 2 styles"),
        (("a b", "a\u00a0b"), "look-alike", ("1",), "spaces in 2 styles"),
        (("ș", "ş"), "look-alike", ("1",), "letters s"),
        (("p\u0430ypal",), "look-alike", ("0",), "mixes Latin and Cyrillic: 'а' (U+0430 CYRILLIC SMALL LETTER A)"),
        (("x", "\u0391lpha"), "look-alike", ("1",), "mixes Latin and Greek: 'Α' (U+0391"),
        (("a\tb", "ok"), "control", ("0",), r"'\t' (U+0009 no name) once: remove it"),
        (("a\nb",), "control", ("0",), r"'\n'"),
        (("a\x85b",), "control", ("0",), "U+0085"),
        (("\ufeffa",), "control", ("0",), "U+FEFF"),
        (("a\u200bb\u200b",), "control", ("0",), "U+200B ZERO WIDTH SPACE) 2 times"),
        (("a\u00adb",), "control", ("0",), "SOFT HYPHEN"),
        (("a\ufffdb",), "control", ("0",), "REPLACEMENT CHARACTER"),
        (("a\ue000b",), "control", ("0",), "U+E000"),
        (("a\ud83db",), "control", ("0",), "U+D83D"),
        (("a\u200cb",), "control", ("0",), "ZERO WIDTH NON-JOINER"),
        (("a\u202eb",), "bidi", ("0",), "RIGHT-TO-LEFT OVERRIDE"),
        (("\u2067a\u200f",), "bidi", ("0",), "RIGHT-TO-LEFT"),
    ],
)
def test_suspicious_texts(texts: tuple[str, ...], kind: str, ids: tuple[str, ...], message: str) -> None:
    findings = survey(*texts)
    assert findings and {finding.kind for finding in findings} == {kind}
    assert findings[0].ids == ids and message in findings[0].message


def test_many_examples_are_counted_and_some_named() -> None:
    [finding] = survey(*["a\u200bb"] * 300)
    assert finding.count == 300 and len(finding.ids) == 100 and finding.manifests == ("train.jsonl",)


def test_what_a_terminal_would_obey_is_escaped() -> None:
    finding = Finding("media", "a\nb", ("\x1b[2J\u202e\ud83d",))
    assert findings_text([finding]).splitlines()[1] == r"    \x1b[2J\u202e\ud83d: a\nb"


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=20), max_size=8))
def test_any_text_can_be_surveyed_and_printed(texts: list[str]) -> None:
    findings_text(survey(*texts)).encode()
