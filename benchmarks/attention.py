"""The attention decoder's speed: search in batches against one by one, joint search against real time, training steps.

    python benchmarks/attention.py search RUN MANIFEST.jsonl [--examples 32] [--threads 2]
    python benchmarks/attention.py steps CONFIG TRAIN.jsonl [--steps 20] [--threads 2]
    python benchmarks/attention.py decoder CONFIG [--examples 32] [--threads 2]

`search` takes a trained run with both heads: attention search (beam 10) of N examples at once and one after the other,
by turns, and the joint search (beam 10) of the same, with features and encoder. `steps` takes a joint configuration and
times training steps (forward, backward, optimizer; loading apart) of the model as it is and of the same without its
decoder, by turns on the same batches. `decoder` needs no data: the configuration's decoder with random weights and
simulated output of the CTC head, by default 10 s of speech at 25 frames a second and 60 characters an utterance,
searched in a batch, one by one, and jointly. `--cpu` takes the processor's time in place of the clock's, for a busy
machine; use one thread with it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from ctcrec.config import DecodingConfig, load_config
from ctcrec.data.dataset import BatchDataset
from ctcrec.data.manifest import read_manifest
from ctcrec.decoding.attention import SearchOptions, beam_search
from ctcrec.decoding.joint import joint_search
from ctcrec.models.attention_decoder import END, AttentionDecoder
from ctcrec.models.decoder_steps import DecoderSteps
from ctcrec.recognizer import Recognizer
from ctcrec.records import Encoded
from ctcrec.training.logging import TrainingDisplay
from ctcrec.training.objective import loss_sum
from ctcrec.training.setup import Setup, plan_epoch, prepare

clock = time.perf_counter


def seconds_of(work: Callable[[], object]) -> float:
    started = clock()
    work()
    return clock() - started


def decoder(options: argparse.Namespace) -> None:
    """Searches by a decoder with random weights."""
    config = load_config(options.run)
    tokens, frames, written = 30, options.frames, options.written
    seconds = frames / 25
    torch.manual_seed(0)
    assert config.model.decoder is not None
    size = 2 * config.model.encoder.width
    model = AttentionDecoder(tokens, size, **config.model.decoder.model_dump()).eval()
    model.output_bias.data[END] = -20.0  # it goes on to the longest text
    encoded = torch.randn(options.examples, frames, size)
    lengths = torch.full((options.examples,), frames)
    emissions = simulated(options.examples, frames, written, tokens)

    def attention(chosen: slice) -> None:
        steps = DecoderSteps(model, encoded[chosen], lengths[chosen])
        beam_search(steps, [written] * len(encoded[chosen]), SearchOptions(beam_size=10))

    def joint() -> None:
        joint_search(
            DecoderSteps(model, encoded, lengths),
            emissions,
            lengths.tolist(),
            SearchOptions(beam_size=10),
            ctc_weight=0.5,
        )

    with torch.no_grad():
        attention(slice(0, 1))
        together = seconds_of(lambda: attention(slice(None)))
        one_by_one = seconds_of(lambda: [attention(slice(n, n + 1)) for n in range(options.examples)])
        joint()
        taken = seconds_of(joint)
    print(f"{options.examples} utterances of {seconds:.0f} s, {frames} frames, {written} tokens, beam 10")
    print(
        f"attention, at once {together:.2f} s, one by one {one_by_one:.2f} s: {one_by_one / together:.1f} times as fast"
    )
    print(f"joint {taken:.2f} s: {options.examples * seconds / taken:.1f} × real time")


def simulated(examples: int, frames: int, written: int, tokens: int) -> list[torch.Tensor]:
    """Emissions of a head that is fairly sure: blank, and `written` frames with a token each."""
    logits = torch.randn(examples, frames, tokens)
    logits[:, :, 0] += 6.0
    for row in logits:
        places = torch.randperm(frames)[:written]
        row[places, 0] -= 6.0
        row[places, torch.randint(1, tokens, (written,))] += 6.0
    return list(logits.log_softmax(2))


def search(options: argparse.Namespace) -> None:
    """Attention search in a batch and one by one; joint search against real time."""
    examples = read_manifest(options.manifest)[: options.examples]
    joint = Recognizer.load(options.run, "cpu", DecodingConfig(strategy="joint", beam_size=10))
    preprocessor, decoder = joint.checkpoint.preprocessor, joint.model.decoder
    assert decoder is not None and joint.attention_decode is not None
    sources = [preprocessor.load(example.source, example.start, example.end) for example in examples]
    encoded = joint.encode([preprocessor.features(source) for source in sources])

    def attention(batch: list[Encoded]) -> list[int]:
        lengths = torch.tensor([len(item.frames) for item in batch])
        frames = torch.nn.utils.rnn.pad_sequence([item.frames for item in batch], batch_first=True)
        found = beam_search(DecoderSteps(decoder, frames, lengths), lengths.tolist(), SearchOptions(beam_size=10))
        return [len(texts[0].tokens) for texts in found]

    attention(encoded[:2])
    one_by_one = together = float("inf")
    for _ in range(options.repeats):
        together = min(together, seconds_of(lambda: attention(encoded)))
        one_by_one = min(one_by_one, seconds_of(lambda: [attention([item]) for item in encoded]))
    written = attention(encoded)
    print(f"{len(examples)} examples, {sum(written)} tokens written, {decoder.width} units, beam 10")
    print(f"attention, at once {1e3 * together:.0f} ms, one by one {1e3 * one_by_one:.0f} ms: ", end="")
    print(f"{one_by_one / together:.1f} times as fast")

    def recognize() -> None:
        assert joint.attention_decode is not None
        joint.attention_decode(joint.encode([preprocessor.features(source) for source in sources]))

    recognize()
    taken = min(seconds_of(recognize) for _ in range(options.repeats))
    searching = min(seconds_of(lambda: joint.attention_decode(encoded)) for _ in range(options.repeats))
    extent = sum(preprocessor.extent(source) for source in sources)
    print(f"joint, features and encoder and search: {taken:.2f} s, search alone {searching:.2f} s, ", end="")
    print(f"{extent:.1f} s of speech: {extent / taken:.1f} × real time" if preprocessor.unit == "seconds" else "lines")
    print(f"{len(examples) / taken:.1f} examples a second")


def steps(options: argparse.Namespace) -> None:
    """A training step with the decoder and without."""
    manifests = [f"data.train=[{options.manifest}]", f"data.valid=[{options.manifest}]"]
    alone = ["loss.ctc_weight=1", "loss.label_smoothing=0", "model.decoder=null"]
    quiet = TrainingDisplay(Console(quiet=True))
    setups: dict[str, Setup] = {}
    for name, changes in (("CTC alone", alone), ("with attention", [])):
        config = load_config(options.run, [*manifests, f"training.threads={options.threads}", *changes])
        setups[name] = prepare(config, Path("unused"), False, None, quiet)
        setups[name].model.train()
    optimizers = {name: torch.optim.AdamW(setup.model.parameters(), 1e-4) for name, setup in setups.items()}
    setup = setups["CTC alone"]
    batches = plan_epoch(setup, 0).batches[: options.steps + 2]
    augmentation = (setup.config.seed, 0)
    dataset = BatchDataset(setup.corpus.examples, setup.corpus.targets, setup.augmented, batches, augmentation)
    spent = dict.fromkeys(setups, 0.0)
    for index in range(len(batches)):
        batch = dataset[index]
        for name, chosen in setups.items():
            started = clock()
            output = chosen.model(batch.features, batch.feature_lengths, batch.targets)
            loss = chosen.config.loss
            sums = loss_sum(output, batch, ctc_weight=loss.ctc_weight, label_smoothing=loss.label_smoothing)
            optimizers[name].zero_grad(set_to_none=True)
            torch.autograd.backward(sums.total / batch.target_lengths.sum())
            optimizers[name].step()
            if index >= 2:  # the first two compile and warm up
                spent[name] += clock() - started
    for name, seconds in spent.items():
        print(f"{name:<16} {1e3 * seconds / options.steps:>8.1f} ms a step")
    print(f"with attention takes {spent['with attention'] / spent['CTC alone']:.2f} times as long")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "steps", "decoder"])
    parser.add_argument("run", type=Path, help="a run, or a configuration for steps and decoder")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=250, help="of the encoder, for decoder")
    parser.add_argument("--written", type=int, default=60, help="tokens of each text, for decoder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what != "decoder" and options.manifest is None:
        parser.error(f"{options.what} needs a manifest")
    if options.cpu:
        global clock
        clock = time.process_time
    print(f"torch {torch.__version__}, {options.threads} threads, {options.run.name}")
    {"search": search, "steps": steps, "decoder": decoder}[options.what](options)


if __name__ == "__main__":
    main()
