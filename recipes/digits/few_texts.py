"""Learning with few texts: from nothing, from an encoder pretrained on recordings without texts, or from a teacher.

    python recipes/demo.py                  # the teacher: its model of digits
    python recipes/digits/few_texts.py

All learn from the same few strings with texts, as often, from new weights except where `ctcrec pretrain` made those of
the encoder, on 800 strings without their texts. The teacher says how likely each token is at each frame (kl), what its
logits are (mse), or which texts it finds (nbest). The table has means over seeds, with the smallest and largest.
"""

import argparse
import os
import statistics
from pathlib import Path

from ctcrec.corpora.manifests import sample
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.recipe import ctcrec, evaluate, prepare, train

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "configs/speech/digits.yaml"
SETTINGS = ["training.workers=0", "training.batch_frames=1500", "training.learning_rate=0.003"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="results of recipes/demo.py")
    parser.add_argument("--out", type=Path, default=Path("runs/few_texts"))
    parser.add_argument("--texts", type=int, default=100, help="strings with texts")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pretraining-epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    strings, few, first = arguments.out / "strings", arguments.out / "few.jsonl", arguments.out / "pretrained"
    prepare("fsdd", PROJECT / "samples/digits", strings, "--strings", 800, "--test-strings", 200)
    if not few.is_file():
        examples = read_manifest(strings / "train.jsonl")
        write_manifest(few, sample(examples, "few", arguments.texts).splits["few"])
    pretrain(arguments, strings, first)
    teacher = f"loss.distillation={{teacher: {arguments.demo / 'digits/model'}, weight: 0.5, kind: "
    ways: dict[str, tuple[list[str], Path | None]] = {
        "from nothing": ([], None),
        "pretrained": ([], first),
        "teacher, kl": ([teacher + "kl}"], None),
        "teacher, mse": ([teacher + "mse}"], None),
        "teacher, nbest": ([teacher + "nbest}"], None),
    }
    rows = []
    for name, (settings, start) in ways.items():
        rates = []
        for seed in range(1, arguments.seeds + 1):
            run = arguments.out / name.replace(", ", "-").replace(" ", "-") / str(seed)
            chosen = [*SETTINGS, f"training.epochs={arguments.epochs}", f"seed={seed}", *settings]
            seconds = train(CONFIG, run, [few], [strings / "valid.jsonl"], chosen, start)
            result = evaluate(name, run, strings / "test.jsonl", seconds, "--decode", "greedy")
            rates.append((result.wer, result.cer))
        columns = [f"{statistics.mean(c):.2f} ({min(c):.2f} to {max(c):.2f})" for c in zip(*rates, strict=True)]
        rows.append(f"| {name} | {columns[0]} | {columns[1]} |")
    print("\n| way | WER | CER |\n|---|---|---|")
    print("\n".join(rows))


def pretrain(arguments: argparse.Namespace, strings: Path, run: Path) -> None:
    """`ctcrec pretrain`, or its continuation, which has nothing to do where it is done."""
    if (run / "state.safetensors").is_file():
        ctcrec("pretrain", "--resume", run)
        return
    manifests = [f"data.train=[{strings / 'train.jsonl'}]", f"data.valid=[{strings / 'valid.jsonl'}]"]
    chosen = [*manifests, *SETTINGS, f"training.epochs={arguments.pretraining_epochs}"]
    ctcrec("pretrain", CONFIG, "--out", run, *(word for setting in chosen for word in ("--set", setting)))


if __name__ == "__main__":
    main()
