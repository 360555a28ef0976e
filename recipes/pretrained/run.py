"""One of the models that come with ctcrec, from its data to its folder: prepare, train, evaluate on the dev sets.

python recipes/pretrained/run.py handwriting-fr --data FOLDER
"""

import time
from pathlib import Path

from preparation import PREPARATIONS

from ctcrec.recipe import evaluate, print_results, recipe_parser, train

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = {
    "print-en": CONFIGS / "ocr/print_en.yaml",
    "print-de-fraktur": CONFIGS / "ocr/print_de_fraktur.yaml",
    "handwriting-fr": CONFIGS / "ocr/handwriting_fr.yaml",
    "speech-en": CONFIGS / "speech/speech_en.yaml",
}


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/pretrained")
    parser.add_argument("name", choices=PREPARATIONS, help="the model")
    parser.add_argument("--prepare-only", action="store_true", help="stop when the manifests are there")
    arguments = parser.parse_args()
    started = time.monotonic()
    out = arguments.out / arguments.name
    manifests, run = out / "manifests", out / "model"
    if not (manifests / "train.jsonl").is_file():
        PREPARATIONS[arguments.name](arguments.data, manifests)
    if arguments.prepare_only:
        return
    config = CONFIG[arguments.name]
    seconds = train(config, run, [manifests / "train.jsonl"], [manifests / "valid.jsonl"], arguments.set)
    dev = sorted(manifests.glob("dev*.jsonl"))
    print_results([evaluate(f"{arguments.name}, {path.stem}", run, path, seconds) for path in dev], started)


if __name__ == "__main__":
    main()
