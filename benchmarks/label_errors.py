"""How many wrong texts the doctor's review list finds: some texts are swapped, a model learns from them, and looks.

    python benchmarks/label_errors.py TRAIN.jsonl VALID.jsonl --config configs/ocr/printed_lines.yaml --out FOLDER
        [--share 0.02] [--seed 0] [--set KEY=VALUE ...]

Of each manifest the share of the texts is chosen at random and passed on among the chosen, so that each of them is
another example's; texts that are equal are no error and are not chosen. The model is trained on the swapped manifests
as `ctcrec train` would, and `ctcrec doctor` ranks all examples. Printed: how many of the swapped texts are among the
first 1, 2, 4 and 10 % of the list, and what `ctcrec doctor` called suspected.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.recipe import ctcrec
from ctcrec.records import Example

_PARTS = (0.01, 0.02, 0.04, 0.1)


def main() -> None:
    """Swap, train, diagnose, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs=2, type=Path, metavar="MANIFEST", help="training and validation")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed to ctcrec train")
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    swapped: set[str] = set()
    options: list[object] = []
    for name, path in zip(("train", "valid"), arguments.manifests, strict=True):
        examples, chosen = swap_texts(read_manifest(path, require_text=True), arguments.share, generator)
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_manifest(arguments.out / f"{name}.jsonl", examples)
        swapped |= chosen
        options += ["--set", f"data.{name}=[{arguments.out / name}.jsonl]"]
    run = arguments.out / "model"
    if not (run / "curves.png").is_file():
        for setting in arguments.set:
            options += ["--set", setting]
        ctcrec("train", arguments.config, "--out", run, *options)
    ctcrec("doctor", run, "--examples", 1_000_000)
    rows = [json.loads(line) for line in (run / "doctor/review.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = np.array([row["id"] in swapped for row in rows])
    suspect = np.array([row["suspect"] for row in rows])
    print(f"\n{len(rows)} examples, {wrong.sum()} with a swapped text")
    for part in _PARTS:
        first = int(part * len(rows))
        print(f"in the first {100 * part:.0f} % of the list ({first}): {wrong[:first].sum()}")
    print(f"suspected: {suspect.sum()}, of them swapped: {(suspect & wrong).sum()}")


def swap_texts(
    examples: Sequence[Example], share: float, generator: np.random.Generator
) -> tuple[list[Example], set[str]]:
    """The examples with the share of their texts passed on in a circle, and the ids of these."""
    order = [int(index) for index in generator.permutation(len(examples))]
    different = {examples[index].text: index for index in order}  # one of each text
    chosen = list(different.values())[: max(2, round(share * len(examples)))]
    texts = {here: examples[there].text for here, there in zip(chosen, [*chosen[1:], chosen[0]], strict=True)}
    changed = [replace(example, text=texts.get(index, example.text)) for index, example in enumerate(examples)]
    return changed, {examples[index].id for index in chosen}


if __name__ == "__main__":
    main()
