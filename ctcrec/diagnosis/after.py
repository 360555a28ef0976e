"""After training: the curves of a run read, its weights beside their beginnings, and its outputs on examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ctcrec.checkpoint import build_from_config, load_checkpoint
from ctcrec.data.dataset import collate, load_features
from ctcrec.diagnosis.media import chosen_evenly, media_findings
from ctcrec.diagnosis.outputs import compute_outputs, output_findings
from ctcrec.diagnosis.result import Diagnosis
from ctcrec.diagnosis.review import label_finding, rank_suspicions, write_review
from ctcrec.diagnosis.weights import movement_findings, unit_finding
from ctcrec.recognizer import Recognizer
from ctcrec.records import Batch, Example
from ctcrec.signals import Finding, epoch_findings, step_findings
from ctcrec.training.corpus import read_texts
from ctcrec.training.logging import read_rows

__all__ = ["REVIEW_FILE", "diagnose_run"]

REVIEW_FILE = "review.jsonl"
_UNIT_EXAMPLES, _UNIT_BATCHES = 4, 8


def diagnose_run(
    run: Path,
    out: Path,
    *,
    manifests: Sequence[Path] = (),
    examples: int = 2000,
    media: int = 100,
    say: Callable[[str], None] = lambda line: None,
) -> Diagnosis:
    """Look at a trained run.

    Args:
        run: its directory.
        out: folder for the review list.
        manifests: examples to run the model on; by default the run's validation data, and for the review list its
            training data as well.
        examples: of each part at most so many, spread over the whole.
        media: how many recordings or images of each part to look at.
        say: told what is being looked at.

    Raises:
        CheckpointError, ManifestError, MediaError: what is wrong with the user's files.
        DataError: `out` cannot be written.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():  # a model draws its first weights before those of the file replace them
        checkpoint = load_checkpoint(run, device)
    recognizer = Recognizer(checkpoint, device, precision="float32")  # greedy, or attention without a CTC head
    config, tokenizer, normalizer = checkpoint.config, checkpoint.tokenizer, checkpoint.normalizer
    train = read_texts(config.data.train, normalizer, "data.train")
    valid = read_texts([str(path) for path in manifests] or config.data.valid, normalizer, "data.valid")
    say("reading the curves")
    findings = _curves(run, config.training.gradient_clip, len(train))
    say("looking at weights")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # as training did before it made the model
        initial = build_from_config(config, len(tokenizer))
    findings += movement_findings(initial, recognizer.model)
    findings.append(unit_finding(recognizer.model, _batches(recognizer, valid)))
    say("looking at media")
    findings += media_findings(config, train, valid, media)
    say("recognizing validation examples")
    outputs = compute_outputs(recognizer, chosen_evenly(valid, examples))
    counts = Counter(token for item in train for token in tokenizer.encode(item.text or "", unknown="skip"))
    of_outputs = output_findings(outputs, tokenizer.tokens, counts)
    replaced = {finding.name for finding in of_outputs}
    findings = [finding for finding in findings if finding.name not in replaced] + of_outputs
    if not manifests and config.data.train != config.data.valid:
        say("recognizing training examples")
        outputs += compute_outputs(recognizer, chosen_evenly(train, examples))
    suspicions = rank_suspicions(outputs)
    # A model that has not learned to tell right texts from others can suspect none.
    if not {finding.name for finding in findings if finding.fault} & {"blank collapse", "texts unrelated to media"}:
        findings.append(label_finding(suspicions))
    write_review(out / REVIEW_FILE, suspicions)
    return Diagnosis(str(run), tuple(findings), (out / REVIEW_FILE,))


def _curves(run: Path, gradient_clip: float, examples: int) -> list[Finding]:
    rows = read_rows(run / "metrics.jsonl")
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    return [*step_findings(steps, gradient_clip=gradient_clip), *epoch_findings(epochs, examples=examples)]


def _batches(recognizer: Recognizer, examples: Sequence[Example]) -> list[Batch]:
    """A few batches of examples spread over the whole."""
    chosen = chosen_evenly(examples, _UNIT_EXAMPLES * _UNIT_BATCHES)
    preprocessor = recognizer.checkpoint.preprocessor
    batches = []
    for first in range(0, len(chosen), _UNIT_EXAMPLES):
        part = chosen[first : first + _UNIT_EXAMPLES]
        features = [load_features(preprocessor, example) for example in part]
        batches.append(collate(part, features, [()] * len(part)).to(recognizer.device))
    return batches
