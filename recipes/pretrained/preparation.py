"""Data of the pretrained models: manifests of the corpora with their rights, dev sets of books, pages, hands and
speakers that are not in training. A group is held out by a hash of its name alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ctcrec.corpora import librispeech, ljspeech, pairs
from ctcrec.corpora.manifests import sample
from ctcrec.corpora.prepared import LeftOut, Prepared, write_prepared
from ctcrec.corpora.splits import by_fraction, hash_fraction
from ctcrec.records import Example

VALIDATION_EXAMPLES = 400  # looked at after every epoch; the dev sets are evaluated whole at the end


@dataclass(frozen=True)
class Rights:
    """What every row says of where it comes from."""

    language: str
    license: str
    attribution: str


OLDBOOKS = Rights("en", "GPL-3.0", "old-books-dataset, Pedro Barcha; texts of Project Gutenberg")
ARCHISCRIBE = Rights("de", "CC BY 4.0", "archiscribe-corpus, Johannes Baiter and contributors; Internet Archive")
PERAIRE = Rights(
    "fr",
    "CC BY 4.0",
    "Peraire Ground Truth 2.0.0, A. Chagué and G. Pérez; documents: Bibliothèque Sébert, Espéranto-France, Paris",
)
MSS19 = Rights("fr", "CC BY 4.0", "CREMMA-MSS-19, T. Clérice, A. Chagué, B. Davoury, S. Doat, M. Faure, M. Humeau")
LIBRISPEECH = Rights("en", "CC BY 4.0", "LibriSpeech, V. Panayotov, G. Chen, D. Povey, S. Khudanpur")
LJSPEECH = Rights("en", "public domain", "The LJ Speech Dataset, Keith Ito; read by Linda Johnson")
KATHLEEN = Rights("en", "CC0-1.0", "Rhasspy project, Voice Dataset (Kathleen)")


def print_en(data: Path, out: Path) -> None:
    """oldbooks; two books are the dev set."""
    _hold_out_books(_pairs(data / "lines/oldbooks"), "oldbooks", OLDBOOKS, 2, out)


def print_de_fraktur(data: Path, out: Path) -> None:
    """archiscribe; seven books are the dev set."""
    _hold_out_books(_pairs(data / "lines/archiscribe"), "archiscribe", ARCHISCRIBE, 7, out)


def handwriting_fr(data: Path, out: Path) -> None:
    """peraire and mss19; a fifth of peraire's pages and one hand of mss19 are the dev sets."""
    peraire, mss19 = _pairs(data / "lines/peraire"), _pairs(data / "lines/mss19")
    pages = [
        replace(example, writer="peraire", extra={**example.extra, "page": example.id.rpartition("_")[0]})
        for example in _all(peraire)
    ]
    groups = {example.extra["page"] for example in pages}
    train, dev = _held_out(_labelled(pages, "peraire", PERAIRE), lambda e: str(e.extra["page"]), len(groups) // 5)
    more, hand = _held_out(_labelled(_all(mss19), "mss19", MSS19), _book, 1)
    splits = {"train": [*train, *more], "dev-peraire": dev, "dev-mss19": hand}
    _write_splits(out, splits, [*peraire.left_out, *mss19.left_out])


def speech_en(data: Path, out: Path) -> None:
    """LibriSpeech train-clean-5, LJSpeech and kathleen; the four speakers of dev-mini are the dev set."""
    libri = librispeech.prepare(data / "speech/LibriSpeech", ["train-clean-5", "dev-mini"])
    lj = ljspeech.prepare(data / "speech/LJSpeech-mini")
    kathleen = pairs.prepare(data / "speech/kathleen", by_fraction({"all": 1.0}), "utterances")
    train = [
        *_labelled(libri.splits["train-clean-5"], "librispeech", LIBRISPEECH),
        *_labelled((replace(e, speaker="linda-johnson") for e in _all(lj)), "ljspeech", LJSPEECH),
        *_labelled((replace(e, speaker="kathleen") for e in _all(kathleen)), "kathleen", KATHLEEN),
    ]
    dev = _labelled(libri.splits["dev-mini"], "librispeech", LIBRISPEECH)
    left_out = [*libri.left_out, *lj.left_out, *kathleen.left_out]
    _write_splits(out, {"train": train, "dev": dev}, left_out)


PREPARATIONS: dict[str, Callable[[Path, Path], None]] = {
    "print-en": print_en,
    "print-de-fraktur": print_de_fraktur,
    "handwriting-fr": handwriting_fr,
    "speech-en": speech_en,
}


def _pairs(folder: Path) -> Prepared:
    return pairs.prepare(folder, by_fraction({"all": 1.0}), "lines")


def _all(prepared: Prepared) -> Iterable[Example]:
    return prepared.splits["all"]


def _book(example: Example) -> str:
    return example.writer or ""


def _labelled(examples: Iterable[Example], corpus: str, rights: Rights) -> list[Example]:
    """Ids below the corpus' name, and rows that say whose they are."""
    said = {"license": rights.license, "attribution": rights.attribution}
    return [
        replace(example, id=f"{corpus}/{example.id}", language=rights.language, extra={**example.extra, **said})
        for example in examples
    ]


def _held_out(
    examples: Sequence[Example], group: Callable[[Example], str], count: int
) -> tuple[list[Example], list[Example]]:
    """Training examples, and those of the `count` groups whose names have the smallest hashes."""
    chosen = set(sorted({group(example) for example in examples}, key=hash_fraction)[:count])
    train = [example for example in examples if group(example) not in chosen]
    return train, [example for example in examples if group(example) in chosen]


def _hold_out_books(prepared: Prepared, corpus: str, rights: Rights, count: int, out: Path) -> None:
    train, dev = _held_out(_labelled(_all(prepared), corpus, rights), _book, count)
    _write_splits(out, {"train": train, "dev": dev}, prepared.left_out)


def _write_splits(out: Path, splits: dict[str, list[Example]], left_out: Sequence[LeftOut]) -> None:
    """The manifests, and `valid.jsonl`: as many examples of the dev sets as are looked at after every epoch."""
    dev = [example for name, examples in splits.items() if name != "train" for example in examples]
    valid = sample(dev, "valid", min(len(dev), VALIDATION_EXAMPLES)).splits["valid"]
    write_prepared(Prepared({**splits, "valid": valid}, left_out), out)
