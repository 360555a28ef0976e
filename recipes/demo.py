"""`make demo`: train one speech model and one line model on the project's samples, transcribe, score. About 8 minutes.

Everything below is a `ctcrec` command that is printed before it runs.
"""

import shutil
import time
from pathlib import Path

from ctcrec.recipe import ctcrec, evaluate, prepare, print_results, train

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS, SAMPLES, OUT = PROJECT / "configs", PROJECT / "samples", Path("runs/demo")
DIGIT_MINUTES, LINE_MINUTES = 3.1, 2.6


def digits() -> tuple[Path, Path, float]:
    """Train on digit strings; returns the model, its test manifest and the seconds of training."""
    strings, isolated, model = OUT / "digits/strings", OUT / "digits/isolated", OUT / "digits/model"
    prepare("fsdd", SAMPLES / "digits", strings, "--strings", 2500)
    prepare("fsdd", SAMPLES / "digits", isolated, "--strings", 0)
    seconds = train(
        CONFIGS / "speech/digits.yaml",
        model,
        [strings / "train.jsonl", isolated / "train.jsonl"],
        [strings / "valid.jsonl"],
        [f"training.max_minutes={DIGIT_MINUTES}"],
    )
    return model, strings / "test.jsonl", seconds


def lines() -> tuple[Path, Path, float]:
    """Train on printed lines; returns the model, its test manifest (other books) and the seconds of training."""
    books, unseen, model = OUT / "lines/books", OUT / "lines/unseen", OUT / "lines/model"
    prepare("pairs", SAMPLES / "lines/train", books, "--split", "folders:train=0.9,valid=0.1")
    prepare("pairs", SAMPLES / "lines/test", unseen, "--split", "test=1")
    seconds = train(
        CONFIGS / "ocr/printed_lines.yaml",
        model,
        [books / "train.jsonl"],
        [books / "valid.jsonl"],
        [f"training.max_minutes={LINE_MINUTES}", "training.max_batch_size=4", "training.learning_rate=0.003"],
    )
    return model, unseen / "test.jsonl", seconds


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    results = []
    for name, make, pattern in (
        ("digit strings (speech)", digits, "digits/strings/audio/test/*.flac"),
        ("printed lines (ocr)", lines, ""),
    ):
        model, manifest, seconds = make()
        files = sorted(OUT.glob(pattern)) if pattern else sorted((SAMPLES / "lines/test").rglob("*.png"))
        ctcrec("transcribe", *files[:3], "--run", model)
        results.append(evaluate(name, model, manifest, seconds))
    print_results(results, started)


if __name__ == "__main__":
    main()
