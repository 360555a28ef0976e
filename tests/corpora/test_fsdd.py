"""FSDD: the official rule, and strings that are what their text says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ctcrec.corpora import fsdd, write_prepared
from ctcrec.corpora.fsdd import WORDS
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CorpusError, InputError
from ctcrec.records import Example
from ctcrec.speech.media import load_audio, probe_audio

RATE = 8000


def pitch(digit: int) -> int:
    return 400 + 300 * digit


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, ten digits, indices 0 to 7; a digit is a tone of its own pitch."""
    folder = tmp_path_factory.mktemp("fsdd")
    for speaker in ("anna", "bob"):
        for digit in range(10):
            for index in range(8):
                time = np.arange(RATE // 5 + 40 * index) / RATE
                wave = 0.3 * np.sin(2 * np.pi * pitch(digit) * time)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", wave, RATE)
    return folder


def indices(examples: list[Example]) -> set[int]:
    return {int(clip.rsplit("_", 1)[1]) for example in examples for clip in example.extra["clips"]}


def test_isolated_digits_follow_the_official_rule(clips: Path, tmp_path: Path) -> None:
    prepared = fsdd.prepare(clips, tmp_path / "out", strings=0)
    assert {split: len(examples) for split, examples in prepared.splits.items()} == {
        "train": 40,
        "valid": 20,
        "test": 100,
    }
    first = prepared.splits["test"][0]
    assert (first.id, first.text, first.speaker, first.duration) == ("0_anna_0", "zero", "anna", 0.2)
    assert {example.id[-1] for example in prepared.splits["test"]} == set("01234")
    assert {example.id[-1] for example in prepared.splits["train"]} == set("56")
    assert {example.id[-1] for example in prepared.splits["valid"]} == set("7")
    assert not (tmp_path / "out").exists()


def test_strings(clips: Path, tmp_path: Path) -> None:
    prepared = fsdd.prepare(clips, tmp_path, strings=60, test_strings=20)
    sizes = {split: len(examples) for split, examples in prepared.splits.items()}
    assert sizes == {"train": 60, "valid": 20, "test": 20}
    train, valid, test = (list(prepared.splits[split]) for split in ("train", "valid", "test"))
    assert indices(train) == {5, 6} and indices(valid) == {7} and indices(test) == {0, 1, 2, 3, 4}
    lengths = {len(example.extra["clips"]) for example in train}
    assert lengths == set(range(3, 9))
    for example in train:
        assert example.text == " ".join(WORDS[int(clip[0])] for clip in example.extra["clips"])
        assert {clip.split("_")[1] for clip in example.extra["clips"]} == {example.speaker}
        info = probe_audio(example.source)
        assert (info.sample_rate, info.channels, info.duration) == (RATE, 1, example.duration)
    assert {example.speaker for example in train} == {"anna", "bob"}
    assert len({example.id for split in prepared.splits.values() for example in split}) == 100


def test_a_string_sounds_like_its_text(clips: Path, tmp_path: Path) -> None:
    """The tones are heard in the order of the words."""
    prepared = fsdd.prepare(clips, tmp_path, strings=20, test_strings=1)
    for example in prepared.splits["train"]:
        wave = load_audio(example.source, RATE)
        blocks = wave[: wave.size // 400 * 400].reshape(-1, 400)
        spectra = np.abs(np.fft.rfft(blocks * np.hanning(400)))
        loud = spectra.max(axis=1) > 0.3 * spectra.max()
        heard = [round((peak * RATE / 400 - 400) / 300) for peak in spectra[loud].argmax(axis=1)]
        words = [WORDS[digit] for digit in heard]
        wanted = example.text.split()
        distinct = [word for i, word in enumerate(words) if i == 0 or word != words[i - 1]]
        assert distinct == [word for i, word in enumerate(wanted) if i == 0 or word != wanted[i - 1]]


def test_gaps_gains_and_noise_vary(clips: Path, tmp_path: Path) -> None:
    prepared = fsdd.prepare(clips, tmp_path, strings=60, test_strings=1)
    waves = [load_audio(example.source, RATE) for example in prepared.splits["train"]]
    peaks = [float(np.abs(wave).max()) for wave in waves]
    assert max(peaks) <= 1.0 and min(peaks) < 0.3 and np.std(peaks) > 0.1
    margins = np.array([np.abs(wave[:300]).max() for wave in waves])  # 50 ms at least come before the first digit
    assert 3 <= (margins == 0).sum() <= 30  # digital silence is heard too, but mostly low noise
    assert (margins < 0.5 * np.array(peaks)).all()
    durations = [example.duration - 0.25 * len(example.extra["clips"]) for example in prepared.splits["train"]]
    assert np.std(durations) > 0.2


def test_seed(clips: Path, tmp_path: Path) -> None:
    one = fsdd.prepare(clips, tmp_path / "1", strings=8, test_strings=2, seed=1)
    again = fsdd.prepare(clips, tmp_path / "2", strings=12, test_strings=2, seed=1)
    other = fsdd.prepare(clips, tmp_path / "3", strings=8, test_strings=2, seed=2)
    for left, right in zip(one.splits["train"], again.splits["train"], strict=False):
        assert (left.id, left.text) == (right.id, right.text)
        assert left.source.read_bytes() == right.source.read_bytes()
    assert [example.text for example in one.splits["train"]] != [example.text for example in other.splits["train"]]
    texts = [[example.text for example in one.splits[split]] for split in ("valid", "test")]
    assert texts[0] != texts[1]


def test_leaving_a_speaker_out(clips: Path, tmp_path: Path) -> None:
    prepared = fsdd.prepare(clips, tmp_path, strings=10, test_strings=30, leave_out="bob")
    assert list(prepared.splits) == ["train", "valid", "test", "test-bob"]
    for split in ("train", "valid", "test"):
        assert {example.speaker for example in prepared.splits[split]} == {"anna"}
    assert {example.speaker for example in prepared.splits["test-bob"]} == {"bob"}
    assert indices(list(prepared.splits["test-bob"])) == set(range(8))


def test_manifests_come_back(clips: Path, tmp_path: Path) -> None:
    prepared = fsdd.prepare(clips, tmp_path / "out", strings=5, test_strings=3)
    write_prepared(prepared, tmp_path / "out", say=lambda line: None)
    back = read_manifest(tmp_path / "out" / "train.jsonl", require_text=True)
    assert [example.extra["clips"] for example in back] == [e.extra["clips"] for e in prepared.splits["train"]]
    assert all(example.source.is_file() for example in back)
    assert '"source": "audio/train/' in (tmp_path / "out" / "train.jsonl").read_text()


def test_the_upstream_repositorys_folder(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "recordings").symlink_to(clips)
    assert len(fsdd.prepare(tmp_path, tmp_path, strings=0).splits["test"]) == 100


def test_other_rates_and_bad_clips(clips: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in clips.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    wave, _ = soundfile.read(source / "3_anna_5.wav")
    soundfile.write(source / "3_anna_5.wav", np.repeat(wave, 2), 2 * RATE)
    (source / "4_bob_0.wav").write_bytes(b"")
    (source / "5_bob_6.wav").write_bytes((source / "5_bob_6.wav").read_bytes()[:500])
    soundfile.write(source / "noise.wav", np.zeros(10), RATE)
    (source / "README.md").write_text("hello")
    for strings in (0, 5):
        prepared = fsdd.prepare(source, tmp_path / "out", strings=strings, test_strings=2)
        reasons = {item.what: item.reason for item in prepared.left_out}
        assert set(reasons) == {"4_bob_0.wav", "5_bob_6.wav", "noise.wav"}
        assert reasons["4_bob_0.wav"].startswith("is empty")
        assert reasons["5_bob_6.wav"].startswith("is truncated")
        assert "is not named" in reasons["noise.wav"]


def test_wrong_folders_and_arguments(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="none: no such folder"):
        fsdd.prepare(tmp_path / "none", tmp_path)
    with pytest.raises(CorpusError, match=r"no <digit>_<speaker>_<index>\.wav or \.flac"):
        fsdd.prepare(tmp_path, tmp_path)
    with pytest.raises(CorpusError, match="no clips of speaker 'theo'; there are anna, bob"):
        fsdd.prepare(clips, tmp_path, leave_out="theo")
    for options in ({"strings": -1}, {"test_strings": 0}, {"lengths": (5, 3)}, {"lengths": (0, 3)}):
        with pytest.raises(InputError, match="expected strings ≥ 0"):
            fsdd.prepare(clips, tmp_path, **options)
    only_test = tmp_path / "only_test"
    only_test.mkdir()
    (only_test / "1_anna_2.wav").write_bytes((clips / "1_anna_2.wav").read_bytes())
    with pytest.raises(CorpusError, match="no clips for the split 'train'"):
        fsdd.prepare(only_test, tmp_path)


def test_an_output_that_cannot_be_written(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(CorpusError, match="cannot be written: .*choose another folder"):
        fsdd.prepare(clips, tmp_path / "out", strings=2, test_strings=1)
