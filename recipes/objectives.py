"""Objectives and decodings compared: same start, same encoder, same data, same budget, several seeds, one thread.

    python recipes/demo.py          # the models that all start from: CTC, three minutes each
    python recipes/objectives.py [--only digits lines] [--seeds 3] [--demo runs/demo] [--out runs/objectives]
    python recipes/objectives.py --only lines --models ctc joint --epochs 20 --set loss.ctc_weight=0.8 --out DIR
    python recipes/objectives.py --only librispeech --librispeech FOLDER  # train-clean-5 and dev-mini; one seed

Each row of the table is the same model, the demo's or speech-en, trained on for a few epochs: with CTC as before, or
with a decoder that starts from nothing, beside CTC or alone. The pure CTC model goes on for two more epochs, with CTC
and with minimum character errors of CTC's n-best. Every step is a `ctcrec` command that is printed; what is done is
not done again, so an interrupted recipe goes on. A corpus's table is `table.md` in its folder.
"""

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from ctcrec.recipe import ctcrec, prepare, train

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS, SAMPLES, PRETRAINED = PROJECT / "configs", PROJECT / "samples", PROJECT / "ctcrec/pretrained/speech-en"
CTC = ["loss.ctc_weight=1", "loss.label_smoothing=0", "model.decoder=null"]
LONGER = ["training.learning_rate=0.0003", "training.epochs=2"]
JOINT = ["loss.label_smoothing=0"]  # and the configuration's weight of CTC, 0.5
MODELS = {
    "ctc": CTC,
    "joint": JOINT,
    "longer": [*CTC, *LONGER],
    "risk": [
        *CTC,
        *LONGER,
        "loss.sequence_training={head: ctc, risk: characters, count: 8, beam_size: 16, weight: 0.5}",
    ],
    "sampling": [*JOINT, "loss.scheduled_sampling={schedule: linear, k: 10, floor: 0.7}"],
    "smoothing": ["loss.label_smoothing=0.1"],
    "attention": ["loss.ctc_weight=0", "loss.label_smoothing=0"],
}


@dataclass(frozen=True)
class Task:
    """One corpus: its configuration, settings of all its trainings, and their epochs."""

    name: str
    config: Path
    settings: list[str]
    epochs: int
    ctc_weight: float  # of the joint decoding, chosen on validation data

    def decoding(self, name: str) -> list[str]:
        """Options of `ctcrec evaluate`."""
        if name == "greedy":
            return ["--decode", "greedy"]
        weight = [f"ctc_weight={self.ctc_weight}"] if name == "joint" else []
        return ["--decode", name, *(word for setting in ["beam_size=10", *weight] for word in ("--set", setting))]


@dataclass(frozen=True)
class Row:
    """One row of the table: a model of `MODELS`, or the start (one seed), and how it is decoded."""

    name: str
    model: str
    decoding: str


ROWS = [
    Row("the start, CTC", "start", "greedy"),
    Row("pure CTC", "ctc", "greedy"),
    Row("pure CTC, two epochs more", "longer", "greedy"),
    Row("pure CTC, two epochs more with MWER (characters)", "risk", "greedy"),
    Row("joint, CTC-decoded", "joint", "greedy"),
    Row("joint, jointly decoded", "joint", "joint"),
    Row("joint + scheduled sampling, jointly decoded", "sampling", "joint"),
    Row("joint + label smoothing, jointly decoded", "smoothing", "joint"),
    Row("pure attention", "attention", "attention"),
]
SHARED = ["training.workers=0", "training.learning_rate=0.002", "training.warmup_steps=20", "training.average=ema"]
DIGITS = Task("digits", CONFIGS / "speech/digits_joint.yaml", [*SHARED, "training.batch_frames=2000"], 3, 0.3)
LINES = Task("lines", CONFIGS / "ocr/printed_lines_joint.yaml", [*SHARED, "training.max_batch_size=4"], 7, 0.6)
DECODER = "{cell: lstm, width: 256, embedding: 64, dropout: 0.2, attention: location, attention_size: 128}"
LIBRISPEECH = Task(
    "librispeech",
    CONFIGS / "speech/speech_en.yaml",
    [*SHARED, "training.learning_rate=0.001", f"model.decoder={DECODER}", "loss={ctc_weight: 0.5}"],
    2,
    0.5,
)


def digits(out: Path) -> tuple[list[Path], Path, Path]:
    """Manifests to train on, to validate on, and to test on."""
    strings = out / "strings"
    prepare("fsdd", SAMPLES / "digits", strings, "--strings", 800, "--test-strings", 200)
    return [strings / "train.jsonl"], strings / "valid.jsonl", strings / "test.jsonl"


def lines(out: Path) -> tuple[list[Path], Path, Path]:
    """The same of printed lines; the test is of books that training has not seen."""
    books, unseen = out / "books", out / "unseen"
    prepare("pairs", SAMPLES / "lines/train", books, "--split", "folders:train=0.9,valid=0.1")
    prepare("pairs", SAMPLES / "lines/test", unseen, "--split", "test=1")
    return [books / "train.jsonl"], books / "valid.jsonl", unseen / "test.jsonl"


def librispeech(source: Path, out: Path) -> tuple[list[Path], Path, Path]:
    """The same of train-clean-5, some of whose speakers validate, and dev-mini."""
    manifests, parts = out / "manifests", out / "parts"
    prepare("librispeech", source, manifests, "--subset", "train-clean-5", "--subset", "dev-mini")
    prepare("split", manifests / "train-clean-5.jsonl", parts, "--split", "train=0.92,valid=0.08")
    return [parts / "train.jsonl"], parts / "valid.jsonl", manifests / "dev-mini.jsonl"


def run_model(
    task: Task, model: str, data: tuple[list[Path], Path, Path], start: Path, out: Path, seed: int
) -> dict[str, tuple[float, float]]:
    """Train one model with one seed; (WER, CER) in percent by row."""
    manifests, valid, test = data
    if model == "start":
        return decode(task, model, start, out / model, test)
    settings = [*task.settings, f"seed={seed}", f"training.epochs={task.epochs}", *MODELS[model]]
    run = out / str(seed) / model
    if model in ("longer", "risk"):
        start = run.with_name("ctc")
    train(task.config, run, manifests, [valid], settings, start)
    return decode(task, model, run, run, test)


def decode(task: Task, model: str, run: Path, out: Path, test: Path) -> dict[str, tuple[float, float]]:
    """The rows of one model, evaluated into `out` unless they are already."""
    results = {}
    for row in ROWS:
        if row.model != model:
            continue
        report = out / f"evaluation-{row.decoding}/report.json"
        if not report.is_file():
            ctcrec("evaluate", run, test, "--out", report.parent, *task.decoding(row.decoding))
        rates = json.loads(report.read_text(encoding="utf-8"))
        results[row.name] = (100 * rates["words"]["rate"], 100 * rates["characters"]["rate"])
    return results


def seconds_of(run: Path) -> float:
    """Seconds of training."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return max(row.get("seconds", 0.0) for row in rows)


def table(task: Task, results: dict[str, list[tuple[float, float]]], out: Path) -> str:
    """Means over the seeds with the smallest and largest, in Markdown; rows that have been run."""
    text = [f"| {task.name} | seeds | WER | CER | training |", "|---|---|---|---|---|"]
    for row in ROWS:
        if row.name not in results:
            continue
        columns = [
            f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            for values in zip(*results[row.name], strict=True)
        ]
        runs = [out / str(1 + n) / row.model for n in range(len(results[row.name]))]
        seconds = "" if row.model == "start" else f"{statistics.median(map(seconds_of, runs)):.0f} s"
        text.append(f"| {row.name} | {len(results[row.name])} | {columns[0]} | {columns[1]} | {seconds} |")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["digits", "lines", "librispeech"], nargs="+", default=["digits", "lines"])
    parser.add_argument("--librispeech", type=Path, help="folder of the corpus, for the task of that name")
    parser.add_argument("--models", choices=MODELS, nargs="+", default=list(MODELS), help="some of them; ctc first")
    parser.add_argument("--seeds", type=int, default=3, help="of digits and lines; LibriSpeech has one")
    parser.add_argument("--epochs", type=int, help="in place of 3 for digits, 7 for lines and 2 for LibriSpeech")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all configurations")
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="results of recipes/demo.py")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    arguments = parser.parse_args()
    if ("librispeech" in arguments.only) != (arguments.librispeech is not None):
        parser.error("--only librispeech and --librispeech FOLDER go together")
    os.environ["OMP_NUM_THREADS"] = "1"
    started = time.monotonic()
    for name in arguments.only:
        folder = arguments.out / name
        if name == "librispeech":
            compare(LIBRISPEECH, librispeech(arguments.librispeech, folder), PRETRAINED, folder, arguments)
        else:
            task, make = (DIGITS, digits) if name == "digits" else (LINES, lines)
            compare(task, make(folder), arguments.demo / name / "model", folder, arguments)
    print(f"{time.monotonic() - started:.0f} s in all")


def compare(
    task: Task, data: tuple[list[Path], Path, Path], start: Path, folder: Path, arguments: argparse.Namespace
) -> None:
    """Train and evaluate the models of a task; its table grows with each."""
    epochs, settings = arguments.epochs or task.epochs, [*task.settings, *arguments.set]
    task = replace(task, epochs=epochs, settings=settings)
    results = defaultdict(list)
    for model in ("start", *arguments.models):  # a whole model at a time: the table is of use before all are done
        seeds = 1 if model == "start" or task.name == "librispeech" else arguments.seeds
        for seed in range(1, seeds + 1):
            for row, rates in run_model(task, model, data, start, folder, seed).items():
                results[row].append(rates)
        (folder / "table.md").write_text(table(task, results, folder), encoding="utf-8")
        print((folder / "table.md").read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
