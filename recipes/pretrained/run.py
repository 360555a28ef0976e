"""One of the models that come with ctcrec, from its data to its folder: prepare, render, train, evaluate, export.

python recipes/pretrained/run.py handwriting-fr --data FOLDER --models ctcrec/pretrained
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from preparation import PREPARATIONS
from recombination import recombine
from typesetting import write_book_text, write_in_both_cases, write_transcripts

from ctcrec.recipe import ctcrec, evaluate, print_results, recipe_parser, train

CONFIGS = Path(__file__).parents[2] / "configs"
FONTS = Path("/usr/share/fonts")


@dataclass(frozen=True)
class Recipe:
    """What differs from model to model.

    Attributes:
        config: of the training.
        task, license: as `ctcrec models` shows them; the licence is what the data's licences ask for.
        default: whether it is taken where no model is named.
        fonts: groups of folders below /usr/share/fonts for rendered lines, each with its share of them; see README.md
            for the packages.
        license_text: file below --data with the whole licence, if it must go with the weights.
        language_model: of the "words" of the book text, of the "characters" of the training transcripts, or none; with
            one, beam search is the model's default decoding.
        both_cases: whether that of the characters learns the transcripts in capitals as well.
    """

    config: Path
    task: str
    license: str
    default: bool = False
    fonts: tuple[tuple[str, float, tuple[str, ...]], ...] = ()
    license_text: str | None = None
    language_model: Literal["words", "characters"] | None = None
    both_cases: bool = False


RECIPES = {
    "print-en": Recipe(
        CONFIGS / "ocr/print_en.yaml",
        "printed lines",
        "GPL-3.0",
        default=True,
        fonts=(("all", 1.0, ("truetype", "opentype")),),
        license_text="lines/oldbooks/LICENSE",
    ),
    "print-de-fraktur": Recipe(
        CONFIGS / "ocr/print_de_fraktur.yaml",
        "printed lines, mostly Fraktur",
        "CC BY 4.0",
        fonts=(
            ("fraktur", 0.8, ("truetype/blankenburg",)),
            ("roman", 0.2, ("truetype/cardo", "opentype/junicode", "opentype/elstob")),
        ),
        language_model="characters",
    ),
    "handwriting-fr": Recipe(
        CONFIGS / "ocr/handwriting_fr.yaml",
        "handwritten lines",
        "CC BY 4.0",
        language_model="characters",
        both_cases=True,
    ),
    "speech-en": Recipe(
        CONFIGS / "speech/speech_en.yaml", "read speech", "CC BY 4.0", default=True, language_model="words"
    ),
}


def main() -> None:
    parser = recipe_parser(__doc__ or "", "runs/pretrained")
    parser.add_argument("name", choices=RECIPES, help="the model")
    parser.add_argument("--prepare-only", action="store_true", help="stop when manifests and rendered lines are there")
    parser.add_argument("--rendered", type=int, default=20_000, help="rendered lines; 0 = none")
    parser.add_argument("--fonts", type=Path, default=FONTS, help="folder of fonts, laid out like /usr/share/fonts")
    parser.add_argument("--from", dest="start", type=Path, help="run whose weights to go on from")
    parser.add_argument(
        "--average", nargs="+", metavar="NAME|DIR", help="models whose weights' mean is the model, in place of training"
    )
    parser.add_argument("--recombine", metavar="NAME|DIR", help="model that cuts lines into words, for new lines")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the new lines, a set for each; default: 0")
    parser.add_argument("--processes", type=int, default=1, help="that train together: GPUs, or cores of a CPU")
    parser.add_argument("--models", type=Path, help="folder to export the model into, such as ctcrec/pretrained")
    arguments = parser.parse_args()
    if arguments.average and (arguments.set or arguments.start or arguments.recombine):
        parser.error("--average trains nothing; leave --set, --from and --recombine away")
    if arguments.seeds is not None and arguments.recombine is None:
        parser.error("--seeds are those of --recombine")
    started = time.monotonic()
    recipe = RECIPES[arguments.name]
    out = arguments.out / arguments.name
    manifests, run = out / "manifests", out / "model"
    if not (manifests / "train.jsonl").is_file():
        PREPARATIONS[arguments.name](arguments.data, manifests)
    training = [] if arguments.average else training_lines(arguments, recipe, out)
    if arguments.prepare_only:
        return
    if arguments.average:
        seconds = average(arguments.average, run)
    else:
        valid = [manifests / "valid.jsonl"]
        seconds = train(recipe.config, run, training, valid, arguments.set, arguments.start, arguments.processes)
    dev = sorted(manifests.glob("dev*.jsonl"))
    if recipe.language_model is not None:
        tune(recipe, arguments.data, out, run)
    results = [evaluate(f"{arguments.name}, {path.stem}", run, path, seconds) for path in dev]
    if arguments.models is not None:
        export(arguments, recipe, run, dev)
    print_results(results, started)


def training_lines(arguments: argparse.Namespace, recipe: Recipe, out: Path) -> list[Path]:
    """Manifests of the lines to train on: those of the data, rendered ones and recombined ones."""
    training = [out / "manifests/train.jsonl"]
    if recipe.fonts and arguments.rendered:
        training += render(arguments, recipe, out)
    if arguments.recombine is not None:
        training += [recombined(arguments.recombine, out, seed) for seed in arguments.seeds or [0]]
    return training


def average(models: list[str], run: Path) -> float:
    """The mean of models' weights, unless it is there already; returns seconds of training."""
    if not (run / "model.safetensors").is_file():
        ctcrec("average", *models, "--out", run)
    return 0.0


def render(arguments: argparse.Namespace, recipe: Recipe, out: Path) -> list[Path]:
    """Rendered lines in the fonts that there are, unless they are there already; returns their manifests."""
    manifests = []
    for seed, (group, share, folders) in enumerate(recipe.fonts, start=1):
        count = round(share * arguments.rendered)
        manifest = out / "rendered" / group / "lines.jsonl"
        manifests.append(manifest)
        if manifest.is_file():
            continue
        options = ["--lines", count, "--out", manifest.parent, "--seed", seed]
        if arguments.name == "print-en":
            text = write_book_text(arguments.data / "text/books.txt.xz", out / f"{group}.txt", paragraphs=count)
            options += ["--language", "en", "--characters", 30, 75]
        else:
            transcripts = out / "manifests/train.jsonl"
            lines = sum(1 for _ in transcripts.open(encoding="utf-8"))
            text = write_transcripts(transcripts, out / f"{group}.txt", times=-(-count // lines))
            options += ["--language", "de", "--characters", 1, 200, "--hyphen", ""]
        fonts = [word for folder in folders for word in ("--fonts", arguments.fonts / folder)]
        ctcrec("render", text, *fonts, *options)
    return manifests


def recombined(model: str, out: Path, seed: int) -> Path:
    """The manifest of lines put together anew, unless they are there already."""
    lines = out / f"recombined-{seed}/lines.jsonl"
    return lines if lines.is_file() else recombine(model, out / "manifests/train.jsonl", lines.parent, seed)


def tune(recipe: Recipe, data: Path, out: Path, run: Path) -> None:
    """A language model, and the beam search's weights for it: the run's default decoding."""
    if (run / "decoding.yaml").is_file():
        return
    manifests = out / "manifests"
    if recipe.language_model == "words":
        lm, texts, unit = out / "books.3gram", data / "text/books-full.txt.xz", "word"
        options: list[object] = ["--order", 3, "--prune", "0,3,5", "--text", "librispeech"]
    else:
        lm, unit = out / "characters.6gram", "token"
        write = write_in_both_cases if recipe.both_cases else write_transcripts
        texts = write(manifests / "train.jsonl", out / "transcripts.txt")
        options = ["--order", 6, "--characters", "--text", "nfc"]
    if not lm.is_file():
        ctcrec("lm", "train", texts, "--out", lm, *options)
    ctcrec("tune", run, manifests / "valid.jsonl", "--lm", lm, "--set", f"lm_unit={unit}")


def export(arguments: argparse.Namespace, recipe: Recipe, run: Path, dev: list[Path]) -> None:
    options: list[object] = ["--out", arguments.models, "--task", recipe.task, "--license", recipe.license]
    options += [word for path in dev for word in ("--score", f"{path.stem}={path}")]
    if recipe.default:
        options.append("--default")
    if recipe.license_text is not None:
        options += ["--license-text", arguments.data / recipe.license_text]
    ctcrec("export", run, arguments.name, *options)


if __name__ == "__main__":
    main()
