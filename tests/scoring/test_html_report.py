"""The HTML report stands alone, says what the report says, takes hostile texts, and stays small."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ctcrec.errors import InputError
from ctcrec.scoring import Entry, TimedWord, compare, score, score_collections
from ctcrec.scoring.html_report import render_html, write_html
from ctcrec.scoring.media import Clip, audio_clip, line_clip, spectrogram
from ctcrec.scoring.report import Report

VOID = {"meta", "img", "input"}


class Checker(HTMLParser):
    """Fails on tags that are not closed in order; keeps texts and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert all(source.startswith("data:") for source in checker.sources)
    assert not re.search(r"https?://|@import|url\(", page)
    return checker


@pytest.fixture(scope="module")
def report() -> Report:
    names = [str(i) for i in range(30)]
    references = {
        n: Entry(n, f"the cat number {n} sat on é", {"speaker": f"s{int(n) % 3}", "room": "a"}) for n in names
    }
    hypotheses = {
        n: Entry(
            n,
            f"the hat number {n} sat on",
            words=tuple(
                TimedWord(w, i / 4, i / 4 + 0.2, 0.9) for i, w in enumerate(f"the hat number {n} sat on".split())
            ),
            nbest=(f"the hat number {n} sat on", f"the cat number {n} sat on é"),
        )
        for n in names[1:]
    }
    return score_collections(references, hypotheses, by=["room"], samples=100, worst=5)


def tone(seconds: float = 1.5, rate: int = 16000) -> np.ndarray:
    return np.sin(2 * np.pi * 1000 * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def test_page_says_what_the_report_says(report: Report) -> None:
    checker = check(render_html(report, title="My <run>"))
    text = " ".join(checker.text)
    assert "My <run>" in text
    assert report.signature in text
    for section in ("By speaker", "By room", "Errors by length", "Calibration", "Best of the candidates", "Confusions"):
        assert section in text
    assert f"{100 * report.wer:.2f} %" in text
    assert "1 references have no hypothesis" in text
    assert "References without hypothesis (1)" in text


def test_hostile_text_is_escaped() -> None:
    evil = '</td><script>alert("1")</script>&amp; "\' <img src=http://x onerror=a>'
    report = score({evil: evil, "2": "a"}, {evil: evil + " x", "2": evil}, {evil: evil, "2": "b"}, samples=10)
    page = render_html(report, lambda _: line_clip(np.zeros((9, 9), np.uint8), [TimedWord(evil, 1, 2)]), title=evil)
    page_without_text = page.replace("http://x", "")
    checker = check(page_without_text)
    assert page.count("<script>") == 1
    assert any("alert" in text for text in checker.text)


def test_clips_are_embedded(report: Report) -> None:
    spans = [TimedWord("the", 0.0, 0.5, 0.75), TimedWord("cat", 0.5, 1.0), TimedWord("unplaced")]
    clips = {"1": audio_clip(tone(), 16000, spans), "2": line_clip(np.full((200, 600), 255, np.uint8), spans)}
    page = render_html(report, lambda name: clips.get(name))
    checker = check(page)
    worst = [example.id for example in report.worst]
    assert sum(source.startswith("data:audio/mpeg") for source in checker.sources) == ("1" in worst)
    assert len(checker.sources) == ("2" in worst) + 2 * ("1" in worst) >= 1
    assert 'style="left:0.00%;width:33.33%" data-start="0" data-end="0.5" title="the 0 to 0.5, confidence 75 %"' in page
    assert "unplaced" not in page


def test_media_stay_within_the_budget(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctcrec.scoring.html_examples._MEDIA_BYTES", 2500)
    asked: list[str] = []

    def clip(name: str) -> Clip:
        asked.append(name)
        return Clip(bytes(1000), "image/png", 10.0)

    page = render_html(report, clip)
    assert len(check(page).sources) == 2
    assert "Media of some are left out" in page


def test_a_thousand_examples_are_small_and_more_are_cut() -> None:
    text = "the quick brown fox jumps over the lazy dog and runs into the deep dark wood before night falls again"
    references = {f"utterance-{i}": text for i in range(1100)}
    hypotheses = {name: text.replace("brown", "crown") for name, text in references.items()}
    page = render_html(score(references, hypotheses, samples=0))
    assert "Examples (1000 of 1100, most errors first)" in page
    assert len(page.encode()) < 3 << 20


def test_comparison_is_shown_and_file_is_written(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_html(page, report, comparisons=[compare(report, report, ("left", "right"), samples=50)])
    text = page.read_text("utf-8")
    assert "Systems compared" in text and "left" in text
    assert list(tmp_path.iterdir()) == [page]


def test_perfect_and_empty_scores_are_drawn() -> None:
    check(render_html(score({"a": "x"}, {"a": "x"})))
    check(render_html(score({"a": ""}, {"a": ""})))
    check(render_html(score({"a": ""}, {"a": "x"})))


def test_clip_pictures() -> None:
    picture = spectrogram(tone(), 16000)
    loudest = picture.shape[0] - 1 - int(picture.mean(axis=1).argmin())
    assert loudest / picture.shape[0] == pytest.approx(1000 / 8000, abs=0.03)
    assert spectrogram(np.zeros(1, np.float32), 16000).shape[0] == picture.shape[0]
    clip = audio_clip(tone(2.0), 16000)
    assert clip.extent == 2.0 and clip.audio is not None and len(clip.audio) < 40_000
    with pytest.raises(InputError, match="16000"):
        audio_clip(tone(), 16001)
    with pytest.raises(InputError, match="shape"):
        audio_clip(np.zeros((2, 5), np.float32), 16000)
    with pytest.raises(InputError, match="shape"):
        line_clip(np.zeros((2, 5, 3), np.uint8))
    assert line_clip(np.zeros((300, 1000), np.uint8)).extent == 1000
