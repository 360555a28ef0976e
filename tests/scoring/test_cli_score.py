"""`ctcrec score` as a command: what it prints, what it writes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from ctcrec.cli.score import score
from ctcrec.errors import ConfigError, CtcrecError, DataError
from ctcrec.scoring import read_collection

REFERENCE = "the cat sat (anna-1)\non the mat (anna-2)\nall is well (ben-1)\n"
HYPOTHESIS = "the cat sat (anna-1)\non a mat (anna-2)\nall well (ben-1)\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ref.trn").write_text(REFERENCE)
    (tmp_path / "hyp.trn").write_text(HYPOTHESIS)
    (tmp_path / "better.trn").write_text(REFERENCE.replace("mat", "hat"))
    return tmp_path


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(score)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, CtcrecError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_text_and_json_say_the_same(files: Path) -> None:
    text = run(files / "ref.trn", files / "hyp.trn").output
    assert "22.22 %" in text and "anna" in text and "1 of 3 examples" in text
    result = json.loads(run(files / "ref.trn", files / "hyp.trn", "--format", "json").output)
    words = result["words"]
    assert [words[k] for k in ("hits", "substitutions", "deletions", "insertions")] == [7, 1, 1, 0]
    assert words["rate"] == pytest.approx(2 / 9)
    assert words["interval"][0] <= words["rate"] <= words["interval"][1]
    assert result["signature"] in text


def test_no_torch_is_loaded(files: Path) -> None:
    """It would take two seconds and half a gigabyte."""
    program = (
        "import sys; from ctcrec.cli.main import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "score", files / "ref.trn", files / "hyp.trn", "--out", files / "out"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_reports_and_exports_are_written(files: Path) -> None:
    out = files / "out"
    run(files / "ref.trn", files / "hyp.trn", "--out", out, "--export", "trn", "--text", "nfc+uppercase")
    assert json.loads((out / "report.json").read_text())["examples"] == 3
    assert "WER" in (out / "report.txt").read_text()
    assert "REF: ON THE MAT" in (out / "worst.txt").read_text()
    assert read_collection(out / "hypothesis.trn")["ben-1"].text == "ALL WELL"


def test_exports_keep_times_and_sides(tmp_path: Path) -> None:
    (tmp_path / "ref.stm").write_text("call 1 anna 0 2 The cat\ncall 1 ben 2 4 sat\ncall 1 ben 4 5 down\n")
    (tmp_path / "hyp.ctm").write_text("call 1 0.1 0.5 the 0.9\ncall 1 1.0 0.5 hat 0.8\ncall 1 2.5 0.5 sat 0.7\n")
    files = [tmp_path / "ref.stm", tmp_path / "hyp.ctm"]
    for form in ("ctm", "stm", "folder"):
        run(*files, "--text", "nfc+lowercase", "--out", tmp_path / form, "--export", form)
    assert (tmp_path / "ctm/reference.stm").read_text() == (tmp_path / "stm/reference.stm").read_text()
    assert (tmp_path / "ctm/hypothesis.ctm").read_text().splitlines() == [
        "call 1 0.100 0.500 the 0.9000",
        "call 1 1.000 0.500 hat 0.8000",
        "call 1 2.500 0.500 sat 0.7000",
    ]
    assert read_collection(tmp_path / "stm/reference.stm")["call-1-0-2"].text == "the cat"
    again = read_collection(tmp_path / "stm/hypothesis.stm")
    assert (again["call-1-0-2"].text, again["call-1-0-2"].fields["speaker"]) == ("the hat", "anna")
    folder = tmp_path / "folder/hypothesis"
    assert (folder / "call-1-2-4.pred.txt").read_text() == "sat\n"
    assert {path.name for path in folder.iterdir()} == {
        "call-1-0-2.pred.txt", "call-1-2-4.pred.txt", "call-1-4-5.pred.txt",
    }  # fmt: skip


def test_several_systems_are_compared_and_voted(files: Path) -> None:
    paths = [files / "hyp.trn", files / "better.trn"]
    result = json.loads(
        run(
            files / "ref.trn", *paths, "--rover", files / "voted.trn", "--format", "json", "--out", files / "out"
        ).output
    )
    assert set(result["systems"]) == {"hyp", "better", "rover"}
    assert [(c["first"], c["second"]) for c in result["comparisons"]] == [
        ("hyp", "better"),
        ("hyp", "rover"),
        ("better", "rover"),
    ]
    assert (result["comparisons"][0]["wins"], result["comparisons"][0]["losses"]) == (0, 1)
    assert set(read_collection(files / "voted.trn")) == {"anna-1", "anna-2", "ben-1"}
    assert (files / "out" / "better" / "report.json").exists()
    assert "MAPSSWE" in (files / "out" / "comparison.txt").read_text()
    assert "hyp against better" in run(files / "ref.trn", *paths).output


def test_options_without_effect_are_refused(files: Path) -> None:
    with pytest.raises(ConfigError, match="--out"):
        run(files / "ref.trn", files / "hyp.trn", "--export", "trn")
    with pytest.raises(ConfigError, match="at least two"):
        run(files / "ref.trn", files / "hyp.trn", "--rover", files / "v.trn")
    with pytest.raises(ConfigError, match="--samples"):
        run(files / "ref.trn", files / "hyp.trn", files / "better.trn", "--samples", "0")


def test_bad_input_is_named(files: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run(files / "none.trn", files / "hyp.trn")
    (files / "blocked").write_text("a file where a folder should go")
    with pytest.raises(DataError, match="blocked: the reports cannot be written"):
        run(files / "ref.trn", files / "hyp.trn", "--out", files / "blocked")


def test_formats_can_be_named(files: Path) -> None:
    (files / "ref").write_text("the cat\n")
    (files / "hyp").write_text("the hat\n")
    options = ["--reference-format", "lines", "--hypothesis-format", "lines"]
    assert "50.00 %" in run(files / "ref", files / "hyp", *options).output
