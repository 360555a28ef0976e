"""Recognition end to end, files to text on two cores: ours beside Tesseract on lines and PocketSphinx on recordings.

    python benchmarks/recognition.py --lines MANIFEST --line-model NAME|RUN [--tesseract-language eng]
    python benchmarks/recognition.py --speech MANIFEST --speech-model NAME|RUN

Each program runs as its users run it, in processes of its own, with all files cached: one file (start-up: from the
start of the process to the text), then all of them. Peers, which use one core well, get two processes with half of the
files each. Speed is given with start-up and without. Memory is the largest resident set of a process; errors are scored
under the text convention of our model.

Tesseract is looked for on the path, PocketSphinx (`pip install pocketsphinx`) among the modules; what is missing is
left out and said.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ctcrec.checkpoint import load_checkpoint
from ctcrec.corpora.manifests import sample
from ctcrec.data.manifest import read_manifest
from ctcrec.pretrained import find_model
from ctcrec.records import Example
from ctcrec.scoring import score

BARS = "bars: lines at 10 × Tesseract's speed; speech at 50 × real time greedy, 30 × with LM; start-up within 4 s"


@dataclass(frozen=True)
class Ended:
    """What running some processes at the same time took, and what they printed."""

    seconds: float
    mebibytes: float
    outputs: list[str]


def run(commands: Sequence[Sequence[str]], threads: int | None = None) -> Ended:
    """Run commands at the same time and wait for all."""
    environment = os.environ | ({"OMP_THREAD_LIMIT": str(threads), "OMP_NUM_THREADS": str(threads)} if threads else {})
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(commands))]
        started = time.perf_counter()
        processes = []
        for command, path in zip(commands, files, strict=True):
            with path.open("w") as out:
                processes.append(subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment))
        peaks = []
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peaks.append(usage.ru_maxrss / 1024)
            if process.returncode:
                sys.exit(f"{process.args} ended with {process.returncode}")
        seconds = time.perf_counter() - started
        return Ended(seconds, max(peaks), [path.read_text(encoding="utf-8") for path in files])


@dataclass(frozen=True)
class System:
    """One program.

    Attributes:
        name: what the table calls it.
        commands: files → the processes that read them.
        texts: what these printed → the texts in the order of the files.
        threads: limit of each process, where it must be given.
    """

    name: str
    commands: Callable[[Sequence[Path]], list[list[str]]]
    texts: Callable[[list[str]], list[str]]
    threads: int | None = None


def ours(model: str, *options: str) -> System:
    def commands(files: Sequence[Path]) -> list[list[str]]:
        command = [sys.executable, "-m", "ctcrec", "transcribe", *map(str, files)]
        return [[*command, "--run", str(find_model(model)), *options]]

    def texts(outputs: list[str]) -> list[str]:
        rows = outputs[0].split("\n")[:-1]
        return [row.partition("\t")[2] if "\t" in row else row for row in rows]

    return System(" ".join(["ctcrec", *options]), commands, texts)


def tesseract(language: str, folder: Path) -> System:
    def commands(files: Sequence[Path]) -> list[list[str]]:
        made = []
        for number, part in enumerate(halves(files)):
            listed = folder / f"{number}.txt"
            listed.write_text("".join(f"{path.resolve()}\n" for path in part))
            options = ["-l", language, "--psm", "13", "-c", "page_separator=\x1e"]
            made.append(["tesseract", str(listed), "stdout", *options])
        return made

    def texts(outputs: list[str]) -> list[str]:
        return [" ".join(page.split()) for output in outputs for page in output.split("\x1e")]

    return System(f"Tesseract {language}", commands, texts, threads=1)


def pocketsphinx() -> System:
    def commands(files: Sequence[Path]) -> list[list[str]]:
        return [[sys.executable, __file__, "--pocketsphinx", *map(str, part)] for part in halves(files)]

    def texts(outputs: list[str]) -> list[str]:
        return [text for output in outputs for text in output.split("\n")[:-1]]

    return System("PocketSphinx", commands, texts, threads=1)


def pocketsphinx_worker(files: Sequence[str]) -> None:
    """Print the text of each recording; PocketSphinx takes 16-bit samples at 16 kHz."""
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")
    for file in files:
        samples, rate = soundfile.read(file, dtype="int16")
        if rate != 16000:
            sys.exit(f"{file}: {rate} samples a second; PocketSphinx's model takes 16000")
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        print(found.hypstr if found is not None else "", flush=True)


def halves(files: Sequence[Path]) -> list[Sequence[Path]]:
    middle = -(-len(files) // 2)
    return [part for part in (files[:middle], files[middle:]) if part]


def measure(systems: Sequence[System], examples: Sequence[Example], model: str, amount: float, unit: str) -> None:
    """Print a row for each system: `amount` of `unit` is what the files hold in all."""
    normalizer = load_checkpoint(find_model(model)).normalizer
    files = [example.source for example in examples]
    references = {example.id: example.text or "" for example in examples}
    titles = f"{'start-up':>9} {'all files':>10} {unit:>12} {'w/o start':>10} {'memory':>9} {'WER':>8} {'CER':>8}"
    print(f"{'program':<28} {titles}")
    speeds = []
    for system in systems:
        run(system.commands(files[:1]), system.threads)  # files and modules into the cache
        single = run(system.commands(files[:1]), system.threads)
        whole = run(system.commands(files), system.threads)
        texts = system.texts(whole.outputs)
        if len(texts) != len(examples):
            sys.exit(f"{system.name}: {len(texts)} texts for {len(examples)} files")
        report = score(references, dict(zip(references, texts, strict=True)), {}, normalizer)
        speed, net = amount / whole.seconds, amount / max(whole.seconds - single.seconds, 1e-9)
        speeds.append((speed, net))
        print(
            f"{system.name:<28} {single.seconds:>7.2f} s {whole.seconds:>8.1f} s {speed:>12.1f} {net:>10.1f}"
            f" {whole.mebibytes:>5.0f} MiB {100 * report.wer:>6.2f} % {100 * report.cer:>6.2f} %",
            flush=True,
        )
    for system, (speed, net) in zip(systems[:-1], speeds[:-1], strict=True):
        ratio, without = speed / speeds[-1][0], net / speeds[-1][1]
        print(f"{system.name}: {ratio:.1f} × {systems[-1].name}, {without:.1f} × without start-up")


def chosen(manifest: Path, count: int) -> list[Example]:
    examples = read_manifest(manifest, require_text=True)
    return list(sample(examples, "chosen", min(count, len(examples))).splits["chosen"])


def compare_lines(arguments: argparse.Namespace) -> None:
    examples = chosen(arguments.lines, arguments.count)
    print(f"\n{len(examples)} lines of {arguments.lines.name}; {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        systems = [ours(arguments.line_model)]
        if shutil.which("tesseract"):
            systems.append(tesseract(arguments.tesseract_language, Path(folder)))
        else:
            print("no tesseract on the path: left out")
        measure(systems, examples, arguments.line_model, len(examples), "lines/s")


def compare_speech(arguments: argparse.Namespace) -> None:
    examples = chosen(arguments.speech, arguments.count)
    seconds = sum(example.duration or 0.0 for example in examples)
    print(f"\n{len(examples)} recordings of {arguments.speech.name}, {seconds:.0f} s; {os.cpu_count()} cores")
    systems = [ours(arguments.speech_model, "--decode", "greedy")]
    if (find_model(arguments.speech_model) / "decoding.yaml").is_file():
        systems.append(ours(arguments.speech_model))
    if importlib.util.find_spec("pocketsphinx") is not None:
        systems.append(pocketsphinx())
    else:
        print("no module pocketsphinx: left out")
    measure(systems, examples, arguments.speech_model, seconds, "× real time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=Path, help="manifest of lines with text")
    parser.add_argument("--line-model", default="print-en")
    parser.add_argument("--tesseract-language", default="eng")
    parser.add_argument("--speech", type=Path, help="manifest of recordings with text")
    parser.add_argument("--speech-model", default="speech-en")
    parser.add_argument("--count", type=int, default=300, help="examples, drawn by a hash of their ids")
    parser.add_argument("--pocketsphinx", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pocketsphinx:
        pocketsphinx_worker(arguments.pocketsphinx)
        return
    if arguments.lines is None and arguments.speech is None:
        parser.error("give --lines, --speech or both")
    if arguments.lines is not None:
        compare_lines(arguments)
    if arguments.speech is not None:
        compare_speech(arguments)
    print(BARS)


if __name__ == "__main__":
    main()
