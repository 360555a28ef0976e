"""What a trained model puts out for examples with text: losses, transcripts, and what they show.

The cost of a token is the negative log-probability of the best path of the target (Viterbi) over the frames from the
token before it to its own last, so that the costs of a text add up to its best path's. Of a model without a CTC head,
losses and costs are those of the attention decoder: −ln p of each token, the last one's with the end's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ctcrec.ctc import ctc_loss, forced_align, merge_tokens
from ctcrec.data.dataset import load_features
from ctcrec.models.attention_decoder import END
from ctcrec.recognizer import Recognizer
from ctcrec.records import Encoded, Example, Hypothesis
from ctcrec.scoring import ErrorCounts, character_counts
from ctcrec.signals import Finding

__all__ = ["Output", "compute_outputs", "output_findings"]

_WINDOW = 64  # examples whose emissions are in memory at once
_SHOWN = 5
_RARE = 20  # occurrences in training below which a token counts as rare
_PARTS = 10  # of a text, for loss by position
_SLACK = 0.1  # nats per token
_LITTLE = 0.02  # nats per token: as good as learned


@dataclass(frozen=True, slots=True)
class Output:
    """One example and what a model makes of it.

    Attributes:
        example: with its normalized text.
        target: its token ids.
        loss: of its text, nats; inf where it does not fit its frames.
        other_loss: per token, of another example's text of about the same length; nan where there is none.
        hypothesis: the greedy transcript, normalized.
        emitted: tokens in it.
        frames, blanks: output frames, and those whose best token is the blank; 0 without a CTC head.
        inner_blanks: share of blanks from the first to the last emitted token; nan where there are none.
        confidence: mean probability of the emitted tokens; nan where there are none, or nothing tells where they are.
        costs: of each token, nats; empty where the text does not fit.
    """

    example: Example
    target: tuple[int, ...]
    loss: float
    other_loss: float
    hypothesis: str
    emitted: int
    frames: int
    blanks: int
    inner_blanks: float
    confidence: float
    costs: tuple[float, ...]

    @property
    def text(self) -> str:
        """The normalized reference."""
        return self.example.text or ""

    @property
    def token_loss(self) -> float:
        """Nats per token."""
        return self.loss / max(len(self.target), 1)


def compute_outputs(
    recognizer: Recognizer, examples: Sequence[Example], done: Callable[[int], None] | None = None
) -> list[Output]:
    """Run the model over examples with normalized text.

    Raises:
        MediaError: a medium cannot be read; names example and file.
    """
    outputs: list[Output] = []
    # Neighbours in length share a window, so that there is another text of about the same length in it.
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].text or ""))
    for first in range(0, len(order), _WINDOW):
        outputs += _window(recognizer, [examples[index] for index in order[first : first + _WINDOW]])
        if done is not None:
            done(len(outputs))
    places = {index: place for place, index in enumerate(order)}
    return [outputs[places[index]] for index in range(len(examples))]


class _Reading(NamedTuple):
    """What one head says of one example: losses of its own and of the other text, costs, and its blanks."""

    loss: float
    other_loss: float
    costs: tuple[float, ...]
    hypothesis: Hypothesis
    frames: int = 0
    blanks: int = 0
    inner_blanks: float = math.nan


def _window(recognizer: Recognizer, examples: Sequence[Example]) -> Iterator[Output]:
    checkpoint = recognizer.checkpoint
    features = [load_features(checkpoint.preprocessor, example) for example in examples]
    encoded = recognizer.encode(features)
    targets = [tuple(checkpoint.tokenizer.encode(example.text or "", unknown="skip")) for example in examples]
    others = [_other(targets, index) for index in range(len(targets))]
    read = _read_by_attention if recognizer.model.head is None else _read_by_ctc
    readings = read(recognizer, encoded, targets, [other or (1,) for other in others])
    for example, target, other, reading in zip(examples, targets, others, readings, strict=True):
        confidences = [span.confidence for span in reading.hypothesis.token_spans]
        yield Output(
            example,
            target,
            reading.loss,
            reading.other_loss / len(other) if other else math.nan,
            checkpoint.normalizer.normalize(reading.hypothesis.text),
            len(reading.hypothesis.tokens),
            reading.frames,
            reading.blanks,
            reading.inner_blanks,
            float(np.mean(confidences)) if confidences else math.nan,
            reading.costs,
        )


def _read_by_ctc(
    recognizer: Recognizer,
    encoded: Sequence[Encoded],
    targets: Sequence[tuple[int, ...]],
    others: Sequence[tuple[int, ...]],
) -> list[_Reading]:
    blank = recognizer.checkpoint.tokenizer.blank
    emissions = [item.emissions.cpu() for item in encoded]
    losses, other_losses = _losses(emissions, targets), _losses(emissions, others)
    hypotheses = recognizer.decode(emissions)
    readings = []
    for index, (emission, target) in enumerate(zip(emissions, targets, strict=True)):
        best = emission.argmax(1) == blank
        emitted = (~best).nonzero().flatten()
        inner = best[int(emitted[0]) : int(emitted[-1]) + 1].float().mean() if len(emitted) else math.nan
        costs = _costs(emission, target, blank) if target and math.isfinite(losses[index]) else ()
        readings.append(
            _Reading(
                losses[index],
                other_losses[index],
                costs,
                hypotheses[index],
                len(emission),
                int(best.sum()),
                float(inner),
            )
        )
    return readings


def _read_by_attention(
    recognizer: Recognizer,
    encoded: Sequence[Encoded],
    targets: Sequence[tuple[int, ...]],
    others: Sequence[tuple[int, ...]],
) -> list[_Reading]:
    assert recognizer.attention_decode is not None
    costs, other_costs = (_attention_costs(recognizer, encoded, texts) for texts in (targets, others))
    hypotheses = recognizer.attention_decode(encoded)
    return [
        # the cost of the end goes to the last token
        _Reading(sum(own), sum(other), (*own[:-2], own[-2] + own[-1]) if target else (), hypothesis)
        for own, other, target, hypothesis in zip(costs, other_costs, targets, hypotheses, strict=True)
    ]


@torch.no_grad()
def _attention_costs(
    recognizer: Recognizer, encoded: Sequence[Encoded], texts: Sequence[tuple[int, ...]]
) -> list[list[float]]:
    """−ln p of each token of each text, and of its end, after the tokens before it."""
    decoder = recognizer.model.decoder
    assert decoder is not None
    frames = torch.nn.utils.rnn.pad_sequence([item.frames for item in encoded], batch_first=True)
    lengths = torch.tensor([len(item.frames) for item in encoded], device=frames.device)
    rows = [torch.tensor([*text, END], device=frames.device) for text in texts]
    targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=END)
    log_probs = decoder(frames, lengths, targets[:, :-1]).logits.float().log_softmax(2)
    costs = -log_probs.gather(2, targets[:, :, None]).squeeze(2)
    return [row[: len(text) + 1].tolist() for row, text in zip(costs, texts, strict=True)]


def _losses(emissions: Sequence[torch.Tensor], targets: Sequence[Sequence[int]]) -> list[float]:
    log_probs = torch.nn.utils.rnn.pad_sequence(list(emissions))
    lengths = [len(target) for target in targets]
    flat = torch.tensor([token for target in targets for token in target], dtype=torch.int64)
    frames = [len(item) for item in emissions]
    return ctc_loss(log_probs, flat, torch.tensor(frames), torch.tensor(lengths), reduction="none").tolist()


def _other(targets: Sequence[tuple[int, ...]], index: int) -> tuple[int, ...] | None:
    """The next longer or else shorter text that differs; targets are sorted by length or nearly so."""
    for place in [*range(index + 1, len(targets)), *range(index - 1, -1, -1)]:
        if targets[place] and targets[place] != targets[index]:
            return targets[place]
    return None


def _costs(emission: torch.Tensor, target: tuple[int, ...], blank: int) -> tuple[float, ...]:
    paths, scores = forced_align(emission[None], torch.tensor([target]), blank=blank)
    ends = [token.end for token in merge_tokens(paths[0], scores[0], blank)]
    ends[-1] = len(emission)
    cumulated = np.concatenate([[0.0], np.cumsum(-scores[0].double().numpy())])
    return tuple(np.diff(cumulated[[0, *ends]]).tolist())


def output_findings(
    outputs: Sequence[Output], tokens: Sequence[str], training_counts: Mapping[int, int]
) -> list[Finding]:
    """What the outputs of validation examples show.

    Args:
        outputs: of the examples.
        tokens: the tokenizer's.
        training_counts: how often each token occurs in the training texts.
    """
    fitting = [output for output in outputs if output.costs]
    findings = [_blanks(outputs)] if any(output.frames for output in outputs) else []
    if not any(finding.fault for finding in findings):
        findings += [_distinct(outputs), *_peaky(outputs), *_confidence(outputs)]
    if fitting:
        findings += [_unrelated(fitting), _positions(fitting), *_tokens(fitting, tokens, training_counts)]
        findings.append(_hardest(fitting))
    return findings


def _blanks(outputs: Sequence[Output]) -> Finding:
    return Finding(
        "blank collapse",
        sum(output.blanks for output in outputs) / max(sum(output.frames for output in outputs), 1),
        0.99,
        "above",
        "share of the frames whose best token is the blank",
        "every CTC model passes through this, but healthy ones leave it after a few hundred steps; now nothing is"
        " recognized",
        "another training.learning_rate (`ctcrec doctor CONFIG` shows which), longer training, `--overfit 8`, a smaller"
        " subsampling factor; do texts belong to media?",
        (f"{sum(output.emitted for output in outputs)} tokens for {sum(len(o.target) for o in outputs)} of the texts",),
    )


def _distinct(outputs: Sequence[Output]) -> Finding:
    counts = Counter(output.hypothesis for output in outputs)
    return Finding(
        "same output",
        len(counts) / max(len({output.text for output in outputs}), 1),
        0.1,
        "below",
        "different transcripts for each different reference",
        "a model that hears or sees what is there puts out as many different texts as there are",
        "check that texts belong to media (shuffled manifests?) and that features are not constant; then a higher"
        " training.learning_rate or longer training",
        tuple(f"{count} times {text!r}" for text, count in counts.most_common(3) if count > 1),
    )


def _peaky(outputs: Sequence[Output]) -> list[Finding]:
    inner = [output.inner_blanks for output in outputs if not math.isnan(output.inner_blanks)]
    if not inner:
        return []
    return [
        Finding(
            "peaky output",
            float(np.mean(inner)),
            0.9,
            "above",
            "share of blanks between the first and the last token of an output",
            "tokens are then single frames far apart: right to read, but their times say little",
            "a larger subsampling factor, or loss.consistency_weight, which makes outputs less peaky",
        )
    ]


def _confidence(outputs: Sequence[Output]) -> list[Finding]:
    sure = [output.confidence for output in outputs if not math.isnan(output.confidence)]
    if not sure:
        return []
    counts = sum((character_counts(output.text, output.hypothesis) for output in outputs), ErrorCounts())
    accuracy = max(0.0, 1.0 - counts.rate)
    return [
        Finding(
            "overconfidence",
            float(np.mean(sure)) - accuracy,
            0.25,
            "above",
            f"mean probability of the tokens put out, less the share that is right ({accuracy:.2f})",
            "a quarter more confidence than success means that confidences cannot be used to find errors",
            "`ctcrec tune` fits a temperature; more data, augmentation or dropout",
        )
    ]


def _unrelated(outputs: Sequence[Output]) -> Finding:
    shares = [o.token_loss / o.other_loss for o in outputs if math.isfinite(o.other_loss) and o.other_loss > 0]
    return Finding(
        "texts unrelated to media",
        float(np.median(shares)) if shares else 0.0,
        0.8,
        "above",
        "loss of the right text over that of another one of about the same length, median",
        "a model that has learned anything finds the right text far more probable: healthy ones have 0.01 to 0.3",
        "look at a few examples: shuffled texts, another sample rate, inverted images? Else the model has not begun to"
        " learn: see the other faults",
    )


def _positions(outputs: Sequence[Output]) -> Finding:
    sums, counts = np.zeros(_PARTS), np.zeros(_PARTS)
    for output in outputs:
        parts = (np.arange(len(output.costs)) + 0.5) / len(output.costs) * _PARTS
        np.add.at(sums, parts.astype(int), output.costs)
        np.add.at(counts, parts.astype(int), 1)
    means = sums / np.maximum(counts, 1)
    usual = float(np.median(means))
    worst = int(means.argmax())
    return Finding(
        "loss by position",
        (float(means[worst]) + _SLACK) / (usual + _SLACK),
        4.0,
        "above",
        f"loss in the worst tenth of the texts (the {worst + 1}.) over the median tenth's",
        "beginnings and ends are harder by a factor of two; more means that media are cut, or that texts hold more",
        "listen to or look at the hardest examples: is the end cut, is a word of the next line there?",
        ("nats per token, first tenth to last: " + " ".join(f"{mean:.2f}" for mean in means),),
    )


def _tokens(outputs: Sequence[Output], tokens: Sequence[str], training_counts: Mapping[int, int]) -> list[Finding]:
    costs: dict[int, list[float]] = defaultdict(list)
    for output in outputs:
        for token, cost in zip(output.target, output.costs, strict=True):
            costs[token].append(cost)
    total = sum(sum(values) for values in costs.values())
    rare = sum(sum(values) for token, values in costs.items() if training_counts.get(token, 0) < _RARE)
    hardest = sorted(costs, key=lambda token: -sum(costs[token]))[: 2 * _SHOWN]
    details = tuple(
        f"{tokens[token]!r}: {100 * sum(costs[token]) / max(total, 1e-9):.0f} % of the loss,"
        f" {np.mean(costs[token]):.2f} each, {len(costs[token])} times, in training {training_counts.get(token, 0)}"
        for token in hardest
    )
    return [
        Finding(
            "loss by token",
            rare / total if total > 0 else 0.0,
            0.3,
            "above",
            f"share of the loss on tokens that occur fewer than {_RARE} times in the training texts",
            "a model cannot learn what it has hardly seen; where this is much of the loss, more training is in vain",
            "more text with these tokens, or a normalization step that folds them into frequent ones",
            details,
        )
    ]


def _hardest(outputs: Sequence[Output]) -> Finding:
    losses = np.array([output.loss for output in outputs])
    count = max(1, round(0.05 * len(outputs)))
    order = np.argsort(-losses, kind="stable")
    rest = _LITTLE * sum(len(output.target) for output in outputs)
    details = []
    for index in map(int, order[:_SHOWN]):
        output = outputs[index]
        details.append(f"{output.example.id}: {output.token_loss:.2f} nats per token")
        details.append(f"  {output.text}")
        details.append(f"  {output.hypothesis}")
    return Finding(
        "hardest examples",
        float(losses[order[:count]].sum() / (losses.sum() + rest)) if len(outputs) >= 20 else 0.0,
        0.6,
        "above",
        f"share of the loss, and {_LITTLE} nats per token more, on the hardest {count} of {len(outputs)} examples"
        " (reference above hypothesis below)",
        "in the recipes the hardest twentieth makes up a third; where it is most of the loss, these examples are unlike"
        " the others, or wrong; where hardly any loss is left, it lies on a few anyway, so that a little is added",
        "look at them; correct or remove those that are wrong",
        tuple(details),
    )
