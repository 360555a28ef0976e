"""Beam search side by side: ctcrec, flashlight-text (torchaudio's ctc_decoder), fast-ctc-decode, pyctcdecode.

    python benchmarks/beam_search.py                               # synthetic emissions, no language model
    python benchmarks/beam_search.py --text BOOKS.txt.xz           # + 3-gram word LM of the text, simulated utterances
    python benchmarks/beam_search.py --emissions DEV.npz [--lm LM.arpa] [--beams 10 50 100 500] [--plot WER.svg]

DEV.npz comes from benchmarks/store_emissions.py, with DEV.tokens.txt and DEV.tsv beside it; some are in
benchmarks/emissions.

Times are CPU seconds of the calling thread, the best of --repeats, decoders taking turns utterance by utterance, so
that a busy machine disturbs all of them alike; only one thread against two is wall-clock time. "times" is how many
times ctcrec's. "score" is the mean of -ctc_loss (float64) of the best hypotheses; "worse" counts utterances whose
ctcrec score is below the peer's. The peers' search is approximate in the same way, so equal beams are compared.
With a language model flashlight-text can write the model's words only; "ctcrec, lexicon" is held to the same list.
"MB" is what a process of its own needs beyond its imports: decoder, language model (KenLM reads the ARPA file, ctcrec
its memory-mapped binary form of it) and search.

Peers are left out if they cannot be imported. `pip install flashlight-text fast-ctc-decode kenlm` goes next to ctcrec;
pyctcdecode needs numpy < 2, so install `pyctcdecode kenlm "numpy<2"` in an environment of its own and give its python
with --pyctcdecode.
"""

from __future__ import annotations

import argparse
import json
import lzma
import multiprocessing
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
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
PYCTCDECODE_THRESHOLD = 10.0  # its default, beam_prune_logp = -10
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


def ctcrec(
    tokens: list[str], beam: int, lm: NGramLM | None, words: list[str] | None = None, threshold: float = 50.0
) -> Decode:
    options = {"lm": lm, "lm_weight": LM_WEIGHT, "word_score": WORD_SCORE} if lm is not None else {}
    if words is not None:
        options["lexicon"] = words
    decoder = BeamDecoder(tokens, beam_size=beam, beam_threshold=threshold, word_delimiter="|", **options)

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
        found = [place[letter] for letter in text]
        return "".join(tokens[token] for token in found).replace("|", " "), found

    return decode


def compare(case: Case, repeats: int) -> dict[str, tuple[float, float]]:
    """Run all decoders on all utterances by turns and print one line a decoder. Returns (seconds, WER) of each."""
    decoders: dict[str, Decode] = {}
    for decoder, make in case.decoders().items():
        try:
            decoders[decoder] = make()
        except (ImportError, RuntimeError) as error:
            print(f"left out: {decoder}: {error}", file=sys.stderr)
    batch = case.batch
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
    measured = {}
    for decoder in decoders:
        pairs = list(zip(scores["ctcrec"], scores[decoder], strict=True))
        worse = None if np.isnan(pairs).any() else sum(ours < theirs - 1e-4 for ours, theirs in pairs)
        texts = [text for text, _ in results[decoder]]
        rate = error_rate(texts, case.texts)
        report(f"{case.name}, beam {case.beam}", decoder, best[decoder], best["ctcrec"],
               float(np.mean(scores[decoder])), worse, rate, peak_memory(case, decoder))  # fmt: skip
        measured[decoder] = (best[decoder], rate)
    return measured


def error_rate(found: list[str], texts: list[str] | None) -> float:
    """WER, percent; NaN without references."""
    from rapidfuzz.distance import Levenshtein

    if texts is None:
        return np.nan
    errors = sum(Levenshtein.distance(a.split(), b.split()) for a, b in zip(found, texts, strict=True))
    return 100 * errors / sum(len(text.split()) for text in texts)


def report(
    name: str, decoder: str, seconds: float, ours: float, score: float, worse: int | None, rate: float, memory: float
) -> None:
    count = "-" if worse is None else str(worse)
    numbers = f"{1e3 * seconds:.2f} | {seconds / ours:.1f} | {score:.2f} | {count} | {rate:.2f} | {memory:.0f}"
    print(f"| {name} | {decoder} | {numbers} |".replace("nan", "-"), flush=True)


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
    rate = error_rate([one[0] for one in result.values()], texts)
    report(name, "pyctcdecode", seconds, ours, np.nan, None, rate, np.nan)


@dataclass(frozen=True)
class Case:
    """What the decoders get: `arpa` for the peers, `lm` (a file of ctcrec's) for ctcrec, or neither."""

    name: str
    tokens: list[str]
    beam: int
    batch: list[np.ndarray]
    texts: list[str] | None = None
    arpa: Path | None = None
    lm: Path | None = None
    words: tuple[str, ...] = ()
    peers: bool = True  # whether they can do it in bearable time and less than 8 GB

    def decoders(self) -> dict[str, Callable[[], Decode]]:
        """How each decoder is made."""
        lm = None if self.lm is None else NGramLM.load(self.lm)
        made: dict[str, Callable[[], Decode]] = {"ctcrec": lambda: ctcrec(self.tokens, self.beam, lm)}
        if self.words:
            made["ctcrec, lexicon"] = lambda: ctcrec(self.tokens, self.beam, lm, list(self.words))
        if not self.peers:
            return made
        made["flashlight-text"] = lambda: flashlight(self.tokens, self.beam, self.arpa, list(self.words))
        if self.lm is None:
            made["fast-ctc-decode"] = lambda: fast_ctc_decode(self.tokens, self.beam)
        return made


def peak_memory(case: Case, decoder: str) -> float:
    """MB that a process of its own needs for the decoder beyond its imports; NaN where the peer is missing."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "case.pickle"
        job.write_bytes(pickle.dumps(case))
        child = subprocess.run(
            [sys.executable, __file__, "--memory-of", str(job), decoder], capture_output=True, text=True, check=False
        )
    return float(child.stdout) if child.returncode == 0 else np.nan


def measure_memory(job: Path, decoder: str) -> float:
    import torchaudio.models.decoder  # noqa: F401  so that everybody has it

    case = pickle.loads(job.read_bytes())
    ctcrec(case.tokens, case.beam, None)(case.batch[0][:20])  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    decode = case.decoders()[decoder]()
    for emissions in case.batch:
        decode(emissions)
    return (_resident("VmHWM") - before) / 1024


def _resident(key: str) -> int:
    """Kilobytes of `key` (VmRSS or VmHWM) of this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(key))


def ours_alone(decode: Decode, batch: list[np.ndarray]) -> float:
    times = []
    for emissions in batch:
        begin = time.thread_time()
        decode(emissions)
        times.append(time.thread_time() - begin)
    return float(np.mean(times))


def threads(batch: list[np.ndarray], beam: int, repeats: int) -> None:
    """Wall-clock time of one and two threads over a batch, by turns, and of two processes with half of it each.

    Two processes share nothing, so their ratio is what the machine's two cores give at most.
    """
    decoder = BeamDecoder(LETTERS, beam_size=beam, beam_threshold=50.0, word_delimiter="|")
    decoder(batch[:2], threads=1)
    context = multiprocessing.get_context("fork")
    pipes = []
    for part in (batch[::2], batch[1::2]):
        here, there = context.Pipe()
        context.Process(target=_search_when_asked, args=(there, decoder, part), daemon=True).start()
        pipes.append(here)
    best = {"one": np.inf, "two": np.inf, "processes": np.inf}
    for _ in range(repeats):
        for way in best:
            begin = time.perf_counter()
            if way == "processes":
                for pipe in pipes:
                    pipe.send(None)
                for pipe in pipes:
                    pipe.recv()
            else:
                decoder(batch, threads=1 if way == "one" else 2)
            best[way] = min(best[way], time.perf_counter() - begin)
    print(
        f"two threads over {len(batch)} utterances: {best['one'] / best['two']:.2f} times one thread; "
        f"two processes: {best['one'] / best['processes']:.2f} times"
    )


def _search_when_asked(pipe: Connection, decoder: BeamDecoder, batch: list[np.ndarray]) -> None:
    while True:
        pipe.recv()
        decoder(batch, threads=1)
        pipe.send(None)


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
        run_beams("3-gram LM", LETTERS, batch, held_out, arpa, arguments)


def run_beams(
    name: str,
    tokens: list[str],
    batch: list[np.ndarray],
    texts: list[str],
    arpa: Path | None,
    arguments: argparse.Namespace,
) -> None:
    """Every decoder at every beam size, and the plot of WER against time."""
    curves: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        words: tuple[str, ...] = ()
        binary = None
        if arpa is not None:
            binary = Path(folder) / "lm.bin"
            lm = NGramLM.load(arpa)
            lm.save(binary)
            words = tuple(word for word in lm.words[3:] if set(word) <= set(tokens))
        for beam in arguments.beams:
            case = Case(name, tokens, beam, batch, texts, arpa, binary, words)
            for decoder, point in compare(case, arguments.repeats).items():
                curves.setdefault(decoder, []).append(point)
            if arguments.pyctcdecode and arpa is not None:
                same, lm = f"{name}, beam {beam}, 5 utterances", NGramLM.load(binary) if binary else None
                ours = ours_alone(ctcrec(tokens, beam, lm), batch[:5])
                pyctcdecode(arguments.pyctcdecode, same, batch[:5], texts[:5], beam, arpa, ours)
                pruned = ctcrec(tokens, beam, lm, threshold=PYCTCDECODE_THRESHOLD)
                rate = error_rate([pruned(one)[0] for one in batch[:5]], texts[:5])
                report(same, "ctcrec, pruned alike", ours_alone(pruned, batch[:5]), ours, np.nan, None, rate, np.nan)
    if arguments.plot:
        plot(curves, name, arguments.plot)


def plot(curves: dict[str, list[tuple[float, float]]], name: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for decoder, points in curves.items():
        axes.plot([1e3 * seconds for seconds, _ in points], [rate for _, rate in points], "o-", label=decoder)
    axes.set_xscale("log")
    axes.set_xlabel("ms per utterance, one thread")
    axes.set_ylabel("WER, %")
    axes.set_title(name)
    axes.legend()
    figure.savefig(path)


def stored(arguments: argparse.Namespace) -> None:
    """Emissions of a real model."""
    path = arguments.emissions
    emissions = read_emissions(path)
    tokens = path.with_suffix(".tokens.txt").read_text(encoding="utf-8").split("\n")
    tokens = ["|" if token == " " else token for token in tokens]
    lines = path.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    texts = dict(line.split("\t", 1) for line in lines)
    names = [name for name in emissions if name in texts][: arguments.utterances]
    batch, references = [emissions[name] for name in names], [texts[name] for name in names]
    run_beams(path.stem, tokens, batch, references, arguments.lm, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text", type=Path, help="text for the language model, one sentence a line; .xz is unpacked")
    parser.add_argument("--noise", type=float, default=2.0, help="of the simulated utterances")
    parser.add_argument("--pyctcdecode", help="python of an environment that has pyctcdecode")
    parser.add_argument("--emissions", type=Path)
    parser.add_argument("--lm", type=Path, help="ARPA file for --emissions")
    parser.add_argument("--plot", type=Path, help="picture of WER against time")
    parser.add_argument("--memory-of", nargs=2, metavar=("CASE", "DECODER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_of:
        print(measure_memory(Path(arguments.memory_of[0]), arguments.memory_of[1]))
        return
    print("| case | decoder | ms | times | score | worse | WER | MB |\n|---|---|---|---|---|---|---|---|")
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
                bearable = classes * beam <= 50_000
                compare(Case(f"T={frames} C={classes}", tokens, beam, batch, peers=bearable), arguments.repeats)
        threads([synthetic(500, 29, n, 3.0, 3.0) for n in range(32)], 100, 50 * arguments.repeats)


if __name__ == "__main__":
    main()
