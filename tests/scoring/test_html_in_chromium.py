"""The HTML report in a real browser: it opens without errors, sorts, filters, plays, and fetches nothing.

Runs where Chromium and ChromeDriver are installed (Debian: chromium, chromium-driver)."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctcrec.scoring import TimedWord, score
from ctcrec.scoring.html_report import write_html
from ctcrec.scoring.media import audio_clip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs chromium and chromium-driver"),
]
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --mute-audio"
)


class Browser:
    """Just enough of the WebDriver protocol."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        options = {"args": ARGUMENTS.split()}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{session['sessionId']}"

    def call(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "text/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        return self.call("/execute/sync", {"script": script, "args": []})

    def wait(self, script: str) -> Any:
        for _ in range(200):
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}")


@pytest.fixture
def browser() -> Iterator[Browser]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        browser = Browser(port)
        yield browser
        request = urllib.request.Request(browser.base, method="DELETE")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).close()
    finally:
        driver.terminate()
        driver.wait(timeout=30)


def test_report_of_a_thousand_examples(browser: Browser, tmp_path: Path) -> None:
    text = "the quick brown fox jumps over the lazy dog and runs into the wood"
    references = {f"u{i}": " ".join(text.split()[: 2 + i % 12]) for i in range(1000)}
    hypotheses = {name: text.replace("o", "0", i % 4) for i, (name, text) in enumerate(references.items())}
    report = score(references, hypotheses, {name: f"s{i % 7}" for i, name in enumerate(references)}, samples=50)
    sound = np.sin(np.arange(32000) / 10).astype(np.float32) / 2
    clip = audio_clip(sound, 16000, [TimedWord("the", 0.25, 0.5, 0.9)])
    page = tmp_path / "report.html"
    write_html(page, report, lambda _: clip)
    assert page.stat().st_size < 20 << 20

    browser.call("/url", {"url": page.as_uri()})
    assert browser.run("return document.querySelectorAll('#examples tbody tr').length") == 1000

    column = "[...document.querySelectorAll('#examples tbody tr')].map(row => Number(row.cells[1].dataset.v))"
    browser.run("document.querySelectorAll('#examples th')[1].click()")
    rates = browser.run(f"return {column}")
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]
    browser.run("document.querySelectorAll('#examples th')[1].click()")
    assert browser.run(f"return {column}") == sorted(rates)
    assert (
        browser.run("return document.querySelector('#examples th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    )

    browser.run(
        "const field = document.querySelector('input[data-filter]'); field.value = 'u999';"
        "field.dispatchEvent(new Event('input'))"
    )
    assert browser.run("return document.querySelectorAll('#examples tbody tr:not([hidden])').length") == 1

    browser.run("document.querySelector('audio').load()")
    duration = browser.wait("return document.querySelector('audio').duration")
    assert duration == pytest.approx(2.0, abs=0.2)
    browser.run("document.querySelector('.span').click()")
    browser.wait("const a = document.querySelector('audio'); return a.paused && a.currentTime >= 0.5")
    assert browser.run("return document.querySelector('audio').currentTime") < 1.0
    assert browser.run("return document.querySelector('img').naturalWidth") > 50

    fetched = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert [entry for entry in browser.call("/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"] == []
