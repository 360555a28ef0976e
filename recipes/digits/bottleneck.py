"""The bottleneck of a fixed context: a decoder that sees only the encoder's last state against one with attention.

    python recipes/demo.py                      # the CTC model that both start from
    python recipes/digits/bottleneck.py         # trains both, and draws bottleneck.svg

Both are trained alike, beside CTC on the same encoder and from the same start, and write the test strings by beam
search over their own tokens alone. The plot has their character error rates by the number of digits in the string: a
state of fixed size has to hold them all (Sutskever et al. 2014; Cho et al. 2014), attention looks each up (Bahdanau et
al. 2015).
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from ctcrec.recipe import ctcrec, prepare, train
from ctcrec.scoring import ErrorCounts, character_counts

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "configs/speech/digits_joint.yaml"
KINDS = {
    "with attention": [],
    "without": ["model.decoder={attention: none, width: 128, embedding: 32, dropout: 0.2}"],
}


def errors_by_digits(hypotheses: Path) -> dict[int, float]:
    """Character error rate of the strings of each number of digits."""
    counts: dict[int, ErrorCounts] = defaultdict(ErrorCounts)
    for line in hypotheses.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        counts[len(row["reference"].split())] += character_counts(row["reference"], row["text"])
    return {digits: counts[digits].rate for digits in sorted(counts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="results of recipes/demo.py")
    parser.add_argument("--out", type=Path, default=Path("runs/bottleneck"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--plot", type=Path, default=Path(__file__).parent / "bottleneck.svg")
    arguments = parser.parse_args()
    data = arguments.out / "strings"
    prepare("fsdd", PROJECT / "samples/digits", data, "--strings", 800, "--test-strings", 300, "--lengths", 1, 8)
    rates = {}
    for kind, settings in KINDS.items():
        run = arguments.out / kind.replace(" ", "-")
        chosen = [
            "training.batch_frames=2000",
            "training.learning_rate=0.002",
            f"training.epochs={arguments.epochs}",
            *settings,
        ]
        manifests = [data / "train.jsonl"], [data / "valid.jsonl"]
        train(CONFIG, run, *manifests, chosen, arguments.demo / "digits/model")
        found = run / "evaluation-attention"
        if not (found / "report.json").is_file():
            ctcrec(
                "evaluate", run, data / "test.jsonl", "--out", found, "--decode", "attention", "--set", "safeguard=0"
            )
        rates[kind] = errors_by_digits(found / "hypotheses.jsonl")
    for digits in rates["without"]:
        print(f"{digits} digits:", ", ".join(f"{kind} {100 * rate[digits]:.1f} %" for kind, rate in rates.items()))
    draw(rates, arguments.plot)


def draw(rates: dict[str, dict[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for kind, rate in rates.items():
        axes.plot(list(rate), [100 * value for value in rate.values()], marker="o", label=kind)
    axes.set(xlabel="digits in the string", ylabel="CER of the decoder alone, %", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    print(f"{path}: drawn")


if __name__ == "__main__":
    main()
