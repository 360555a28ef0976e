"""Kaldi, NeMo, Lhotse, LJSpeech, Common Voice and plain tables: what each row becomes, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from oracles.lines import draw_line
from PIL import Image

from ctcrec.corpora import Prepared, commonvoice, kaldi, lhotse, ljspeech, nemo, tsv, write_prepared
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError
from ctcrec.records import Example

if TYPE_CHECKING:
    from command import Command


def add_audio(path: Path, seconds: float = 1.0, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(np.arange(int(8000 * seconds)) / 5) * 0.3
    soundfile.write(path, np.stack([wave] * channels, axis=1), 8000)
    return path


def write_json_rows(path: Path, *rows: Mapping[str, Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def by_id(prepared: Prepared, split: str) -> dict[str, Example]:
    return {example.id: example for example in prepared.splits[split]}


def reasons(prepared: Prepared) -> dict[str, str]:
    return {item.what: item.reason for item in prepared.left_out}


def assert_reads_back(prepared: Prepared, out: Path) -> None:
    """Manifests give back what was prepared."""
    write_prepared(prepared, out, say=lambda text: None)
    for name, examples in prepared.splits.items():
        back = read_manifest(out / f"{name}.jsonl") if examples else []
        resolved = [dataclasses.replace(example, source=example.source.resolve()) for example in examples]
        assert [dataclasses.replace(example, source=example.source.resolve()) for example in back] == resolved


def write_kaldi(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_kaldi_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    add_audio(folder / "wav/a.wav", 0.5)
    add_audio(folder / "wav/b.flac", 0.75)
    write_kaldi(
        folder,
        wav_scp="u1 wav/a.wav\nu2\twav/b.flac\nu3 wav/c.wav\nu4 wav/a.wav\n",
        text="u1 HELLO WORLD\nu2 ONE  TWO\nu3 X\nu5 Y\n",
        utt2spk="u1 anna\nu2 bert\n",
    )
    prepared = kaldi.prepare(folder)
    assert prepared.splits == {
        "train": [
            Example("u1", folder / "wav/a.wav", "HELLO WORLD", duration=0.5, speaker="anna"),
            Example("u2", folder / "wav/b.flac", "ONE  TWO", duration=0.75, speaker="bert"),
        ]
    }
    assert reasons(prepared) == {
        "u3 (wav/c.wav)": "its medium is not there",
        "u4": "has audio and no text",
        "u5": "has a text and no audio",
    }
    assert_reads_back(prepared, tmp_path / "out")


def test_kaldi_segments(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    add_audio(folder / "a.wav", 2.0)
    write_kaldi(
        folder,
        wav_scp="rec a.wav\n",
        segments="s1 rec 0.25 1.5\ns2 rec 1.5 -1\ns3 rec 0 2\ns4 rec 1.9 2.05\ns5 rec 0 3\ns6 rec 3 4\ns7 other 0 1\n",
        text="".join(f"s{number} T{number}\n" for number in range(1, 9)),
    )
    prepared = kaldi.prepare(folder)
    assert [(item.id, item.start, item.end, item.duration) for item in prepared.splits["dev"]] == [
        ("s1", 0.25, 1.5, 2.0),
        ("s2", 1.5, 2.0, 2.0),
        ("s3", None, None, 2.0),
        ("s4", 1.9, 2.0, 2.0),
    ]
    assert reasons(prepared) == {
        "s5": "ends after its recording",
        "s6": "ends after its recording",
        "s7 (other)": "its recording is not in wav.scp",
        "s8": "is not in segments",
    }
    assert_reads_back(prepared, tmp_path / "out")


def test_several_kaldi_folders(tmp_path: Path) -> None:
    for name in ("train", "test"):
        add_audio(tmp_path / "audio" / f"{name}.wav")
        write_kaldi(tmp_path / name, wav_scp=f"{name}-1 ../audio/{name}.wav\n", text=f"{name}-1 A\n")
    prepared = kaldi.prepare(tmp_path)  # `..` that stays below the source is fine
    assert {name: [item.id for item in split] for name, split in prepared.splits.items()} == {
        "test": ["test-1"],
        "train": ["train-1"],
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "u1 sox x.mp3 -t wav - |\n", "text": "u1 A\n"}, "u1 is a command .*runs no commands"),
        ({"wav_scp": "u1 | cat\n", "text": "u1 A\n"}, "u1 is a command"),
        ({"wav_scp": "u1 raw.ark:17\n", "text": "u1 A\n"}, "is in a Kaldi archive"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n", "text": "u1 A\n"}, r"wav\.scp:2: u1 occurs twice"),
        ({"wav_scp": "u1 a.wav\n"}, r"text: no such file"),
        ({"wav_scp": "u1 a.wav\n", "text": "u1 A\n", "segments": "s1 u1 2 1\n"}, "s1: expected <recording> <start>"),
        ({"wav_scp": "u1 a.wav\n", "text": "u1 A\n", "segments": "s1 u1 nan 1\n"}, "s1: expected <recording> <start>"),
        ({"text": "u1 A\n"}, r"no wav\.scp in it"),
    ],
)
def test_kaldi_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        kaldi.prepare(write_kaldi(tmp_path / "data", **files))


def test_paths_that_leave_the_folder(tmp_path: Path) -> None:
    outside = add_audio(tmp_path / "private/secret.wav")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.wav").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "x").mkdir()
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    names = {
        "up": "../private/secret.wav",
        "absolute": str(outside),
        "link": "link.wav",
        "linked-folder": "folder/secret.wav",
        "winding": "x/../../private/secret.wav",
    }
    rows = "".join(f"{identifier} {name}\n" for identifier, name in names.items())
    rows += f"loop loop.wav\nlong {'x' * 5000}.wav\nnet https://example.org/a.wav\n"
    write_kaldi(folder, wav_scp=rows, text="".join(row.split()[0] + " A\n" for row in rows.splitlines()))
    prepared = kaldi.prepare(folder)
    assert prepared.splits == {"data": []}
    for identifier, name in names.items():
        assert "leads out of" in reasons(prepared)[f"{identifier} ({name})"]
    assert reasons(prepared)["loop (loop.wav)"] == "its medium is not there"
    assert reasons(prepared)["net (https://example.org/a.wav)"] == "is an address, not a file; fetch it first"
    assert len(kaldi.prepare(folder, media=tmp_path / "private").splits["data"]) == len(names)
    with pytest.raises(CorpusError, match="--media names the folder"):
        kaldi.prepare(folder, media=tmp_path / "nowhere")


def test_nemo(tmp_path: Path) -> None:
    add_audio(tmp_path / "clips/a.wav", 2.0)
    add_audio(tmp_path / "clips/b.wav", 1.0)
    path = write_json_rows(
        tmp_path / "train_manifest.json",
        {"audio_filepath": "clips/a.wav", "duration": 2.0, "text": "hello\nworld", "speaker": "s", "lang": "en"},
        {"audio_filepath": "clips/a.wav", "duration": 0.5, "offset": 1.25, "text": "part", "pnc": True, "bad": [1]},
        {"audio_filepath": str(tmp_path / "clips/b.wav"), "duration": 0.996, "text": "b"},
        {"audio_filepath": "clips/c.wav", "duration": 1, "text": "c"},
        {"audio_filepath": "clips/b.wav", "duration": 1, "text": " "},
    )
    prepared = nemo.prepare(path)
    examples = prepared.splits["train_manifest"]
    assert examples[0] == Example(
        "clips/a", tmp_path / "clips/a.wav", "hello world", duration=2.0, speaker="s", language="en"
    )
    assert examples[1] == Example(
        "clips/a-00001250-00001750", tmp_path / "clips/a.wav", "part", 1.25, 1.75, 2.0, extra={"pnc": True}
    )
    assert (examples[2].start, examples[2].end, examples[2].duration) == (None, None, 1.0)
    assert reasons(prepared) == {
        "clips/c (clips/c.wav)": "its medium is not there",
        "clips/b": "its text is empty",
    }
    assert_reads_back(prepared, tmp_path / "out")
    assert nemo.prepare(tmp_path).splits.keys() == {"train_manifest"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "x"}', r"m\.jsonl:1: expected audio_filepath and text"),
        ('{"audio_filepath": "a.wav", "text": "x", "duration": -1}', "duration must be a number ≥ 0"),
        ('{"audio_filepath": "a.wav", "text": "x", "offset": NaN}', "offset must be a number ≥ 0"),
        ('{"audio_filepath": "a.wav", "text": "x", "offset": 1' + "0" * 400 + "}", "offset must be a number ≥ 0"),
        ("[1]", "expected a JSON object, got list"),
        ("{" * 9, "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_nemo_refused(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(row + "\n")
    with pytest.raises(CorpusError, match=message):
        nemo.prepare(tmp_path)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    add_audio(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "a.wav", "text": "x\\ud800"}\n')
    prepared = nemo.prepare(tmp_path)
    assert reasons(prepared) == {"a": "has a character that is no Unicode (half a surrogate pair)"}


def recording(identifier: str, source: str, **changes: Any) -> dict[str, Any]:
    file = {"type": "file", "channels": [0], "source": source}
    return {"id": identifier, "sources": [file], "sampling_rate": 8000, "num_samples": 16000, "duration": 2} | changes


def supervision(identifier: str, of: str, **changes: Any) -> dict[str, Any]:
    row = {"id": identifier, "recording_id": of, "start": 0.0, "duration": 2.0, "channel": 0, "text": identifier}
    return row | changes


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lhotse(tmp_path: Path, ending: str) -> None:
    add_audio(tmp_path / "a.wav", 2.0)
    add_audio(tmp_path / "stereo.wav", 2.0, channels=2)
    command = {"type": "command", "channels": [0], "source": "rm -r *"}
    write_json_rows(
        tmp_path / f"x_recordings_train{ending}",
        recording("a", "a.wav"),
        recording("stereo", "stereo.wav"),
        recording("pipe", "", sources=[command]),
        recording("url", "", sources=[{**command, "type": "url"}]),
        recording("two", "", sources=[command, command]),
        recording("fast", "a.wav", transforms=[{"name": "Speed"}]),
    )
    write_json_rows(
        tmp_path / f"x_supervisions_train{ending}",
        supervision("s1", "a", speaker="anna", language="English", gender="F"),
        supervision("s2", "a", start=0.5, duration=1.0),
        supervision("s3", "stereo", channel=1),
        supervision("s4", "stereo", channel=[0, 1]),
        *(supervision(f"of-{name}", name) for name in ("pipe", "url", "two", "fast", "none")),
    )
    prepared = lhotse.prepare(tmp_path)
    assert prepared.splits["x_train"] == [
        Example(
            "s1", tmp_path / "a.wav", "s1", duration=2.0, speaker="anna", language="English", extra={"gender": "F"}
        ),
        Example("s2", tmp_path / "a.wav", "s2", 0.5, 1.5, 2.0),
        Example("s4", tmp_path / "stereo.wav", "s4", duration=2.0),
    ]
    assert reasons(prepared) == {
        "s3": "is one channel of a recording with 2; write each to a file of its own",
        "of-pipe (pipe)": "its recording is a command, and ctcrec runs no commands that data names",
        "of-url (url)": "its recording is of the type 'url', not a file",
        "of-two (two)": "its recording has not one file",
        "of-fast (fast)": "its recording is changed when it is read (transforms); write the result to a file",
        "of-none (none)": "its recording is not in the recordings",
    }
    assert_reads_back(prepared, tmp_path / "out")


def test_lhotse_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no .*recordings.*jsonl"):
        lhotse.prepare(tmp_path)
    (tmp_path / "recordings.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "sources": []}\n')[:-9])
    with pytest.raises(CorpusError, match=r"has no supervisions\.jsonl\.gz beside it"):
        lhotse.prepare(tmp_path)
    (tmp_path / "supervisions.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(CorpusError, match=r"recordings\.jsonl\.gz: is truncated or damaged gzip data"):
        lhotse.prepare(tmp_path)
    write_json_rows(tmp_path / "recordings.jsonl.gz", recording("a", "a.wav"))
    with pytest.raises(CorpusError, match=r"supervisions\.jsonl:1: expected a supervision"):
        lhotse.prepare(tmp_path)


def test_ljspeech(tmp_path: Path) -> None:
    for name in ("LJ1", "LJ2"):
        add_audio(tmp_path / f"wavs/{name}.wav", 0.5)
    add_audio(tmp_path / "wavs/LJ3.flac", 0.5)
    (tmp_path / "metadata.csv").write_text(
        'LJ1|In 1455, "x"|In fourteen fifty-five, "x"\nLJ2|Only\nLJ3|3|three\nLJ4|4|4\n'
    )
    prepared = ljspeech.prepare(tmp_path)
    assert [(item.id, item.text, item.duration) for item in prepared.splits["all"]] == [
        ("LJ1", 'In fourteen fifty-five, "x"', 0.5),
        ("LJ2", "Only", 0.5),
        ("LJ3", "three", 0.5),
    ]
    assert [item.text for item in ljspeech.prepare(tmp_path, "raw").splits["all"]] == ['In 1455, "x"', "Only", "3"]
    assert reasons(prepared) == {"LJ4 (wavs/LJ4.wav)": "its medium is not there"}
    assert_reads_back(prepared, tmp_path / "out")
    (tmp_path / "metadata.csv").write_text("LJ1|a|b\nLJ2\n")
    with pytest.raises(CorpusError, match=r"metadata\.csv:2: expected id\|text\|normalized text"):
        ljspeech.prepare(tmp_path)


def test_commonvoice(tmp_path: Path) -> None:
    header = "client_id\tpath\tsentence\tup_votes\tage\tgender\taccents\tlocale\tsegment\n"
    for split, names in {"train": ("a", "b"), "test": ("c",), "validated": ("a", "b", "c")}.items():
        rows = [f"client-{name}\t{name}.mp3\tSay “{name}”.\t2\t\tmale\t\teo\t\n" for name in names]
        (tmp_path / f"{split}.tsv").write_text(header + "".join(rows), encoding="utf-8")
        for name in names:
            add_audio(tmp_path / f"clips/{name}.mp3", 0.5)
    prepared = commonvoice.prepare(tmp_path)
    assert list(prepared.splits) == ["train", "test"]
    example = prepared.splits["train"][0]
    assert (example.id, example.text, example.speaker, example.language) == ("a", "Say “a”.", "client-a", "eo")
    assert example.extra == {"gender": "male"} and example.duration == pytest.approx(0.5, abs=0.1)
    assert [item.id for item in commonvoice.prepare(tmp_path, ["validated"]).splits["validated"]] == ["a", "b", "c"]
    assert_reads_back(prepared, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"other\.tsv: no such file"):
        commonvoice.prepare(tmp_path, ["other"])
    (tmp_path / "dev.tsv").write_text(header + "x\ty\n")
    with pytest.raises(CorpusError, match=r"dev\.tsv:2: expected 9 cells"):
        commonvoice.prepare(tmp_path)
    with pytest.raises(CorpusError, match="none of train.tsv"):
        commonvoice.prepare(tmp_path / "clips")


def test_tsv(tmp_path: Path) -> None:
    add_audio(tmp_path / "a.wav", 2.0)
    Image.fromarray(draw_line("ab")).save(tmp_path / "b.png")
    (tmp_path / "plain.tsv").write_text("a.wav\thello\nb.png\tab\nc.txt\tx\n")
    prepared = tsv.prepare(tmp_path / "plain.tsv")
    assert [(item.id, item.text, item.duration, item.height is None) for item in prepared.splits["plain"]] == [
        ("a", "hello", 2.0, True),
        ("b", "ab", None, False),
    ]
    assert reasons(prepared) == {"c (c.txt)": "is neither audio nor an image by its ending"}
    (tmp_path / "more.tsv").write_text("text\tspeaker\tpath\tstart\tend\tid\tnote\nhi\tanna\ta.wav\t0.5\t1\tx\tloud\n")
    prepared = tsv.prepare(tmp_path / "more.tsv")
    assert prepared.splits["more"] == [
        Example("x", tmp_path / "a.wav", "hi", 0.5, 1.0, 2.0, speaker="anna", extra={"note": "loud"})
    ]
    assert_reads_back(prepared, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.wav\tx\ty\n", r"t\.tsv:1: expected a path, a tab and a text"),
        ("path\tspeaker\na\tb\n", "expected a header with the columns path, text"),
        ("path\ttext\tstart\na.wav\tx\tsoon\n", r"t\.tsv:2: start must be a number of seconds"),
        ("a.wav\tx\nb.wav\t\xff\n", r"t\.tsv:2: is not UTF-8"),
    ],
)
def test_tsv_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorpusError, match=message):
        tsv.prepare(tmp_path / "t.tsv")


@pytest.mark.parametrize("name", ["kaldi", "nemo", "lhotse", "ljspeech", "commonvoice", "tsv"])
def test_commands(name: str, tmp_path: Path, command: Command) -> None:
    source = tmp_path / "data"
    add_audio(source / "wavs/a.wav")
    add_audio(source / "clips/a.mp3")
    write_kaldi(source, wav_scp="a wavs/a.wav\n", text="a hello\n")
    write_json_rows(source / "m.jsonl", {"audio_filepath": "wavs/a.wav", "text": "hello"})
    (source / "metadata.csv").write_text("a|hello\n")
    (source / "test.tsv").write_text("client_id\tpath\tsentence\nme\ta.mp3\thello\n")
    (source / "t.tsv").write_text("wavs/a.wav\thello\n")
    if name == "lhotse":
        write_json_rows(source / "recordings.jsonl", recording("r", "wavs/a.wav"))
        write_json_rows(source / "supervisions.jsonl", supervision("hello", "r", duration=1.0))
    finished = command("prepare", name, source / "t.tsv" if name == "tsv" else source, "--out", tmp_path / "out")
    assert finished.code == 0, finished.err
    (manifest,) = (tmp_path / "out").glob("*.jsonl")
    assert [example.text for example in read_manifest(manifest)] == ["hello"]
