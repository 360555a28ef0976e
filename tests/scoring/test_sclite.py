"""`alignment="sclite"` counts what NIST's sclite counts: on stored outputs always, on fresh ones where it is installed
(Debian: sctk)."""

import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ctcrec.scoring import Entry, character_counts, read_collection, score, word_counts, write_collection
from ctcrec.scoring.rates import ErrorCounts
from ctcrec.scoring.sclite import has_sclite_markup
from ctcrec.scoring.significance import mapsswe

STORED = Path(__file__).parent / "sclite"
SCLITE = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
SCORES = re.compile(r"^id: \((\S+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", re.MULTILINE)


def texts(name: str) -> dict[str, str]:
    return {identifier: entry.text for identifier, entry in read_collection(STORED / f"{name}.trn").items()}


@pytest.mark.parametrize("name", ["lines", "random"])
def test_counts_equal_the_stored_ones(name: str) -> None:
    references, hypotheses = texts(f"{name}.ref"), texts(f"{name}.hyp")
    rows = (STORED / f"{name}.sclite.tsv").read_text().splitlines()[1:]
    assert len(rows) >= 500
    differs = 0
    for row in rows:
        identifier, *numbers = row.split("\t")
        pair = references[identifier], hypotheses[identifier]
        expected = [ErrorCounts(*map(int, part)) for part in (numbers[:4], numbers[4:])]
        assert [word_counts(*pair, "sclite"), character_counts(*pair, "sclite")] == expected, identifier
        differs += [word_counts(*pair), character_counts(*pair)] != expected
    assert differs > 0  # otherwise the pairs would not tell the rules apart


def test_mapsswe_equals_sc_stats() -> None:
    """MTCH_PR_RESULTS of sc_stats: 1066 segments, mean 0.876, standard deviation 2.244, Z 12.750."""
    references, first, second = texts("random.ref"), texts("random.hyp"), texts("random.other")
    result = mapsswe(((references[i], first[i], second[i]) for i in references), "sclite")
    assert result.segments == 1066
    assert result.mean == pytest.approx(0.876, abs=5e-4)
    assert result.z == pytest.approx(12.750, abs=5e-4)


def test_report_says_which_rule_counted() -> None:
    report = score(texts("random.ref"), texts("random.hyp"), alignment="sclite", samples=0)
    assert "align:sclite" in report.signature
    assert report.wer > score(texts("random.ref"), texts("random.hyp"), samples=0).wer


def test_markup_is_recognized_and_warned_about() -> None:
    assert not any(has_sclite_markup(text) for text in texts("lines.ref").values())
    assert all(map(has_sclite_markup, ["a @ b", "{ a / b }", "word:tag", "word;", "noise*"]))
    report = score({"1": "a @ b"}, {"1": "a b"}, alignment="sclite", samples=0)
    assert any("markup" in warning for warning in report.warnings)
    assert score({"1": "a @ b"}, {"1": "a b"}, samples=0).warnings == ()


def run_sclite(folder: Path, references: Mapping[str, str], hypotheses: Mapping[str, str]) -> dict[str, ErrorCounts]:
    for name, side in (("ref", references), ("hyp", hypotheses)):
        write_collection(folder / f"{name}.trn", (Entry(identifier, text) for identifier, text in side.items()))
    files = f"-r {folder}/ref.trn trn -h {folder}/hyp.trn trn"
    command = f"{SCLITE} -s -e utf-8 {files} -i spu_id -o pralign stdout"
    output = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
    return {row[0]: ErrorCounts(*map(int, row[1:])) for row in SCORES.findall(output)}


def damage(generator: random.Random, words: Sequence[str], vocabulary: Sequence[str], rate: float) -> list[str]:
    damaged: list[str] = []
    for word in words:
        kind = generator.random() / rate
        if kind < 1 / 3:
            continue
        damaged.append(generator.choice(vocabulary) if kind < 2 / 3 else word)
        if 2 / 3 <= kind < 1:
            damaged.append(generator.choice(vocabulary))
    return damaged


@pytest.mark.skipif(SCLITE is None, reason="needs sclite")
@pytest.mark.parametrize("size", [2, 5, 50])
def test_counts_equal_those_of_the_program(size: int, tmp_path: Path) -> None:
    generator = random.Random(size)
    vocabulary = [f"wé{i}" for i in range(size)]
    references, hypotheses = {}, {}
    for number in range(400):
        words = [generator.choice(vocabulary) for _ in range(generator.randint(0, 30))]
        references[f"s-{number}"] = " ".join(words)
        hypotheses[f"s-{number}"] = " ".join(damage(generator, words, vocabulary, generator.choice([0.1, 0.5, 1.0])))
    counted = run_sclite(tmp_path, references, hypotheses)
    assert len(counted) == 400
    assert {name: word_counts(references[name], hypotheses[name], "sclite") for name in references} == counted
