"""Text conventions: values by hand, idempotence, and the record that goes into a checkpoint."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import TextError
from ctcrec.text import CONVENTIONS, Normalizer


@pytest.mark.parametrize(
    ("convention", "text", "expected"),
    [
        ("raw", "e\u0301  a", "e\u0301  a"),
        ("nfc", "e\u0301  ſ ﬁ", "é  ſ ﬁ"),
        ("librispeech", "“Don’t,” said the café-owner; 42!", "DON'T SAID THE CAFE OWNER"),
        ("iam-ascii", "life|Peers| , | said|.", "life Peers , said ."),
        ("iam-xml", "&amp;quot;We &amp; they,&quot; he said.", '"We & they," he said.'),
        ("lower-no-punctuation", "“Don’t!” – said Ünal's aunt… 'tis 5€", "don't said ünal's aunt tis 5"),
        ("lowercase+fold-dashes", "A–B", "a-b"),
        (["fold-quotes"], "‚a‘ „b“ «c» `d´", "'a' \"b\" \"c\" 'd'"),
        (["keep:ab "], "a-b c", "ab "),
        (["only:ab^]-"], "a]x^-b", "a] ^-b"),
        (["remove:]-"], "a]-b", "ab"),
        (["replace:a=>", "replace:b=>=>"], "xab", "x=>"),
        (["replace:==>+"], "a=b", "a+b"),
        (["nfkc", "casefold"], "ﬁ ß", "fi ss"),
        (["nfd"], "é", "e\u0301"),
        ("strip-accents", "Ångström ſ", "Angstrom ſ"),
    ],
)
def test_values(convention: str | list[str], text: str, expected: str) -> None:
    assert Normalizer.of(convention).normalize(text) == expected


@pytest.mark.parametrize("name", CONVENTIONS)
@given(text=st.text())
@settings(deadline=None)
def test_named_conventions_are_idempotent(name: str, text: str) -> None:
    normalizer = Normalizer.named(name)
    once = normalizer.normalize(text)
    assert normalizer.normalize(once) == once


@given(text=st.text())
@settings(deadline=None)
def test_default_is_nfc(text: str) -> None:
    assert Normalizer().normalize(text) == unicodedata.normalize("NFC", text)


@given(text=st.text())
@settings(deadline=None)
def test_librispeech_leaves_only_its_alphabet(text: str) -> None:
    result = Normalizer.named("librispeech").normalize(text)
    assert set(result) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert "  " not in result and result == result.strip()


@pytest.mark.parametrize("convention", [*CONVENTIONS, "lowercase+nfc", ["replace:+=>plus"]])
def test_record_survives_json(convention: str | list[str]) -> None:
    normalizer = Normalizer.of(convention)
    again = Normalizer.from_dict(json.loads(json.dumps(normalizer.to_dict())))
    assert again == normalizer
    assert again.signature == normalizer.signature
    assert again.normalize("A+b’ e\u0301") == normalizer.normalize("A+b’ e\u0301")


def test_recorded_steps_win_over_the_name() -> None:
    old = Normalizer.from_dict({"name": "librispeech", "version": 0, "steps": ["uppercase"]})
    assert old.normalize("a-b") == "A-B"
    assert old.signature == "librispeech.v0"


def test_signatures() -> None:
    assert Normalizer.named("librispeech").signature == "librispeech.v1"
    assert Normalizer.of("nfc+lowercase").signature == "nfc+lowercase"
    assert Normalizer(()).signature == "raw.v1"


def test_unknown_steps_and_conventions_list_what_there_is() -> None:
    with pytest.raises(TextError, match=r"'lower'.*lowercase.*keep:CHARACTERS"):
        Normalizer(("lower",))
    with pytest.raises(TextError, match=r"'keep:'"):
        Normalizer(("keep:",))
    with pytest.raises(TextError, match=r"'replace:ab'"):
        Normalizer(("replace:ab",))
    with pytest.raises(TextError, match=r"'libri'.*librispeech"):
        Normalizer.named("libri")
    with pytest.raises(TextError, match=r"'libri'.*librispeech"):
        Normalizer.of("libri")
    with pytest.raises(TextError, match="steps"):
        Normalizer.from_dict({"name": "nfc"})
