"""LibriSpeech: prepare the subsets, train, evaluate. `--size mini|100h|960h` chooses subsets and configuration."""

import time
from pathlib import Path

from ctcrec.recipe import evaluate, prepare, print_results, recipe_parser, train

CONFIGS = Path(__file__).parents[2] / "configs/speech"
SUBSETS: dict[
    str, tuple[list[str], list[str], list[str]]
] = {  # training, validation (none: speakers of training), test
    "mini": (["train-clean-5"], [], ["dev-mini"]),
    "100h": (["train-clean-100"], ["dev-clean"], ["test-clean", "test-other"]),
    "960h": (["train-clean-100", "train-clean-360", "train-other-500"], ["dev-clean"], ["test-clean", "test-other"]),
}


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/librispeech")
    parser.add_argument("--size", choices=SUBSETS, default="mini", help="which subsets, and which configuration")
    parser.add_argument("--download", action="store_true", help="fetch the subsets into --data first (not for mini)")
    arguments = parser.parse_args()
    started = time.monotonic()
    training, validation, test = SUBSETS[arguments.size]
    subsets = list(dict.fromkeys([*training, *validation, *test]))
    manifests, run = (arguments.out / arguments.size / name for name in ("manifests", "model"))
    option = "--download" if arguments.download else "--subset"
    prepare("librispeech", arguments.data, manifests, *(word for subset in subsets for word in (option, subset)))
    if not validation:
        prepare("split", manifests / f"{training[0]}.jsonl", manifests / "parts", "--split", "train=0.92,valid=0.08")
        training, validation = ["parts/train"], ["parts/valid"]
    seconds = train(
        CONFIGS / f"librispeech_{arguments.size}.yaml",
        run,
        [manifests / f"{subset}.jsonl" for subset in training],
        [manifests / f"{subset}.jsonl" for subset in validation],
        arguments.set,
    )
    results = [
        evaluate(f"librispeech {arguments.size}, {subset}", run, manifests / f"{subset}.jsonl", seconds)
        for subset in test
    ]
    print_results(results, started)


if __name__ == "__main__":
    main()
