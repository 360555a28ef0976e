"""Digit strings: prepare FSDD, train, evaluate; `--leave-out SPEAKER` also tests on a speaker never heard."""

import time
from pathlib import Path

from ctcrec.recipe import evaluate, prepare, print_results, recipe_parser, train

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "configs/speech/digits.yaml"


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/digits", data=PROJECT / "samples/digits")
    parser.add_argument("--leave-out", metavar="SPEAKER", help="keep this speaker's clips for a test of its own")
    arguments = parser.parse_args()
    started = time.monotonic()
    speaker = arguments.leave_out
    out = arguments.out / (f"without-{speaker}" if speaker else "all-speakers")
    strings, isolated, run = out / "strings", out / "isolated", out / "model"
    options = ["--leave-out", speaker] if speaker else []
    prepare("fsdd", arguments.data, strings, "--strings", 2500, *options)
    prepare("fsdd", arguments.data, isolated, "--strings", 0, *options)
    training = [strings / "train.jsonl", isolated / "train.jsonl"]
    seconds = train(CONFIG, run, training, [strings / "valid.jsonl"], arguments.set)
    tests = ["test", f"test-{speaker}"] if speaker else ["test"]
    print_results([evaluate(f"digits, {name}", run, strings / f"{name}.jsonl", seconds) for name in tests], started)


if __name__ == "__main__":
    main()
