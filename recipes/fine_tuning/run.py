"""What a trained model saves: the error after a few lines of a new hand, print or voice, against starting from scratch.

    python recipes/fine_tuning/run.py --from print-en --train train.jsonl --test dev-peraire.jsonl --lines 50 200 1000

Both start with the model's own configuration, see the same lines as often, and are tested on the same examples.
"""

import argparse
import json
from pathlib import Path

from ctcrec.corpora.manifests import sample
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.pretrained import find_model
from ctcrec.recipe import ctcrec

VALIDATION_LINES = 60
SCRATCH_RATE = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="start", required=True, help="name of a model, or directory of a run")
    parser.add_argument("--train", type=Path, required=True, help="manifest to draw the lines from")
    parser.add_argument("--test", type=Path, required=True, help="manifest to test on")
    parser.add_argument("--lines", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--seen", type=int, default=12_000, help="lines seen in training, repetitions counted")
    parser.add_argument("--learning-rate", type=float, default=0.0007, help="from the model; scratch has 0.002")
    parser.add_argument("--out", type=Path, default=Path("runs/fine_tuning"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed to ctcrec train")
    arguments = parser.parse_args()
    folder = find_model(arguments.start)
    examples = read_manifest(arguments.train)
    ranked = sample(examples, "all", max(arguments.lines) + VALIDATION_LINES).splits["all"]
    validation = list(sample(ranked, "valid", VALIDATION_LINES, seed=2).splits["valid"])
    held_out = {example.id for example in validation}
    rest = [example for example in ranked if example.id not in held_out]
    valid = arguments.out / "valid.jsonl"
    write_manifest(valid, validation)
    rows = []
    for count in arguments.lines:
        manifest = arguments.out / f"train-{count}.jsonl"
        write_manifest(manifest, sample(rest, "train", count).splits["train"])
        for start in (folder, None):
            run = arguments.out / f"{count}-{'scratch' if start is None else folder.name}"
            rows.append((count, start, fine_tune(arguments, folder, start, manifest, valid, run, count)))
    print(f"\n{'lines':>6}  {'from':<20} {'WER':>8} {'CER':>8}")
    for count, start, (wer, cer) in rows:
        print(f"{count:>6}  {'scratch' if start is None else folder.name:<20} {100 * wer:>6.2f} % {100 * cer:>6.2f} %")


def fine_tune(
    arguments: argparse.Namespace, folder: Path, start: Path | None, train: Path, valid: Path, run: Path, count: int
) -> tuple[float, float]:
    """Train, evaluate; returns WER and CER."""
    report = run / "evaluation/report.json"
    if not report.is_file():
        settings = [
            f"data.train=[{train}]",
            f"data.valid=[{valid}]",
            f"training.epochs={max(1, arguments.seen // count)}",
            f"training.learning_rate={SCRATCH_RATE if start is None else arguments.learning_rate}",
            "training.warmup_steps=50",
            "training.precision=float32",  # whatever the model was trained in
            *arguments.set,
        ]
        options: list[object] = [word for setting in settings for word in ("--set", setting)]
        if (run / "state.safetensors").is_file():
            ctcrec("train", "--resume", run)
        else:
            options += ["--from", start] if start is not None else []
            ctcrec("train", folder / "config.yaml", "--out", run, *options)
        ctcrec("evaluate", run, arguments.test, "--out", report.parent, "--decode", "greedy")
    values = json.loads(report.read_text(encoding="utf-8"))
    return values["words"]["rate"], values["characters"]["rate"]


if __name__ == "__main__":
    main()
