"""Store what a trained model says of some examples, for benchmarks/beam_search.py.

    python benchmarks/store_emissions.py RUN MANIFEST OUT.npz [--count 200]

Writes OUT.npz (float16 log-probabilities by id, compressed), OUT.tokens.txt (one a line, the blank first) and OUT.tsv
(id, tab, normalized reference). Log-probabilities below -30 are stored as -30.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ctcrec import Recognizer
from ctcrec.data.manifest import read_manifest
from ctcrec.tuning import compute_emissions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    recognizer = Recognizer.load(arguments.run)
    examples = list(read_manifest(arguments.manifest))[: arguments.count]
    emissions = compute_emissions(recognizer, examples)
    small = {name: np.maximum(one.numpy(), -30.0).astype(np.float16) for name, one in emissions.items()}
    np.savez_compressed(arguments.out, **small)
    tokens = recognizer.checkpoint.tokenizer.tokens
    arguments.out.with_suffix(".tokens.txt").write_text("\n".join(tokens), encoding="utf-8")
    normalize = recognizer.checkpoint.normalizer.normalize
    lines = [f"{example.id}\t{normalize(example.text)}\n" for example in examples]
    arguments.out.with_suffix(".tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
