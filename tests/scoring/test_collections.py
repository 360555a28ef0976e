"""Every format is read and written back, matched by id, and says file and line when something is wrong."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcrec.errors import DataError
from ctcrec.scoring import Entry, TimedWord, place_words, read_collection, write_collection

LINES = {
    "refs.trn": "the cat sat (spk1-u1)\n;; a comment\n(spk1-u2)\na (b) c (spk2_u3)\n",
    "text": "spk1-u1 the cat sat\nspk1-u2\nspk2_u3 a (b) c\n",
    "refs.tsv": "spk1-u1\tthe cat sat\nspk1-u2\t\nspk2_u3\ta (b) c\n",
    "refs.jsonl": '{"id": "spk1-u1", "text": "the cat sat"}\n\n{"id": "spk1-u2", "text": ""}\n'
    '{"id": "spk2_u3", "text": "a (b) c"}\n',
}
TEXTS = {"spk1-u1": "the cat sat", "spk1-u2": "", "spk2_u3": "a (b) c"}


def texts_of(path: Path, **options: str) -> dict[str, str]:
    return {name: entry.text for name, entry in read_collection(path, **options).items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LINES)
def test_line_formats_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(LINES[name], encoding="utf-8")
    assert texts_of(tmp_path / name) == TEXTS


def test_lines_are_numbered_and_empty_lines_count(tmp_path: Path) -> None:
    (tmp_path / "refs.txt").write_bytes(b"\xef\xbb\xbffirst\r\n\r\nthird \xe2\x80\xa8 line")
    assert texts_of(tmp_path / "refs.txt") == {"1": "first", "2": "", "3": "third \u2028 line"}


def test_trn_knows_the_speaker(tmp_path: Path) -> None:
    (tmp_path / "refs.trn").write_text(LINES["refs.trn"])
    entries = read_collection(tmp_path / "refs.trn")
    assert [entry.fields.get("speaker") for entry in entries.values()] == ["spk1", "spk1", "spk2"]


def test_header_of_tsv_names_fields(tmp_path: Path) -> None:
    (tmp_path / "refs.tsv").write_text("Speaker\tid\ttext\nanna\tu1\tthe cat\n")
    assert read_collection(tmp_path / "refs.tsv") == {"u1": Entry("u1", "the cat", {"speaker": "anna"})}


def test_jsonl_keeps_fields_words_and_candidates(tmp_path: Path) -> None:
    (tmp_path / "hyps.jsonl").write_text(
        '{"id": "u1", "text": "the cat", "writer": "w1", "duration": 1.5, "confidence": 0.9, "tags": ["x"],'
        ' "words": [{"word": "the", "confidence": 0.8}, {"word": "cat", "start": 1, "end": 2}],'
        ' "tokens": [{"token": "t", "start": 0, "end": 0.5}],'
        ' "nbest": ["the cat", {"text": "the hat", "score": -3}]}\n'
    )
    assert read_collection(tmp_path / "hyps.jsonl")["u1"] == Entry(
        "u1",
        "the cat",
        {"writer": "w1", "duration": "1.5"},
        (TimedWord("the", confidence=0.8), TimedWord("cat", 1, 2)),
        (TimedWord("t", 0, 0.5),),
        ("the cat", "the hat"),
        0.9,
    )


def test_rows_with_scores_are_candidates(tmp_path: Path) -> None:
    row = '{"id": "%s", "text": "%s", "score": %d}\n'
    (tmp_path / "h.jsonl").write_text(row % ("a", "x", -1) + row % ("a", "y", -2) + row % ("b", "z", -1))
    entries = read_collection(tmp_path / "h.jsonl")
    assert {name: (entry.text, entry.nbest) for name, entry in entries.items()} == {
        "a": ("x", ("x", "y")),
        "b": ("z", ()),
    }
    (tmp_path / "h.jsonl").write_text(row % ("a", "x", -1) + row % ("b", "z", -1) + row % ("a", "y", -2))
    with pytest.raises(DataError, match=r"h\.jsonl:3: id 'a' occurs twice"):
        read_collection(tmp_path / "h.jsonl")


def test_jsonl_writes_all_it_reads(tmp_path: Path) -> None:
    entry = Entry("u1", "a b", {"x": "1"}, (TimedWord("a", 0.0, 1.0, 0.5),), (TimedWord("t", 2.0),), ("a b", "a"), 0.25)
    write_collection(tmp_path / "hyps.jsonl", [entry])
    assert read_collection(tmp_path / "hyps.jsonl") == {"u1": entry}


def test_folders_hold_both_sides(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "1.gt.txt").write_text("first line\n")
    (tmp_path / "book" / "1.pred.txt").write_text("frst line\n")
    (tmp_path / "2.gt.txt").write_text("two\nlines\n")
    assert texts_of(tmp_path) == {"2": "two lines", "book/1": "first line"}
    assert texts_of(tmp_path, role="hypothesis") == {"book/1": "frst line"}
    assert read_collection(tmp_path)["book/1"].fields == {"folder": "book"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("plain")
    assert texts_of(tmp_path / "other", role="hypothesis") == {"x": "plain"}


def test_ctm_words_find_their_stm_segments(tmp_path: Path) -> None:
    (tmp_path / "r.stm").write_text(
        ";; comment\ncall 1 anna 0.0 2.0 <o,f0> the cat\ncall 1 ben 2.0 4.0 sat\n"
        "call 1 x 4 5 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    )
    (tmp_path / "h.ctm").write_text(
        "call 1 1.0 0.4 cat 0.5\ncall 1 0.1 0.4 the 0.9\ncall 1 1.9 0.4 sat NA\n"
        "call 1 9.0 0.5 noise 0.1\nother 1 0 1 hm\n"
    )
    references = read_collection(tmp_path / "r.stm")
    assert {name: entry.text for name, entry in references.items()} == {
        "call-1-0.0-2.0": "the cat",
        "call-1-2.0-4.0": "sat",
    }
    assert references["call-1-0.0-2.0"].fields["speaker"] == "anna"
    placed = place_words(references, read_collection(tmp_path / "h.ctm", "hypothesis"))
    assert {name: entry.text for name, entry in placed.items()} == {
        "call-1-0.0-2.0": "the cat",
        "call-1-2.0-4.0": "sat",
        "call-1-outside": "noise",
        "other-1": "hm",
    }
    assert placed["call-1-0.0-2.0"].words == (TimedWord("the", 0.1, 0.5, 0.9), TimedWord("cat", 1.0, 1.4, 0.5))


def test_ctm_of_whole_utterances(tmp_path: Path) -> None:
    (tmp_path / "h.ctm").write_text("u1 1 0 1 hello\nu1 1 1 1 there\n")
    hypotheses = read_collection(tmp_path / "h.ctm", "hypothesis")
    assert place_words({"u1": Entry("u1", "hello here")}, hypotheses)["u1"].text == "hello there"


identifiers = st.text(alphabet="abc01-_.", min_size=1, max_size=8).filter(lambda s: s not in (".", ".."))
lines = st.lists(st.sampled_from(["a", "bé", "(x)", "😀", ";;", "it's"]), max_size=5).map(" ".join)


@pytest.mark.parametrize("form", ["trn", "kaldi", "tsv", "jsonl", "stm", "ctm"])
@given(texts=st.dictionaries(identifiers, lines, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(
    form: str, texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "collection"
    if form in ("ctm", "stm"):
        texts = {name: text for name, text in texts.items() if text} or {"u": "a"}
    if form in ("ctm", "trn"):  # ;; at the beginning would be a comment
        texts = {name: text.replace(";;", "x") for name, text in texts.items()}
    fields = {"start": "0.5", "end": "2"} if form == "stm" else {}
    entries = [
        Entry(name, text, fields, tuple(TimedWord(w, float(i), i + 1.0, 0.5) for i, w in enumerate(text.split())))
        for name, text in texts.items()
    ]
    write_collection(path, entries, form)
    again = {name: entry.text for name, entry in read_collection(path, form=form).items()}
    suffix = {"stm": "-1-0.5-2", "ctm": "-1"}.get(form, "")
    assert again == {name + suffix: text for name, text in texts.items()}


def test_lines_and_folders_are_written(tmp_path: Path) -> None:
    entries = [Entry("a", "one"), Entry("b/c", "")]
    write_collection(tmp_path / "out.txt", entries)
    assert texts_of(tmp_path / "out.txt") == {"1": "one", "2": ""}
    write_collection(tmp_path / "folder", entries, "folder")
    assert texts_of(tmp_path / "folder") == {"a": "one", "b/c": ""}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.trn", "no id here\n", r"x\.trn:1: a trn line is"),
        ("x.trn", "a (1)\nb (1)\n", r"x\.trn:2: id '1' occurs twice, first in line 1"),
        ("x.tsv", "id\ttext\na\tb\tc\n", r"x\.tsv:2: expected 2 columns"),
        ("x.jsonl", '{"id": "a"\n', r"x\.jsonl:1: is not valid JSON"),
        ("x.jsonl", '{"id": "a", "text": "\\ud800"}\n', r"x\.jsonl:1: is not valid JSON.*surrogates"),
        ("x.jsonl", "[]\n", r"x\.jsonl:1: expected a JSON object"),
        ("x.jsonl", '{"id": "a", "text": null}\n', r"x\.jsonl:1: the key 'text' must be a string"),
        ("x.jsonl", '{"id": "a", "text": "b", "words": [1]}\n', r"x\.jsonl:1: words .* must be"),
        ("x.stm", "f 1 s 0\n", r"x\.stm:1: a stm line"),
        ("x.stm", "f 1 s zero 1 a\n", r"x\.stm:1: expected a number, got 'zero'"),
        ("x.stm", "f 1 s 2 1 a\n", r"x\.stm:1: the segment ends"),
        ("x.ctm", "f 1 0 1\n", r"x\.ctm:1: a ctm line"),
        ("x.ctm", "f 1 0 1 <ALT_BEGIN>\n", r"x\.ctm:1: a ctm line .* without alternatives"),
        ("x.doc", "", r"does not tell the format"),
        ("x.trn", "", r"has no reference texts"),
        ("x.txt", b"\xff\xfe", r"is not UTF-8"),
    ],
)
def test_errors_name_file_and_line(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        read_collection(tmp_path / name)


def test_missing_paths_and_wrong_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_collection(tmp_path / "none.trn")
    with pytest.raises(DataError, match="has no reference files"):
        read_collection(tmp_path)
    with pytest.raises(DataError, match="is a folder"):
        read_collection(tmp_path, form="trn")
    with pytest.raises(DataError, match="unknown format"):
        read_collection(tmp_path, form="docx")


@pytest.mark.parametrize(
    ("form", "entry", "message"),
    [
        ("trn", Entry("a b", "x"), "'a b' cannot be written as trn"),
        ("trn", Entry("a", ";; x"), "would be read as a comment"),
        ("kaldi", Entry("", "x"), "cannot be written"),
        ("tsv", Entry("a", "x\ty"), "the text of 'a'"),
        ("lines", Entry("a", "x\ny"), "the text of 'a'"),
        ("stm", Entry("a", "x"), "start and end"),
        ("ctm", Entry("a", "x"), "times of its words"),
        ("folder", Entry("../a", "x"), "'../a' cannot be written"),
    ],
)
def test_what_does_not_fit_is_not_written(form: str, entry: Entry, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        write_collection(tmp_path / "out", [entry], form)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
