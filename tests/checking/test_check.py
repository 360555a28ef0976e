"""Every kind of finding is provoked once; a clean corpus gives none."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import Trained
from PIL import Image
from tiny import config_values, draw_text, sound_text

from ctcrec.checking import KINDS, Finding, Report, Target, check
from ctcrec.data.manifest import write_manifest
from ctcrec.errors import CheckpointError, ConfigError, InputError, ManifestError
from ctcrec.records import Example

LETTERS = "abcd"


def distinct_texts(count: int, offset: int = 0) -> list[str]:
    """Texts of eight letters, all different."""
    return [
        "".join(LETTERS[(number + offset) >> 2 * place & 3] for place in range(6)) + "ab" for number in range(count)
    ]


def line(folder: Path, name: str, text: str, image: np.ndarray | None = None, **changes: Any) -> Example:
    path = folder / f"{name}.png"
    pixels = draw_text(text) if image is None else image
    Image.fromarray(pixels).save(path)
    fields = {"height": pixels.shape[0], "width": pixels.shape[1], "writer": "anna", **changes}
    return Example(name, path, **{"text": text, **fields})


def utterance(
    folder: Path, name: str, text: str, wave: np.ndarray | None = None, rate: int = 8000, **changes: Any
) -> Example:
    path = folder / f"{name}.wav"
    samples = sound_text(text, zlib.crc32(name.encode()) % 1000) if wave is None else wave
    soundfile.write(path, samples, rate)
    return Example(name, path, **{"text": text, "duration": len(samples) / rate, "speaker": "eva", **changes})


def lines(folder: Path, count: int = 30, offset: int = 0, prefix: str = "l") -> list[Example]:
    folder.mkdir(parents=True, exist_ok=True)
    texts = distinct_texts(count, offset)
    return [line(folder, f"{prefix}{number:02}", text) for number, text in enumerate(texts)]


def utterances(folder: Path, count: int = 30) -> list[Example]:
    folder.mkdir(parents=True, exist_ok=True)
    return [utterance(folder, f"u{number:02}", text) for number, text in enumerate(distinct_texts(count))]


def report_on(folder: Path, *manifests: Sequence[Example], target: Target | None = None, whole: bool = True) -> Report:
    """A check in this process of manifests called 0.jsonl, 1.jsonl, ..."""
    paths = []
    for number, examples in enumerate(manifests):
        paths.append(folder / f"{number}.jsonl")
        write_manifest(paths[-1], examples)
    return check(paths, target, whole=whole, processes=0)


def found(report: Report) -> dict[str, list[Finding]]:
    by_kind: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    return by_kind


def the(report: Report, kind: str) -> Finding:
    """The only finding of the report."""
    assert [finding.kind for finding in report.findings] == [kind], report.text()
    return report.findings[0]


def with_changes(examples: Sequence[Example], index: int, **changes: Any) -> list[Example]:
    changed = list(examples)
    changed[index] = dataclasses.replace(changed[index], **changes)
    return changed


# --- clean ---


@pytest.mark.parametrize("whole", [True, False])
def test_a_clean_corpus_has_no_findings(tmp_path: Path, whole: bool) -> None:
    for examples in (lines(tmp_path / "l"), utterances(tmp_path / "u")):
        report = report_on(tmp_path, examples, whole=whole)
        assert report.findings == (), report.text()
        assert not report.breaks_training
        assert (report.n_examples, report.n_read, report.n_remembered) == (30, 30, 0)


def test_both_modalities_side_by_side(tmp_path: Path) -> None:
    report = report_on(tmp_path, lines(tmp_path / "l"), utterances(tmp_path / "u"))
    assert report.findings == (), report.text()


# --- errors ---


def test_malformed_rows_are_all_found(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_manifest(path, lines(tmp_path / "l", 3))
    path.write_text("{\n" + path.read_text() + '{"id": "x"}\n')
    report = check([path], processes=0)
    assert [finding.message.split(":")[1] for finding in found(report)["row"]] == ["1", "5"]
    assert "train.jsonl:5: the key 'source' is missing" in found(report)["row"][1].message
    assert report.breaks_training and report.n_examples == 3


@pytest.mark.parametrize(("content", "count"), [("{\n", 2), ("\n", 1), ("", 1)])
def test_manifests_without_examples(tmp_path: Path, content: str, count: int) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text(content)
    write_manifest(tmp_path / "train.jsonl", lines(tmp_path / "l"))
    report = check([tmp_path / "train.jsonl", path], processes=0)
    assert set(found(report)) == {"row"} and len(report.findings) == count and report.breaks_training
    assert f"{path}: has no examples" in report.findings[-1].message


def test_ids_twice(tmp_path: Path) -> None:
    examples = lines(tmp_path / "l")
    finding = the(report_on(tmp_path, with_changes(examples, 3, id="l00")), "id")
    assert "id 'l00' occurs 2 times" in finding.message and finding.severity == "error"


@pytest.mark.parametrize(("text", "message"), [(None, "has no text"), ("", "text is empty"), (" \t", "text is empty")])
def test_missing_and_empty_texts(tmp_path: Path, text: str | None, message: str) -> None:
    report = report_on(tmp_path, with_changes(lines(tmp_path / "l"), 3, text=text))
    [finding] = found(report)["text"]
    assert finding.ids == ("l03",) and message in finding.message
    assert report.breaks_training


def test_unusable_media(tmp_path: Path) -> None:
    sounds, images = utterances(tmp_path / "u"), lines(tmp_path / "l")
    sounds[0].source.unlink()
    sounds[1].source.write_bytes(b"")
    sounds[2].source.write_bytes(sounds[2].source.read_bytes()[:-1000])
    soundfile.write(sounds[3].source, np.zeros(0), 8000)
    images[0].source.write_bytes(images[0].source.read_bytes()[:100])
    images[1].source.write_text("not an image")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(images[2].source)
    report = report_on(tmp_path, sounds, images)
    messages = {finding.ids[0]: finding.message for finding in found(report)["media"]}
    expected = {
        "u00": "no such file",
        "u01": "is empty",
        "u02": "is truncated",
        "u03": "has no samples",
        "l00": "is truncated or damaged",
        "l01": "is not an image",
        "l02": "1×1 pixels, too small",
    }
    assert messages.keys() == expected.keys()
    assert all(expected[name] in message for name, message in messages.items()), messages
    assert set(found(report)) == {"media"} and report.breaks_training


def test_damage_behind_the_header_needs_the_content(tmp_path: Path) -> None:
    images = lines(tmp_path / "l")
    images[0].source.write_bytes(images[0].source.read_bytes()[:100])
    report = report_on(tmp_path, images, whole=False)
    assert report.findings == ()
    assert any("damage behind the headers" in what for what in report.not_checked)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.4), (0.2, 7.0), (7.0, None), (7.0, 8.0)])
def test_parts_that_are_not_there(tmp_path: Path, whole: bool, start: float, end: float | None) -> None:
    sounds = with_changes(utterances(tmp_path / "u"), 4, start=start, end=end)
    finding = the(report_on(tmp_path, sounds, whole=whole), "media")
    assert finding.ids == ("u04",) and "correct `start`" in finding.message


def test_start_and_end_of_a_line(tmp_path: Path) -> None:
    finding = the(report_on(tmp_path, with_changes(lines(tmp_path / "l"), 4, start=0.0)), "media")
    assert "start and end cut audio" in finding.message


def test_sizes_that_are_not_those_of_the_file(tmp_path: Path) -> None:
    images = with_changes(lines(tmp_path / "l"), 4, width=1000)
    sounds = with_changes(utterances(tmp_path / "u"), 5, duration=0.3)
    report = report_on(tmp_path, images, sounds)
    assert [finding.ids for finding in found(report)["size"]] == [("l04",), ("u05",)]
    assert "a width of 1000 pixels, and the file has 72" in found(report)["size"][0].message
    assert "a duration of 0.3 s, and the file has" in found(report)["size"][1].message


# --- against a run or a configuration ---


def test_a_run_knows_its_characters_and_frames(tmp_path: Path, trained: Trained) -> None:
    target = Target.of_run(trained.run)
    make = line if trained.config.modality == "ocr" else utterance
    examples = [make(tmp_path, f"x{number}", text) for number, text in enumerate(distinct_texts(5))]
    assert report_on(tmp_path, examples, target=target).findings == ()
    examples = with_changes(examples, 1, text="abßdß")
    examples = with_changes(examples, 2, text="ab" * 300)
    examples = with_changes(examples, 3, text="a\u0301")  # NFC makes it one character, á
    report = report_on(tmp_path, examples, target=target)
    assert set(found(report)) == {"characters", "frames"}
    characters = {finding.message[:10]: finding.ids for finding in found(report)["characters"]}
    assert characters == {"'ß' (U+00D": ("x1",), "'á' (U+00E": ("x3",)}
    [misfit] = found(report)["frames"]
    assert misfit.ids == ("x2",) and "needs 600 frames" in misfit.message
    assert "no subsampling fits" in misfit.message
    assert report.breaks_training and not report.not_checked


def test_the_subsampling_that_would_fit(tmp_path: Path, trained_models: dict[str, Trained]) -> None:
    target = Target.of_run(trained_models["ocr"].run)
    examples = [line(tmp_path, "x", "abab", draw_text("abcdab"))]
    width = examples[0].width or 0
    repeated = with_changes(examples, 0, text="a" * (width // 4 + 1))  # as many repeats as labels
    [finding] = report_on(tmp_path, repeated, target=target).findings
    needed = 2 * (width // 4 + 1) - 1
    assert f"needs {needed} frames (labels + repeats), and {width // 2} are left of {width}" in finding.message
    assert f"a subsampling of {width // needed} would fit" in finding.message


def test_the_frames_are_those_of_the_file(tmp_path: Path, trained_models: dict[str, Trained]) -> None:
    """A manifest that claims a wider image does not hide the misfit."""
    target = Target.of_run(trained_models["ocr"].run)
    examples = with_changes([line(tmp_path, "x", "ab")], 0, text="abcd" * 10, width=100_000)
    assert set(found(report_on(tmp_path, examples, target=target))) == {"frames", "size"}


def test_media_of_the_other_modality(tmp_path: Path, trained_models: dict[str, Trained]) -> None:
    target = Target.of_run(trained_models["ocr"].run)
    finding = the(report_on(tmp_path, [utterance(tmp_path, "u", "ab")], target=target), "media")
    assert "looks like audio" in finding.message


def test_texts_that_normalization_empties(tmp_path: Path, trained_models: dict[str, Trained]) -> None:
    target = dataclasses.replace(Target.of_run(trained_models["ocr"].run), normalizer=_dropping_all())
    finding = the(report_on(tmp_path, [line(tmp_path, "x", "ab")], target=target), "text")
    assert "empty after normalization, it was 'ab'" in finding.message


def _dropping_all() -> Any:
    from ctcrec.text import Normalizer

    return Normalizer(("keep:z",))


def test_a_configuration_takes_its_tokenizer_from_the_first_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.jsonl", lines(tmp_path / "train"))
    write_manifest(tmp_path / "valid.jsonl", [line(tmp_path, "v", "dax", draw_text("dab"))])
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(config_values("ocr", tmp_path / "train.jsonl")))
    manifests = [tmp_path / "train.jsonl", tmp_path / "valid.jsonl"]
    report = check(manifests, Target.of_config(config, manifests[0]), processes=0)
    [finding] = found(report)["characters"]
    assert "'x' (U+0078 LATIN SMALL LETTER X) in 1 texts has no token" in finding.message
    with pytest.raises(ConfigError, match="unknown key"):
        Target.of_config(config, manifests[0], ["training.speed=3"])
    with pytest.raises(CheckpointError, match=r"no model\.safetensors here"):
        Target.of_run(tmp_path)


# --- warnings ---


def test_silence_and_blank_paper(tmp_path: Path) -> None:
    sounds, images = utterances(tmp_path / "u"), lines(tmp_path / "l")
    sounds.append(utterance(tmp_path, "silent", "abcdab", np.zeros(7000)))
    images.append(line(tmp_path, "blank", "abcdab", np.full((16, 60), 250, np.uint8)))
    report = report_on(tmp_path, sounds, images)
    assert [finding.ids for finding in found(report)["blank"]] == [("silent",), ("blank",)]
    assert set(found(report)) == {"blank"} and not report.breaks_training


def test_duplicates_by_content(tmp_path: Path) -> None:
    images = lines(tmp_path / "l")
    Image.fromarray(draw_text("abcdab")).save(tmp_path / "first.png")
    Image.fromarray(draw_text("abcdab")).convert("RGB").save(tmp_path / "again.tif")
    images += [Example("first", tmp_path / "first.png", "abcdab"), Example("again", tmp_path / "again.tif", "abcdax")]
    finding = the(report_on(tmp_path, images), "duplicate")
    assert finding.ids == ("first", "again") and "the same content with different texts; keep one" in finding.message

    sounds = utterances(tmp_path / "u")
    wave = np.round(sound_text("abcdab", 77) * 32768).astype(np.int16)
    for name in ("x.wav", "x.flac"):
        soundfile.write(tmp_path / name, wave, 8000)
    sounds += [Example(name, tmp_path / name, "abcdab") for name in ("x.wav", "x.flac")]
    finding = the(report_on(tmp_path, sounds), "duplicate")
    assert finding.ids == ("x.wav", "x.flac") and "the same content; keep one" in finding.message


def test_the_same_part_of_a_file_is_known_from_the_manifest(tmp_path: Path) -> None:
    wave = np.concatenate([sound_text(text) for text in distinct_texts(6)])
    source = utterance(tmp_path, "long", "x", wave).source
    parts = [Example(f"p{n}", source, "abcdabab", start=n % 5 * 1.0, end=n % 5 + 1.0) for n in range(6)]
    for whole in (True, False):
        finding = the(report_on(tmp_path, parts, whole=whole), "duplicate")
        assert finding.ids == ("p0", "p5")


def test_what_manifests_share(tmp_path: Path) -> None:
    train, test = lines(tmp_path / "a"), lines(tmp_path / "b", offset=1000, prefix="m")
    test = [dataclasses.replace(example, writer="bert", speaker="eva") for example in test]
    train = [dataclasses.replace(example, speaker="max") for example in train]
    assert report_on(tmp_path, train, test).findings == ()
    test = with_changes(test, 2, id="l05")
    test = with_changes(test, 3, writer="anna")
    test = with_changes(test, 4, speaker="max")
    test = with_changes(test, 5, source=train[7].source)
    report = report_on(tmp_path, train, test)
    by_kind = found(report)
    assert set(by_kind) == {"shared-id", "shared-writer", "shared-speaker", "shared-content"}
    assert not report.breaks_training
    for kind in by_kind:
        [finding] = by_kind[kind]
        assert {Path(name).name for name in finding.manifests} == {"0.jsonl", "1.jsonl"}
    assert by_kind["shared-id"][0].ids == ("l05", "l05")
    assert by_kind["shared-content"][0].ids == ("l07", "m05")
    assert "writer 'anna' is in" in by_kind["shared-writer"][0].message
    assert by_kind["shared-writer"][0].count == 31
    assert "results on known voices are too good" in by_kind["shared-speaker"][0].message


def test_splits_that_overlap_and_texts_written_in_two_ways(tmp_path: Path) -> None:
    def marked(examples: list[Example], **extra: str) -> list[Example]:
        return [dataclasses.replace(example, extra=extra) for example in examples]

    train = marked(lines(tmp_path / "a"), partition="iam:rwth", text_convention="iam-ascii.v1")
    test = lines(tmp_path / "b", 5, offset=1000, prefix="m")
    test = [dataclasses.replace(example, writer="bert") for example in test]
    assert report_on(tmp_path, train, test).findings == ()  # a corpus that says nothing of the kind
    same = marked(test, partition="iam:rwth", text_convention="iam-ascii.v1")
    assert report_on(tmp_path, train, same).findings == ()
    other = marked(test, partition="iam:official", text_convention="iam-xml.v1")
    report = report_on(tmp_path, train, other)
    assert set(found(report)) == {"partition", "convention"} and report.breaks_training
    [finding] = found(report)["partition"]
    assert "the iam splits rwth (30 examples) and official (5 examples) overlap" in finding.message
    assert finding.ids == tuple(f"m{number:02}" for number in range(5))
    assert "iam-ascii.v1 (30 examples) and iam-xml.v1" in found(report)["convention"][0].message


def test_texts_too_long_or_short_for_their_media(tmp_path: Path) -> None:
    sounds, images = utterances(tmp_path / "u"), lines(tmp_path / "l")
    sounds = with_changes(sounds, 3, text="ab" * 30)
    images = with_changes(images, 4, text="a")
    report = report_on(tmp_path, sounds, images)
    assert set(found(report)) == {"density"}
    long, short = found(report)["density"]
    assert long.ids == ("u03",) and "60 characters are unusually long" in long.message and "a second" in long.message
    assert short.ids == ("l04",) and "1 characters are unusually short" in short.message
    assert "a height of the line" in short.message


def test_resolution_does_not_make_outliers(tmp_path: Path) -> None:
    """The same line at twice the resolution has as many characters in a height."""
    images = lines(tmp_path / "l")
    big = np.kron(draw_text("abcdabcd"), np.ones((2, 2), np.uint8))
    images.append(line(tmp_path, "big", "abcdabcd", big))
    finding = the(report_on(tmp_path, images), "heights")
    assert finding.ids == ("big",) and "higher or lower than the median of 16 pixels (all: 16 to 32)" in finding.message


def test_mixed_rates(tmp_path: Path) -> None:
    sounds = utterances(tmp_path / "u")
    wave = np.repeat(sound_text("abcdabcd", 5), 2)
    sounds.append(utterance(tmp_path, "wide", "abcdabcd", wave, 16000))
    finding = the(report_on(tmp_path, sounds), "rates")
    assert finding.ids == ("wide",) and "8000 Hz in 30, 16000 Hz in 1" in finding.message


def test_mixed_polarity(tmp_path: Path) -> None:
    images = lines(tmp_path / "l")
    images.append(line(tmp_path, "negative", "abcdabcd", 255 - draw_text("abcdabcd")))
    finding = the(report_on(tmp_path, images), "polarity")
    assert finding.ids == ("negative",) and "in 30 images, light on dark in 1" in finding.message


def test_suspicious_unicode_is_reported_with_ids(tmp_path: Path) -> None:
    images = lines(tmp_path / "l")
    for index, text in {
        1: "caféabcd",
        2: "cafe\u0301abcd",
        3: "abc\u202edabc",
        4: "abcd\u0430bcd",
        5: "ab\u200bcd",
    }.items():
        images = with_changes(images, index, text=text)
    report = report_on(tmp_path, images)
    assert {kind: findings[0].ids for kind, findings in found(report).items()} == {
        "form": ("l02",),
        "bidi": ("l03",),
        "look-alike": ("l04",),
        "control": ("l05",),
    }
    assert not report.breaks_training


# --- all of it ---


def test_every_kind_is_provoked_by_a_test() -> None:
    source = Path(__file__).read_text()
    assert all(f'"{kind}"' in source for kind in KINDS)


def test_unusable_arguments(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("\n")
    with pytest.raises(ManifestError, match="no such manifest"):
        check([tmp_path / "none.jsonl"], processes=0)
    with pytest.raises(InputError, match="is given twice"):
        check([path, tmp_path / "." / "train.jsonl"], processes=0)
    with pytest.raises(InputError, match="would overwrite a manifest"):
        check([path], out=path, processes=0)
    with pytest.raises(InputError, match=r"ends in \.jsonl"):
        check([path], out=tmp_path / "x.json", processes=0)
