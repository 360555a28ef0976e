"""Handwritten lines: prepare peraire (or any folder of pairs), train, evaluate on a fifth of the lines."""

import time
from pathlib import Path

from ctcrec.recipe import evaluate, prepare, print_results, recipe_parser, train

CONFIG = Path(__file__).parents[2] / "configs/ocr/handwritten_lines.yaml"


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/handwritten_lines")
    arguments = parser.parse_args()
    started = time.monotonic()
    manifests, run = arguments.out / "manifests", arguments.out / "model"
    prepare("pairs", arguments.data, manifests, "--split", "train=0.76,valid=0.04,test=0.2")
    seconds = train(CONFIG, run, [manifests / "train.jsonl"], [manifests / "valid.jsonl"], arguments.set)
    print_results([evaluate("handwritten_lines", run, manifests / "test.jsonl", seconds)], started)


if __name__ == "__main__":
    main()
