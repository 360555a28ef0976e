"""Beam search side by side: ctcrec, flashlight-text (torchaudio's ctc_decoder), fast-ctc-decode, pyctcdecode.

    python benchmarks/beam_search.py                               # synthetic emissions, no language model
    python benchmarks/beam_search.py --text BOOKS.txt.xz           # + 3-gram word LM of the text, simulated utterances
    python benchmarks/beam_search.py --emissions DEV.npz --tokens TOKENS.txt --references DEV.tsv --lm LM.arpa

Times are CPU seconds of the calling thread, the best of --repeats, decoders taking turns utterance by utterance, so
that a busy machine disturbs all of them alike; only one thread against two is wall-clock time. "times" is how many
times ctcrec's. "score" is the mean of -ctc_loss (float64) of the best hypotheses; "worse" counts utterances whose
ctcrec score is below the peer's. The peers' search is approximate in the same way, so equal beams are compared.

Peers are left out if they cannot be imported. `pip install flashlight-text fast-ctc-decode kenlm` goes next to ctcrec;
pyctcdecode needs numpy < 2, so install `pyctcdecode kenlm "numpy<2"` in an environment of its own and give its python
with --pyctcdecode.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ctcrec.decoding import BeamDecoder
from ctcrec.decoding.emissions import read_emissions
from ctcrec.lm import NGramLM
from ctcrec.lm.arpa import write_arpa
from ctcrec.lm.estimation import estimate
from ctcrec.text import Normalizer

LETTERS = ["-", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
LM_WEIGHT, WORD_SCORE = 0.6, 0.5
Decode = Callable[[np.ndarray], tuple[str, list[int] | None]]

PYCTCDECODE = """
import json, sys, time, numpy as np
from pyctcdecode import build_ctcdecoder
job = json.load(open(sys.argv[1]))
decoder = build_ctcdecoder(job["labels"], job["lm"], alpha=job["alpha"], beta=job["beta"])
stored = np.load(job["emissions"])
result = {}
for name in stored.files:
    times = []
    for _ in range(job["repeats"]):
        begin = time.thread_time()
        text = decoder.decode(stored[name].astype(np.float64), beam_width=job["beam"])
        times.append(time.thread_time() - begin)
    result[name] = [text, min(times)]
json.dump(result, open(sys.argv[2], "w"))
"""


def synthetic(frames: int, classes: int, seed: int, scale: float, blank: float) -> np.ndarray:
    """Random emissions: logits of standard deviation `scale`, and `blank` more for the blank."""
    logits = np.random.default_rng(seed).normal(size=(frames, classes)) * scale
    logits[:, 0] += blank
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), dim=1).numpy()


def simulated(text: str, seed: int, noise: float) -> np.ndarray:
    """Emissions that say `text`, two to four frames a letter, blank in between, with noise among the letters."""
    chance = np.random.default_rng(seed)
    path: list[int] = []
    for letter in text.replace(" ", "|"):
        path += [LETTERS.index(letter)] + [0] * int(chance.integers(1, 4))
    logits = chance.normal(size=(len(path), len(LETTERS))) * noise
    logits[:, 0] += 2.0
    logits[np.arange(len(path)), path] += 6.5
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), dim=1).numpy()


def exact_score(emissions: np.ndarray, tokens: list[int]) -> float:
    """-ctc_loss in float64."""
    return -torch.nn.functional.ctc_loss(
        torch.tensor(emissions, dtype=torch.float64)[:, None],
        torch.tensor([tokens], dtype=torch.long),
        torch.tensor([len(emissions)]),
        torch.tensor([len(tokens)]),
        reduction="sum",
    ).item()


def ctcrec(tokens: list[str], beam: int, lm: NGramLM | None) -> Decode:
    options = {"lm": lm, "lm_weight": LM_WEIGHT, "word_score": WORD_SCORE} if lm is not None else {}
    decoder = BeamDecoder(tokens, beam_size=beam, beam_threshold=50.0, word_delimiter="|", **options)

    def decode(emissions: np.ndarray) -> tuple[str, list[int] | None]:
        [[best]] = decoder([emissions], threads=1)
        return best.text, list(best.tokens)

    return decode


def flashlight(tokens: list[str], beam: int, lm: Path | None, words: list[str]) -> Decode:
    from torchaudio.models.decoder import ctc_decoder

    options = {
        "tokens": tokens, "beam_size": beam, "beam_size_token": len(tokens), "beam_threshold": 50.0,
        "blank_token": tokens[0], "sil_token": "|", "log_add": True,
    }  # fmt: skip
    if lm is None:
        decoder = ctc_decoder(lexicon=None, **options)
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".lexicon", delete=False) as file:
            file.writelines(f"{word} {' '.join(word)} |\n" for word in words)
        decoder = ctc_decoder(lexicon=file.name, lm=str(lm), lm_weight=LM_WEIGHT, word_score=WORD_SCORE, **options)

    def decode(emissions: np.ndarray) -> tuple[str, list[int] | None]:
        best = decoder(torch.from_numpy(emissions)[None])[0][0]
        if lm is not None:
            return " ".join(best.words), None
        found = best.tokens.tolist()[1:-1]  # it puts a silence at both ends
        return "".join(tokens[token] for token in found).replace("|", " "), found

    return decode


def fast_ctc_decode(tokens: list[str], beam: int) -> Decode:
    from fast_ctc_decode import beam_search

    alphabet = (
        "".join(tokens) if all(len(t) == 1 for t in tokens) else "".join(map(chr, range(0x4E00, 0x4E00 + len(tokens))))
    )
    place = {letter: index for index, letter in enumerate(alphabet)}
    cut = 0.0 if len(tokens) < 100 else 1e-3  # with 0 it takes tens of gigabytes for a large alphabet

    def decode(emissions: np.ndarray) -> tuple[str, list[int] | None]:
        text, _ = beam_search(np.exp(emissions), alphabet, beam_size=beam, beam_cut_threshold=cut)
        return text, [place[letter] for letter in text]

    return decode


def compare(
    name: str, decoders: dict[str, Decode], batch: list[np.ndarray], texts: list[str] | None, repeats: int
) -> None:
    """Run all decoders on all utterances by turns and print one line a decoder."""
    seconds = {decoder: np.full((repeats, len(batch)), np.inf) for decoder in decoders}
    results: dict[str, list[tuple[str, list[int] | None]]] = {decoder: [] for decoder in decoders}
    for decode in decoders.values():
        decode(batch[0][:20])  # compiles
    for repeat in range(repeats):
        for number, emissions in enumerate(batch):
            for decoder, decode in decoders.items():
                begin = time.thread_time()
                result = decode(emissions)
                seconds[decoder][repeat, number] = time.thread_time() - begin
                if repeat == 0:
                    results[decoder].append(result)
    best = {decoder: float(times.min(axis=0).mean()) for decoder, times in seconds.items()}
    scores = {
        decoder: [
            exact_score(e, tokens) if tokens is not None else np.nan
            for e, (_, tokens) in zip(batch, found, strict=True)
        ]
        for decoder, found in results.items()
    }
    for decoder in decoders:
        pairs = list(zip(scores["ctcrec"], scores[decoder], strict=True))
        worse = None if np.isnan(pairs).any() else sum(ours < theirs - 1e-4 for ours, theirs in pairs)
        report(name, decoder, best[decoder], best["ctcrec"], float(np.mean(scores[decoder])), worse,
               [text for text, _ in results[decoder]], texts)  # fmt: skip


def report(
    name: str,
    decoder: str,
    seconds: float,
    ours: float,
    score: float,
    worse: int | None,
    found: list[str],
    texts: list[str] | None,
) -> None:
    from rapidfuzz.distance import Levenshtein

    rate = ""
    if texts is not None:
        errors = sum(Levenshtein.distance(a.split(), b.split()) for a, b in zip(found, texts, strict=True))
        rate = f"{100 * errors / sum(len(text.split()) for text in texts):6.2f}"
    count = "-" if worse is None else str(worse)
    numbers = f"{1e3 * seconds:9.2f} {seconds / ours:7.1f} {score:10.2f} {count:>5} {rate:>6}"
    print(f"{name:28} {decoder:16} {numbers}", flush=True)


def pyctcdecode(
    python: str, name: str, batch: list[np.ndarray], texts: list[str], beam: int, lm: Path | None, ours: float
) -> None:
    """The same utterances in pyctcdecode's own environment."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/e.npz", **{f"{n:04d}": emissions for n, emissions in enumerate(batch)})
        labels = ["", " ", *LETTERS[2:]]
        job = {"labels": labels, "lm": lm and str(lm), "alpha": LM_WEIGHT, "beta": WORD_SCORE, "beam": beam,
               "emissions": f"{folder}/e.npz", "repeats": 1}  # fmt: skip
        Path(f"{folder}/job.json").write_text(json.dumps(job))
        subprocess.run(
            [python, "-c", PYCTCDECODE, f"{folder}/job.json", f"{folder}/out.json"], check=True, capture_output=True
        )
        result = json.loads(Path(f"{folder}/out.json").read_text())
    seconds = float(np.mean([one[1] for one in result.values()]))
    report(name, "pyctcdecode", seconds, ours, np.nan, None, [one[0] for one in result.values()], texts)


def available(
    tokens: list[str], beam: int, lm: NGramLM | None, arpa: Path | None, words: list[str], slow: bool
) -> dict[str, Decode]:
    decoders = {"ctcrec": ctcrec(tokens, beam, lm)}
    try:
        decoders["flashlight-text"] = flashlight(tokens, beam, arpa, words)
        if lm is None and slow:
            decoders["fast-ctc-decode"] = fast_ctc_decode(tokens, beam)
    except (ImportError, RuntimeError) as error:
        print(f"left out: {error}", file=sys.stderr)
    return decoders


def ours_alone(decode: Decode, batch: list[np.ndarray]) -> float:
    times = []
    for emissions in batch:
        begin = time.thread_time()
        decode(emissions)
        times.append(time.thread_time() - begin)
    return float(np.mean(times))


def threads(batch: list[np.ndarray], beam: int, repeats: int) -> None:
    """Wall-clock time of one and two threads over a batch, by turns."""
    decoder = BeamDecoder(LETTERS, beam_size=beam, beam_threshold=50.0, word_delimiter="|")
    best = {1: np.inf, 2: np.inf}
    for _ in range(repeats):
        for count in best:
            begin = time.perf_counter()
            decoder(batch, threads=count)
            best[count] = min(best[count], time.perf_counter() - begin)
    print(f"two threads over {len(batch)} utterances: {best[1] / best[2]:.2f} times one thread")


def read_text(path: Path) -> list[str]:
    normalize = Normalizer.named("librispeech").normalize
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else open(path, encoding="utf-8") as file:
        return [sentence for line in file if (sentence := normalize(line))]


def with_language_model(arguments: argparse.Namespace) -> None:
    """A 3-gram of 99 % of the text; simulated utterances of sentences from the rest."""
    sentences = read_text(arguments.text)
    held_out = [s for s in sentences[::100] if 8 <= len(s.split()) <= 20][: arguments.utterances]
    lm = estimate((s for n, s in enumerate(sentences) if n % 100), 3, prune=[0, 0, 1])
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "lm.arpa"
        write_arpa(lm, arpa)
        batch = [simulated(text, n, arguments.noise) for n, text in enumerate(held_out)]
        words = [word for word in lm.words[3:] if set(word) <= set(LETTERS)]
        for beam in arguments.beams:
            name = f"3-gram LM, beam {beam}"
            decoders = available(LETTERS, beam, lm, arpa, words, slow=False)
            compare(name, decoders, batch, held_out, arguments.repeats)
            if arguments.pyctcdecode:
                few = batch[:5]
                pyctcdecode(
                    arguments.pyctcdecode, name, few, held_out[:5], beam, arpa, ours_alone(decoders["ctcrec"], few)
                )


def stored(arguments: argparse.Namespace) -> None:
    """Emissions of a real model."""
    emissions = read_emissions(arguments.emissions)
    tokens = [line or " " for line in arguments.tokens.read_text(encoding="utf-8").splitlines()]
    tokens = ["|" if token == " " else token for token in tokens]
    texts = dict(line.split("\t", 1) for line in arguments.references.read_text(encoding="utf-8").splitlines())
    names = [name for name in emissions if name in texts][: arguments.utterances]
    batch, references = [emissions[name] for name in names], [texts[name] for name in names]
    lm = NGramLM.load(arguments.lm) if arguments.lm else None
    words = [word for word in lm.words[3:] if set(word) <= set(tokens)] if lm else []
    for beam in arguments.beams:
        compare(f"{arguments.emissions.stem}, beam {beam}", available(tokens, beam, lm, arguments.lm, words, slow=True),
                batch, references, arguments.repeats)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text", type=Path, help="text for the language model, one sentence a line; .xz is unpacked")
    parser.add_argument("--noise", type=float, default=2.0, help="of the simulated utterances")
    parser.add_argument("--pyctcdecode", help="python of an environment that has pyctcdecode")
    parser.add_argument("--emissions", type=Path)
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--references", type=Path, help="ID<tab>text lines")
    parser.add_argument("--lm", type=Path, help="ARPA file for --emissions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'case':28} {'decoder':16} {'ms':>9} {'times':>7} {'score':>10} {'worse':>5} {'WER':>6}")
    if arguments.emissions:
        stored(arguments)
    elif arguments.text:
        with_language_model(arguments)
    else:
        for frames, classes in ((500, 29), (250, 500), (150, 5000)):
            tokens = LETTERS if classes == 29 else ["-", "|", *(f"t{n}" for n in range(classes - 2))]
            batch = [
                synthetic(frames, classes, n, *((3.0, 3.0), (4.0, 10.0))[n % 2]) for n in range(arguments.utterances)
            ]
            for beam in arguments.beams:
                slow = classes * beam <= 50_000
                decoders = available(tokens, beam, None, None, [], slow)
                compare(f"T={frames} C={classes} beam {beam}", decoders, batch, None, arguments.repeats)
        threads([synthetic(500, 29, n, 3.0, 3.0) for n in range(32)], 100, 5 * arguments.repeats)


if __name__ == "__main__":
    main()
