"""IAM's layout with all its traps: exact counts and transcripts, both splits, and that they are never mixed."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from iam_tree import BROKEN, EMPTY, FORMS, LINES, MISSING, OFFICIAL, ONLY_STRUCK, RWTH, IamTree, build_iam_tree

from ctcrec.corpora import Prepared, write_prepared
from ctcrec.corpora.iam import prepare
from ctcrec.corpora.manifests import merge
from ctcrec.data.manifest import read_manifest, read_manifests, write_manifest
from ctcrec.data.partitions import text_conventions
from ctcrec.errors import CorpusError, CtcrecError, InputError, ManifestError

if TYPE_CHECKING:
    from command import Command
    from conftest import Trained


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> IamTree:
    return build_iam_tree(tmp_path_factory.mktemp("iam") / "IAM")


@pytest.fixture
def own_tree(tmp_path: Path) -> IamTree:
    """A tree that a test may change."""
    return build_iam_tree(tmp_path / "IAM")


def reasons(prepared: Prepared) -> dict[str, str]:
    return {item.what.partition(" ")[0]: item.reason for item in prepared.left_out}


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("text", ["ascii", "xml"])
@pytest.mark.parametrize(("split", "forms"), [("rwth", RWTH), ("official", OFFICIAL)])
def test_exact_counts_and_transcripts(tree: IamTree, text: str, split: str, forms: dict, by_line: bool) -> None:
    prepared = prepare(tree.folder, split, text, tree.lists(forms, by_line))
    for name, chosen in forms.items():
        examples = prepared.splits[name]
        assert [example.id for example in examples] == tree.lines_of(chosen)
        for example in examples:
            expected = tree.ascii_text(example.id) if text == "ascii" else tree.xml_text(example.id)
            assert example.text == expected
            assert example.source == tree.images[example.id]
            assert example.writer == FORMS[example.id.rpartition("-")[0]]
            assert example.width and example.height == 48
            assert example.extra == {
                "form": example.id.rpartition("-")[0],
                "segmentation": tree.segmentation[example.id],
                "partition": f"iam:{split}",
                "text_convention": f"iam-{text}.v1",
            }
    assert list(prepared.splits) == ["train", "valid", "test"]


def test_the_traps(tree: IamTree) -> None:
    prepared = prepare(tree.folder, "rwth", lists=tree.lists(RWTH))
    texts = {example.id: example.text or "" for split in prepared.splits.values() for example in split}
    assert " B B C " in texts["a01-000u-01"]
    assert texts["b02-045-00"].startswith('" R & D " ')
    assert sum(tree.segmentation[line] == "err" for line in texts) == LINES + 1
    assert not any(line.startswith("g06-011") for line in texts)
    assert len(prepared.splits["train"]) == 3 * LINES - 2
    assert len(prepared.splits["valid"]) == LINES - 1
    assert len(prepared.splits["test"]) == 2 * LINES
    why = reasons(prepared)
    assert why.keys() == {MISSING, BROKEN, EMPTY}
    assert why[MISSING] == "its medium is not there"
    assert why[EMPTY] == "is empty (0 bytes); copy it again"


def test_notes(tree: IamTree) -> None:
    prepared = prepare(tree.folder, "rwth", lists=tree.lists(RWTH))
    notes = "\n".join(prepared.notes)
    assert f"train: {3 * LINES - 2} lines of 3 forms; published are 6482 lines of 747 forms; missing 2:" in notes
    assert f"missing 2: {MISSING}, {BROKEN}" in notes
    assert f"valid: {LINES - 1} lines of 1 forms; published are 976 lines of 116 forms; missing 1: {EMPTY}" in notes
    assert f"test: {2 * LINES} lines of 2 forms; published are 2915 lines of 336 forms\n" in notes
    assert f"lines in no list: {LINES}\n" in notes
    assert "struck-out words: 4 in 3 lines, kept as #" in notes
    assert "writers in both train and valid: 1 (000)" in notes
    words = sum(len(tree.ascii_text(line).split()) for line in tree.lines_of(RWTH["test"]))
    assert "words under the text convention iam-ascii.v1: train " in notes and f"test {words}" in notes
    official = "\n".join(prepare(tree.folder, "official", lists=tree.lists(OFFICIAL, by_line=True)).notes)
    assert f"valid: {LINES - 2} lines of 1 forms; published are 900 or 940 lines; missing 2: {MISSING}" in official


def test_listed_lines_that_the_release_lacks_are_named(tree: IamTree) -> None:
    lists = tree.lists(RWTH)
    lists["test"].write_text("d04-008\nh07-025\n")
    lists["valid"].write_text("lines/c03/c03-000a/c03-000a-00.png\nc03-000a-99\n")
    notes = "\n".join(prepare(tree.folder, "rwth", lists=lists).notes)
    assert "missing 1: h07-025" in notes
    assert "valid: 1 lines of 1 forms" in notes and "missing 1: c03-000a-99" in notes


@pytest.mark.parametrize("text", ["ascii", "xml"])
def test_struck_out_words_dropped(tree: IamTree, text: str) -> None:
    prepared = prepare(tree.folder, "rwth", text, tree.lists(RWTH), "drop")
    examples = {example.id: example for split in prepared.splits.values() for example in split}
    assert not any("#" in (example.text or "") for example in examples.values())
    words = [word for word in tree.words["a01-000x-01"] if word != "#"]
    assert (examples["a01-000x-01"].text or "").split() == (
        " ".join(words) if text == "ascii" else re.sub(r" (?=[.,;:!?](?: |$))", "", " ".join(words))
    ).split()
    assert reasons(prepared)[ONLY_STRUCK] == "its text is empty"
    assert {example.extra["text_convention"] for example in examples.values()} == {f"iam-{text}.v1+struck-out-dropped"}
    assert "struck-out words: 3 in 2 lines, dropped" in prepared.notes


def test_usual_list_names_are_found(own_tree: IamTree) -> None:
    task = own_tree.folder / "largeWriterIndependentTextLineRecognitionTask"
    task.mkdir()
    for name, path in own_tree.lists(OFFICIAL, by_line=True).items():
        usual = {"train": "trainset.txt", "valid": "validationset1.txt", "test": "testset.txt"}[name]
        (task / usual).write_bytes(path.read_bytes())
    prepared = prepare(own_tree.folder, "official")
    assert [len(prepared.splits[name]) for name in ("train", "valid", "test")] == [2 * LINES, LINES - 2, 2 * LINES - 1]
    with pytest.raises(CorpusError, match=r"no train\.uttlist or .* --list train=FILE: one form"):
        prepare(own_tree.folder, "rwth")
    with pytest.raises(CorpusError, match="trainset.txt: is a list of the official split, and --split is rwth"):
        prepare(own_tree.folder, "rwth", lists={**own_tree.lists(RWTH), "train": task / "trainset.txt"})


def test_lists_of_both_splits_overlap(tree: IamTree) -> None:
    mixed = {**RWTH, "test": OFFICIAL["test"]}  # c03-000a is validated on by the one and tested on by the other
    with pytest.raises(
        CorpusError, match=r"c03-000a is in the list of valid too .*the splits rwth and official overlap"
    ):
        prepare(tree.folder, "rwth", lists=tree.lists(mixed))
    by_line = {**tree.lists(RWTH), "test": tree.lists(OFFICIAL, by_line=True)["test"]}
    with pytest.raises(CorpusError, match="overlap"):
        prepare(tree.folder, "rwth", lists=by_line)


@pytest.mark.parametrize(("split", "name", "count"), [("rwth", "valid", 940), ("official", "test", 2915)])
def test_a_list_of_the_other_splits_length(tree: IamTree, split: str, name: str, count: int) -> None:
    lists = tree.lists(RWTH)
    rows = (f"k{number // 1000:02d}-{number % 1000:03d}-00\n" for number in range(count))
    lists[name].write_text("".join(rows))
    with pytest.raises(CorpusError, match=f"names {count} lines, as the {name} list of the .* split does"):
        prepare(tree.folder, split, lists=lists)


def test_manifests_read_back_identically(tree: IamTree, tmp_path: Path) -> None:
    prepared = prepare(tree.folder, "rwth", lists=tree.lists(RWTH))
    write_prepared(prepared, tmp_path, say=lambda text: None)
    for name, examples in prepared.splits.items():
        back = read_manifest(tmp_path / f"{name}.jsonl")
        assert [dataclasses.replace(example, source=example.source.resolve()) for example in back] == examples


def test_splits_are_never_mixed(tree: IamTree, tmp_path: Path) -> None:
    for kind, forms in (("rwth", RWTH), ("official", OFFICIAL)):
        write_prepared(prepare(tree.folder, kind, lists=tree.lists(forms)), tmp_path / kind, say=lambda text: None)
    # the test lines of the one that the other does not have, so that ids alone would not tell
    only = [example for example in read_manifest(tmp_path / "rwth/train.jsonl") if example.id.startswith("b02")]
    write_manifest(tmp_path / "only.jsonl", only)
    with pytest.raises(ManifestError, match=r"is from the iam split 'official' and b02-045-00 from 'rwth'.*overlap"):
        read_manifests([tmp_path / "only.jsonl", tmp_path / "official/test.jsonl"])
    with pytest.raises(ManifestError, match="these splits overlap"):
        merge([tmp_path / "only.jsonl", tmp_path / "official/test.jsonl"], "all")
    assert len(read_manifests([tmp_path / "rwth/train.jsonl", tmp_path / "rwth/test.jsonl"])) == 5 * LINES - 2


def test_command(tree: IamTree, tmp_path: Path, command: Command) -> None:
    lists = [word for name, path in tree.lists(RWTH).items() for word in ("--list", f"{name}={path}")]
    finished = command("prepare", "iam", tree.folder, "--out", tmp_path, "--split", "rwth", *lists)
    assert finished.code == 0, finished.err
    assert "published are 6482 lines of 747 forms" in finished.out
    assert "left out 1: its medium is not there" in finished.out
    assert len(read_manifest(tmp_path / "train.jsonl")) == 3 * LINES - 2
    lists = [word for name, path in tree.lists(OFFICIAL).items() for word in ("--list", f"{name}={path}")]
    message = command.fails("prepare", "iam", tree.folder, "--out", tmp_path, "--split", "official", *lists)
    assert "is of the split rwth, and --split is official" in message and "overlap" in message
    assert "the splits are train, valid, test" in command.fails(
        "prepare", "iam", tree.folder, "--out", tmp_path / "x", "--split", "rwth", "--list", "dev=x"
    )


def test_the_convention_is_printed_with_the_score(
    tree: IamTree, tmp_path: Path, trained_models: dict[str, Trained], command: Command
) -> None:
    run = trained_models["ocr"].run
    for text in ("ascii", "xml"):
        write_prepared(prepare(tree.folder, "rwth", text, tree.lists(RWTH)), tmp_path / text, say=lambda text: None)
        finished = command("evaluate", run, tmp_path / text / "valid.jsonl", "--out", tmp_path / text / "scores")
        assert f"|manifest:iam-{text}.v1" in finished.out
        assert f"|manifest:iam-{text}.v1" in (tmp_path / text / "scores/report.json").read_text()
    plain = command("evaluate", run, trained_models["ocr"].test)
    assert "ctcrec-score:" in plain.out and "|manifest:" not in plain.out
    both = read_manifest(tmp_path / "ascii/valid.jsonl") + read_manifest(trained_models["ocr"].test)
    assert text_conventions(example.extra for example in both) == ("?", "iam-ascii.v1")
    for references, printed in (("ascii", True), ("plain", False)):
        manifest = tmp_path / "ascii/valid.jsonl" if printed else trained_models["ocr"].test
        scored = command("score", manifest, manifest, "--out", tmp_path / references / "scored")
        assert scored.code == 0, scored.err
        report = (tmp_path / references / "scored/report.json").read_text()
        assert ("|manifest:iam-ascii.v1" in scored.out) == ("|manifest:iam-ascii.v1" in report) == printed


def test_training_and_evaluation_refuse_a_mixture(tree: IamTree, tmp_path: Path, command: Command) -> None:
    from tiny import tiny_config

    from ctcrec.config import dump_config

    for kind, forms in (("rwth", RWTH), ("official", OFFICIAL)):
        write_prepared(prepare(tree.folder, kind, lists=tree.lists(forms)), tmp_path / kind, say=lambda text: None)
    mixed = tiny_config("ocr", tmp_path / "rwth/valid.jsonl", tmp_path / "official/valid.jsonl")
    (tmp_path / "mixed.yaml").write_text(dump_config(mixed))
    assert "these splits overlap" in command.fails("train", tmp_path / "mixed.yaml", "--out", tmp_path / "run")
    good = tiny_config("ocr", tmp_path / "rwth/valid.jsonl", tmp_path / "rwth/valid.jsonl", training__epochs=1)
    (tmp_path / "good.yaml").write_text(dump_config(good))
    assert command("train", tmp_path / "good.yaml", "--out", tmp_path / "run").code == 0
    finished = command("evaluate", tmp_path / "run", tmp_path / "official/test.jsonl")
    assert finished.code == 1 and "these splits overlap" in finished.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a01-000u-00 ok 154 19 408 746 1661 A|MOVE", r"lines\.txt:7: expected `id ok\|err graylevel"),
        ("a01-000u-00 fine 154 19 408 746 1661 89 A|MOVE", "expected `id ok"),
        ("../../x-00 ok 154 19 408 746 1661 89 A|MOVE", "expected the id of a line like a01-000u-00, got"),
        ("a01-000u-00 ok 1 1 1 1 1 1 A\na01-000u-00 ok 1 1 1 1 1 1 B", "a01-000u-00 is also in line 7"),
    ],
)
def test_malformed_lines_txt(own_tree: IamTree, row: str, message: str) -> None:
    path = own_tree.folder / "ascii/lines.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:6]) + row + "\n")
    with pytest.raises(CorpusError, match=message):
        prepare(own_tree.folder, "rwth", lists=own_tree.lists(RWTH))


def test_what_is_missing_or_malformed(own_tree: IamTree, tmp_path: Path) -> None:
    lists = own_tree.lists(RWTH)
    with pytest.raises(CorpusError, match="no such folder"):
        prepare(tmp_path / "nowhere", "rwth", lists=lists)
    with pytest.raises(InputError, match="the splits are train, valid, test"):
        prepare(own_tree.folder, "rwth", lists={**lists, "eval": lists["test"]})
    lists["test"].write_text("d04-008\nnot an id\n")
    with pytest.raises(CorpusError, match=r"forms-test\.txt:2: expected a form"):
        prepare(own_tree.folder, "rwth", lists=lists)
    lists["test"].write_text("# nothing\n")
    with pytest.raises(CorpusError, match="names nothing"):
        prepare(own_tree.folder, "rwth", lists=lists)
    lists = own_tree.lists(RWTH)
    (own_tree.folder / "ascii/forms.txt").write_text("a01-000u\n")
    with pytest.raises(CorpusError, match=r"forms\.txt:1: expected a form"):
        prepare(own_tree.folder, "rwth", lists=lists)
    (own_tree.folder / "ascii/lines.txt").unlink()
    with pytest.raises(CorpusError, match=r"neither ascii/lines\.txt nor lines\.txt"):
        prepare(own_tree.folder, "rwth", lists=lists)
    (own_tree.folder / "xml/a01-000u.xml").write_text("<page/>")
    with pytest.raises(CorpusError, match=r"a01-000u\.xml: expected a <form>"):
        prepare(own_tree.folder, "rwth", "xml", lists)


def test_links_out_of_the_release(own_tree: IamTree, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (own_tree.folder / "lines").rename(tmp_path / "elsewhere/lines")
    (own_tree.folder / "lines").symlink_to(tmp_path / "elsewhere/lines")
    lists = own_tree.lists(RWTH)
    refused = prepare(own_tree.folder, "rwth", lists=lists)
    assert not any(refused.splits.values())
    assert any("leads out of" in item.reason and "--media" in item.reason for item in refused.left_out)
    with pytest.raises(CtcrecError, match="--media"):
        write_prepared(refused, tmp_path / "out", say=lambda text: None)
    allowed = prepare(own_tree.folder, "rwth", lists=lists, media=tmp_path / "elsewhere")
    assert len(allowed.splits["train"]) == 3 * LINES - 2


@pytest.mark.slow
def test_the_recipe_runs(tree: IamTree, tmp_path: Path) -> None:
    """`recipes/iam/run.py` from the release's tree to both scores, with a tiny model."""
    small = ("training.epochs=2", "training.workers=0", "training.warmup_steps=2", "model.encoder.layers=1")
    arguments = [word for item in (*small, "model.encoder.width=24") for word in ("--set", item)]
    arguments += [word for name, path in tree.lists(RWTH).items() for word in ("--list", f"{name}={path}")]
    script = Path(__file__).parents[2] / "recipes/iam/run.py"
    finished = subprocess.run(
        [sys.executable, script, "--data", tree.folder, "--out", tmp_path, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("|manifest:iam-ascii.v1") == 2
    assert "texts of the manifest: iam-ascii.v1" in finished.stdout
    assert "iam rwth-ascii, 6-gram" in finished.stdout
    model = tmp_path / "rwth-ascii/model"
    assert {path.name for path in model.glob("evaluation-*")} == {"evaluation-test", "evaluation-test-n-gram"}
    assert "lm_unit: token" in (model / "decoding.yaml").read_text()
