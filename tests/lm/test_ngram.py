"""Reading and scoring, against the definition and against KenLM."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from oracles.decoding import NGrams, sentence_log10

from ctcrec.errors import DataError, InputError
from ctcrec.lm import NGramLM
from ctcrec.lm.arpa import write_arpa

ARPA = """\\data\\
ngram 1=7
ngram 2=6
ngram 3=3

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.4
-0.9\t</s>
-0.7\tthe\t-0.3
-1.1\tcat\t-0.2
-1.3\tsat\t-0.1
-1.5\ton

\\2-grams:
-0.3\t<s> the\t-0.25
-0.5\tthe cat\t-0.15
-0.4\tcat sat\t0.1
-0.6\tsat on
-0.2\ton the\t-0.05
-0.8\tcat </s>

\\3-grams:
-0.1\t<s> the cat
-0.35\tthe cat sat
-0.45\ton the cat

\\end\\
"""
SENTENCES = ["", "the", "the cat sat on the cat", "cat", "dog the cat", "on on on", "the dog sat", "cat sat cat sat on"]
# kenlm 0.3.0: Model("small.arpa").score(sentence, bos=True, eos=True) of SENTENCES
KENLM = [-1.3, -1.75, -2.85, -2.3, -3.75, -5.8, -4.35, -4.8]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "small.arpa"
    path.write_text(ARPA)
    return path


def ngrams() -> NGrams:
    entries: dict[tuple[str, ...], tuple[float, float]] = {}
    for line in ARPA.splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            entries[tuple(fields[1].split())] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return entries


def test_scores_are_the_definition_and_kenlm(path: Path) -> None:
    model = NGramLM.load(path)
    assert (model.order, model.counts) == (3, (7, 6, 3))
    for sentence, expected in zip(SENTENCES, KENLM, strict=True):
        assert model.score(sentence) == pytest.approx(expected, abs=1e-4)
        assert model.score(sentence) == pytest.approx(sentence_log10(ngrams(), sentence.split()), abs=1e-5)


def test_every_word_as_kenlm_does_if_it_is_there(path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", exc_type=ImportError)
    theirs, ours = kenlm.Model(str(path)), NGramLM.load(path)
    for sentence in SENTENCES:
        for bos in (True, False):
            for eos in (True, False):
                expected = list(theirs.full_scores(sentence, bos=bos, eos=eos))
                scores = ours.score_words(sentence, bos=bos, eos=eos)
                assert [score.log10_prob for score in scores] == pytest.approx([e[0] for e in expected], abs=1e-5)
                assert [(score.length, score.unknown) for score in scores] == [(e[1], e[2]) for e in expected]


def test_gzip_binary_and_rewritten_forms_are_the_same_model(path: Path, tmp_path: Path) -> None:
    model = NGramLM.load(path)
    packed = tmp_path / "packed.arpa.gz"
    packed.write_bytes(gzip.compress(ARPA.encode()))
    model.save(tmp_path / "model.bin")
    write_arpa(model, tmp_path / "again.arpa")
    write_arpa(model, tmp_path / "again.arpa.gz")
    for name in ("packed.arpa.gz", "model.bin", "again.arpa", "again.arpa.gz"):
        other = NGramLM.load(tmp_path / name)
        assert (other.words, other.counts) == (model.words, model.counts)
        for ours, theirs in zip(model.tables, other.tables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_model_without_unknown_word_gets_kenlms(tmp_path: Path) -> None:
    text = ARPA.replace("-1.2\t<unk>\n", "").replace("ngram 1=7", "ngram 1=6")
    (tmp_path / "a.arpa").write_text(text)
    assert NGramLM.load(tmp_path / "a.arpa").score("dog", bos=False, eos=False) == -100.0


def test_a_model_pruned_of_a_suffix_backs_off_further(tmp_path: Path) -> None:
    """SRILM keeps "a b c" and prunes "b c"; the context after it is then "c"."""
    text = ARPA.replace("-0.5\tthe cat\t-0.15\n", "").replace("ngram 2=6", "ngram 2=5")
    text = text.replace("-0.35\tthe cat sat\n", "").replace("ngram 3=3", "ngram 3=2")
    (tmp_path / "a.arpa").write_text(text)
    model = NGramLM.load(tmp_path / "a.arpa")
    assert model.score("the cat sat", eos=False) == pytest.approx(-0.3 - 0.1 - 0.4, abs=1e-6)


def test_perplexity_with_and_without_unknown_words(path: Path) -> None:
    model = NGramLM.load(path)
    result = model.perplexity(["the cat", "dog"])
    total = model.score("the cat") + model.score("dog")
    assert (result.words, result.unknown, result.sentences) == (5, 1, 2)
    assert result.with_unknown == pytest.approx(10 ** (-total / 5))
    unknown = model.score_words("dog")[0].log10_prob
    assert result.without_unknown == pytest.approx(10 ** (-(total - unknown) / 4))
    with pytest.raises(InputError, match="no sentence"):
        model.perplexity([])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "not an ARPA file|cut off"),
        ("ngram 2=6", "ngram 3=6", r":3: expected 'ngram 2=COUNT'"),
        ("-0.4\tcat sat\t0.1", "-0.4\tcat", r":18: expected 'log10-probability' and 2 words"),
        ("-0.4\tcat sat\t0.1", "x\tcat sat\t0.1", r":18: 'x' is not a number"),
        ("-0.4\tcat sat\t0.1", "-0.4\tcat dog\t0.1", r":18: the word 'dog' is not among the unigrams"),
        ("-0.4\tcat sat\t0.1", "-0.4\tthe cat\t0.1", "n-gram of the cat stands twice"),
        ("-0.5\tthe cat\t-0.15", "-0.5\ton cat\t-0.15", "n-gram of the cat sat has no entry for its first words"),
        ("\\end\\\n", "", "cut off"),
        ("-0.45\ton the cat\n", "-0.45\ton the cat\n-0.1\ta b c\n", r"expected \\end\\"),
        ("-0.9\t</s>", "-0.9\tdog", "no </s>"),
        ("-1.5\ton", "-1.5\tcat", "'cat' stands twice"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ARPA
    (tmp_path / "a.arpa").write_text(ARPA.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        NGramLM.load(tmp_path / "a.arpa")
    assert str(tmp_path / "a.arpa") in str(caught.value)


def test_missing_and_damaged_binary_files(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        NGramLM.load(tmp_path / "none")
    NGramLM.load(path).save(tmp_path / "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "cut.bin").write_bytes(whole[:-100])
    with pytest.raises(DataError, match="damaged"):
        NGramLM.load(tmp_path / "cut.bin")
