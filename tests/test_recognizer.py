"""A checkpoint and files in, hypotheses out: the same whatever comes beside them."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import SAMPLE_RATE, draw_text, sound_text

import ctcrec.recognizer
from ctcrec.data.manifest import read_manifest
from ctcrec.errors import CheckpointError, DataError, MediaError
from ctcrec.models.precision import has_bfloat16
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example, Hypothesis
from ctcrec.text import Normalizer
from ctcrec.writers import hypothesis_record, to_json, write_atomically

if TYPE_CHECKING:
    from conftest import Trained


@pytest.fixture(scope="module")
def recognizers(trained_models: dict[str, Trained]) -> dict[str, Recognizer]:
    return {modality: Recognizer.load(trained.run, "cpu") for modality, trained in trained_models.items()}


@pytest.fixture
def recognizer(trained: Trained, recognizers: dict[str, Recognizer]) -> Recognizer:
    return recognizers[trained.config.modality]


def same(first: Hypothesis | None, second: Hypothesis | None) -> bool:
    """Equal text, tokens and places; scores to rounding."""
    assert first is not None and second is not None
    assert first.score == pytest.approx(second.score, abs=1e-3)

    def places(hypothesis: Hypothesis) -> list[tuple[float, float]]:
        return [(span.start, span.end) for span in (*hypothesis.token_spans, *hypothesis.word_spans)]

    return (first.text, first.tokens, places(first)) == (second.text, second.tokens, places(second))


def test_reads_what_it_was_trained_on(recognizer: Recognizer, trained: Trained) -> None:
    examples = read_manifest(trained.train)
    transcripts = list(recognizer.transcribe_all(examples))
    assert [transcript.example for transcript in transcripts] == examples
    texts = [transcript.hypothesis.text for transcript in transcripts if transcript.hypothesis]
    assert texts == [example.text for example in examples]


def test_one_alone_equals_one_among_many(recognizer: Recognizer, trained: Trained) -> None:
    examples = read_manifest(trained.train) + read_manifest(trained.test)
    together = list(recognizer.transcribe_all(examples))
    for example, transcript in list(zip(examples, together, strict=True))[::3]:
        assert same(recognizer.transcribe(example.source), transcript.hypothesis)
        assert same(recognizer.transcribe(str(example.source)), transcript.hypothesis)
        assert same(recognizer.transcribe(example.source.read_bytes()), transcript.hypothesis)


def test_batches_and_windows_change_nothing(
    recognizer: Recognizer, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = read_manifest(trained.train)
    expected = [transcript.hypothesis for transcript in recognizer.transcribe_all(examples)]
    small = Recognizer(recognizer.checkpoint, batch_frames=150)
    monkeypatch.setattr(ctcrec.recognizer, "_WINDOW", 7)
    counts: list[int] = []
    found = [transcript.hypothesis for transcript in small.transcribe_all(examples, counts.append)]
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert counts[-1] == 24 and len(counts) >= 4
    assert all(0 < later - earlier <= 7 for earlier, later in zip([0, *counts], counts, strict=False))


def test_threads_of_later_work_stay_as_they_were(recognizer: Recognizer, trained: Trained) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        transcripts = recognizer.transcribe_all(read_manifest(trained.train))
        next(transcripts)
        transcripts.close()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_emissions_are_log_probabilities_in_order(recognizer: Recognizer) -> None:
    features = [torch.randn(length, 16) for length in (30, 4, 90, 1)]
    emissions = recognizer.emissions(features)
    factor = recognizer.model.subsampling_factor
    assert [len(item) for item in emissions] == [max(1, length // factor) for length in (30, 4, 90, 1)]
    for item, alone in zip(emissions, features, strict=True):
        torch.testing.assert_close(item.exp().sum(1), torch.ones(len(item)), rtol=0, atol=1e-5)
        torch.testing.assert_close(item, recognizer.emissions([alone])[0], rtol=0, atol=1e-5)


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this processor has no instructions for bfloat16")
def test_bfloat16_depends_on_no_batch_and_stays_close(trained: Trained) -> None:
    exact, fast = Recognizer.load(trained.run, "cpu", precision="float32"), Recognizer.load(trained.run, "cpu")
    assert (exact.precision, fast.precision) == ("float32", "bfloat16")
    features = [torch.randn(length, 16) for length in (30, 4, 90, 1, 61)]
    together = fast.encode(features)
    for item, near, length in zip(together, exact.encode(features), features, strict=True):
        [alone] = fast.encode([length])
        assert torch.equal(item.frames, alone.frames)
        assert not torch.equal(item.emissions, near.emissions)
        torch.testing.assert_close(item.emissions, near.emissions, rtol=0, atol=0.1)


def test_spans_lie_where_the_letters_are(recognizers: dict[str, Recognizer], tmp_path: Path) -> None:
    Image.fromarray(draw_text("ab cd")).save(tmp_path / "x.png")
    line = recognizers["ocr"].transcribe(tmp_path / "x.png")
    soundfile.write(tmp_path / "x.wav", sound_text("ab cd"), SAMPLE_RATE)
    utterance = recognizers["speech"].transcribe(tmp_path / "x.wav")
    # A letter is 8 pixels wide after a margin of 4, or 0.12 s long after 0.04 s; a span may lie a letter beside it.
    for hypothesis, begin, size in ((line, 4, 8), (utterance, 0.04, 0.12)):
        assert hypothesis.text == "ab cd"
        assert [span.token for span in hypothesis.token_spans] == list("ab cd")
        assert [span.word for span in hypothesis.word_spans] == ["ab", "cd"]
        end = 0.0
        for index, span in enumerate(hypothesis.token_spans):
            assert end <= span.start < span.end <= begin * 2 + size * 5
            assert span.start == pytest.approx(begin + size * index, abs=1.6 * size)
            end = span.end
            assert 0 < span.confidence <= 1
        assert hypothesis.confidence is not None and 0 < hypothesis.confidence <= 1


def test_spans_count_pixels_of_the_file(recognizers: dict[str, Recognizer], tmp_path: Path) -> None:
    image = Image.fromarray(draw_text("ab cd"))
    image.save(tmp_path / "x.png")
    image.resize((3 * image.width, 3 * image.height), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    small = recognizers["ocr"].transcribe(tmp_path / "x.png")
    large = recognizers["ocr"].transcribe(tmp_path / "large.png")
    assert large.text == small.text
    assert large.token_spans[-1].end == pytest.approx(3 * small.token_spans[-1].end, rel=0.15)


def test_start_and_end_cut_and_move_spans(recognizers: dict[str, Recognizer], tmp_path: Path) -> None:
    recognizer = recognizers["speech"]
    first, second = sound_text("dc ba"), sound_text("ab cd")
    soundfile.write(tmp_path / "both.wav", np.concatenate([first, second]), SAMPLE_RATE)
    soundfile.write(tmp_path / "second.wav", second, SAMPLE_RATE)
    begin, end = len(first) / SAMPLE_RATE, (len(first) + len(second)) / SAMPLE_RATE
    cut = [
        Example("1", tmp_path / "both.wav", end=begin),
        Example("2", tmp_path / "both.wav", start=begin),
        Example("3", tmp_path / "both.wav", start=begin, end=end),
    ]
    parts = [transcript.hypothesis for transcript in recognizer.transcribe_all(cut)]
    alone = recognizer.transcribe(tmp_path / "second.wav")
    assert [part.text for part in parts if part] == ["dc ba", "ab cd", "ab cd"]
    for part in parts[1:]:
        assert part is not None
        for moved, span in zip(part.token_spans, alone.token_spans, strict=True):
            assert moved.start == pytest.approx(begin + span.start)
            assert begin < moved.end <= end


def test_a_bad_medium_does_not_stop_the_others(recognizer: Recognizer, trained: Trained, tmp_path: Path) -> None:
    examples = read_manifest(trained.train)[:3]
    suffix = examples[0].source.suffix
    (tmp_path / f"broken{suffix}").write_bytes(b"nothing of the kind")
    other = {".png": "x.wav", ".wav": "x.png"}[suffix]
    bad = [tmp_path / f"broken{suffix}", tmp_path / f"missing{suffix}", tmp_path / other]
    mixed = [examples[0], *(Example(path.name, path) for path in bad), *examples[1:]]
    transcripts = list(recognizer.transcribe_all(mixed))
    texts = [transcript.hypothesis.text if transcript.hypothesis else None for transcript in transcripts]
    assert texts == [examples[0].text, None, None, None, examples[1].text, examples[2].text]
    for path, transcript in zip(bad, transcripts[1:4], strict=True):
        assert isinstance(transcript.error, DataError)
        assert str(path) in str(transcript.error)
    assert "choose a run trained on" in str(transcripts[3].error)
    assert [t.hypothesis for t in recognizer.transcribe_all([mixed[1]])] == [None]


def test_the_wrong_kind_is_named(recognizers: dict[str, Recognizer]) -> None:
    with pytest.raises(MediaError, match=r"x\.WAV: is an audio file, and this model recognizes image files"):
        recognizers["ocr"].transcribe("x.WAV")
    with pytest.raises(MediaError, match=r"x\.png: is an image file, and this model recognizes audio files"):
        recognizers["speech"].transcribe(Path("x.png"))
    recognizers["speech"].check_kind(Path("no-ending"))
    recognizers["speech"].check_kind(Path("x.strange"))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model.safetensors here"):
        Recognizer.load(tmp_path)


def test_normalization_reaches_the_text(recognizers: dict[str, Recognizer], tmp_path: Path) -> None:
    recognizer = recognizers["ocr"]
    Image.fromarray(draw_text("ab cd")).save(tmp_path / "x.png")
    upper = dataclasses.replace(recognizer.checkpoint, normalizer=Normalizer.of(["uppercase"]))
    assert Recognizer(upper).transcribe(tmp_path / "x.png").text == "AB CD"


def test_records_for_files(recognizers: dict[str, Recognizer], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", sound_text("ab cd"), SAMPLE_RATE)
    hypothesis = recognizers["speech"].transcribe(tmp_path / "x.wav")
    record = hypothesis_record(hypothesis, "seconds")
    assert record["text"] == "ab cd" and record["unit"] == "seconds"
    assert [word["word"] for word in record["words"]] == ["ab", "cd"]
    assert [token["start"] for token in record["tokens"]] == [round(s.start, 3) for s in hypothesis.token_spans]
    assert json.loads(to_json("x.wav", hypothesis, "seconds")) == {"source": "x.wav", **record}


def test_text_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "x.txt"
    write_atomically(path, "ä\n")
    assert path.read_text(encoding="utf-8") == "ä\n"
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(DataError, match=r"x\.txt: cannot be written: killed; choose another --out"):
        write_atomically(path, "new")
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]
    assert path.read_text(encoding="utf-8") == "ä\n"
