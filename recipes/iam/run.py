"""IAM lines: prepare the release, train, evaluate greedily and with a character n-gram of the training texts."""

import json
import time
from pathlib import Path

from ctcrec.recipe import ctcrec, evaluate, prepare, print_results, recipe_parser, train

CONFIG = Path(__file__).parents[2] / "configs/ocr/iam.yaml"


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/iam")
    parser.add_argument("--split", choices=("rwth", "official"), default="rwth", help="which of the published splits")
    parser.add_argument("--text", choices=("ascii", "xml"), default="ascii", help="which transcripts")
    parser.add_argument(
        "--list", action="append", default=[], metavar="SPLIT=FILE", help="list file, for ctcrec prepare iam"
    )
    parser.add_argument("--order", type=int, default=6, help="longest n-gram of characters")
    arguments = parser.parse_args()
    started = time.monotonic()
    out = arguments.out / f"{arguments.split}-{arguments.text}"
    manifests, run, lm = out / "manifests", out / "model", out / "characters.lm"
    decoding = run / "decoding.yaml"
    lists = [word for item in arguments.list for word in ("--list", item)]
    prepare("iam", arguments.data, manifests, "--split", arguments.split, "--text", arguments.text, *lists)
    seconds = train(CONFIG, run, [manifests / "train.jsonl"], [manifests / "valid.jsonl"], arguments.set)
    name, test = f"iam {out.name}", manifests / "test.jsonl"
    results = [evaluate(name, run, test, seconds, "--decode", "greedy")]
    if not lm.is_file():
        texts = out / "train.txt"
        rows = (manifests / "train.jsonl").read_text(encoding="utf-8").splitlines()
        texts.write_text("".join(json.loads(row)["text"] + "\n" for row in rows), encoding="utf-8")
        ctcrec("lm", "train", texts, "--out", lm, "--order", arguments.order, "--characters")
    if not decoding.is_file():
        ctcrec("tune", run, manifests / "valid.jsonl", "--lm", lm, "--set", "lm_unit=token")
    results.append(evaluate(f"{name}, {arguments.order}-gram", run, test, seconds, kind="-n-gram"))
    print_results(results, started)


if __name__ == "__main__":
    main()
