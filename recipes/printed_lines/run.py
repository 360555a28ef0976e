"""Printed lines: prepare archiscribe (or any folder of pairs in sub-folders), train, evaluate on unseen books."""

import time
from pathlib import Path

from ctcrec.recipe import evaluate, prepare, print_results, recipe_parser, train

CONFIG = Path(__file__).parents[2] / "configs/ocr/printed_lines.yaml"


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/printed_lines")
    arguments = parser.parse_args()
    started = time.monotonic()
    manifests, run = arguments.out / "manifests", arguments.out / "model"
    prepare("pairs", arguments.data, manifests, "--split", "folders:train=0.81,valid=0.06,test=0.13")
    seconds = train(CONFIG, run, [manifests / "train.jsonl"], [manifests / "valid.jsonl"], arguments.set)
    print_results([evaluate("printed_lines", run, manifests / "test.jsonl", seconds)], started)


if __name__ == "__main__":
    main()
