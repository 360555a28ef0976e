"""The steps that all recipes (folder `recipes/`) share: run `ctcrec` commands one after the other, and say which.

A recipe is a list of commands that anyone can type; no model, loss or training loop is ever written in one. A recipe
that was interrupted goes on where it stopped: manifests that exist are kept, a run with a state is resumed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Result", "ctcrec", "evaluate", "prepare", "print_results", "recipe_parser", "train"]


@dataclass(frozen=True)
class Result:
    """One line of a recipe's table; rates in percent, with 95 % bootstrap intervals by example."""

    name: str
    examples: int
    wer: float
    cer: float
    seconds: float  # of training
    report: Path


def recipe_parser(description: str, out: str, data: Path | None = None) -> argparse.ArgumentParser:
    """`--data` (the corpus), `--out` (manifests and run), and `--set` for `ctcrec train`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, required=data is None, default=data, help="folder of the corpus")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for manifests and the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed to ctcrec train")
    return parser


def ctcrec(*arguments: object, processes: int = 1) -> None:
    """Run `ctcrec ARGUMENTS` in this Python, by several processes if wanted, and stop the recipe where it fails."""
    words = [str(argument) for argument in arguments]
    launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"] if processes > 1 else []
    print(f"\n$ {shlex.join(['torchrun', *launch[1:]]) + ' ' if launch else ''}ctcrec {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", *launch, "ctcrec", *words], check=False).returncode
    if code:
        sys.exit(code)


def prepare(corpus: str, source: Path, out: Path, *options: object) -> None:
    """`ctcrec prepare`, unless its manifests are there already."""
    if any(out.glob("*.jsonl")):
        print(f"{out}: manifests are there already")
        return
    ctcrec("prepare", corpus, source, "--out", out, *options)


def train(
    config: Path,
    run: Path,
    train: list[Path],
    valid: list[Path],
    settings: Sequence[str] = (),
    start: Path | None = None,
    processes: int = 1,
) -> float:
    """`ctcrec train`, with the weights of `start` if given, or its continuation; returns seconds of training."""
    if not (run / "curves.png").is_file():
        if (run / "state.safetensors").is_file():
            ctcrec("train", "--resume", run, processes=processes)
        else:
            manifests = [
                f"data.{key}=[{','.join(map(str, paths))}]" for key, paths in (("train", train), ("valid", valid))
            ]
            options: list[object] = [word for setting in [*manifests, *settings] for word in ("--set", setting)]
            options += ["--from", start] if start is not None else []
            ctcrec("train", config, "--out", run, *options, processes=processes)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return max(row.get("seconds", 0.0) for row in rows)


def evaluate(name: str, run: Path, manifest: Path, seconds: float, *options: object, kind: str = "") -> Result:
    """`ctcrec evaluate`; the report is kept beside the run's checkpoint, where `kind` ends its name."""
    out = run / f"evaluation-{manifest.stem}{kind}"
    ctcrec("evaluate", run, manifest, "--out", out, *options)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rates = {unit: 100 * report[unit]["rate"] for unit in ("words", "characters")}
    return Result(name, report["examples"], rates["words"], rates["characters"], seconds, out / "report.txt")


def print_results(results: list[Result], started: float) -> None:
    """The table at the end, and where the reports are."""
    print(f"\n{'model':<28} {'test examples':>13} {'WER':>8} {'CER':>8} {'training':>9}")
    for result in results:
        rates = f"{result.wer:>6.2f} % {result.cer:>6.2f} %"
        print(f"{result.name:<28} {result.examples:>13} {rates} {result.seconds:>7.0f} s")
    print(f"{time.monotonic() - started:.0f} s in all; reports:")
    for result in results:
        print(f"  {result.report}")
