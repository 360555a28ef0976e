"""Distillation as the loop sees it: how far a batch's output is from a trained run's (`ctcrec.losses.distillation`)."""

from __future__ import annotations

from pathlib import Path

import torch

from ctcrec.checkpoint import Checkpoint, load_checkpoint
from ctcrec.config import Config, Distillation
from ctcrec.errors import ConfigError
from ctcrec.losses import frame_distillation
from ctcrec.models.recognition_model import ModelOutput, RecognitionModel
from ctcrec.records import Batch
from ctcrec.text import Tokenizer
from ctcrec.training.hypotheses import HypothesisFinder, TextLists, text_log_probs

__all__ = ["Teacher"]

_BEAM_SIZE = 10
_LENGTHS = torch.arange(1, 257)  # feature frames; if their output frames are the same, all are


class Teacher:
    """A trained model that sees the same features as the one that is trained, augmentation included.

    Args:
        options: what the configuration says of it.
        config: of the model that is trained.
        model: that model.
        tokenizer: its tokens.
        device: where it is.

    Raises:
        ConfigError: the teacher's tokens, features or frames are others.
        CheckpointError: see `ctcrec.checkpoint.load_checkpoint`.
    """

    name = "distillation_loss"

    def __init__(
        self, options: Distillation, config: Config, model: RecognitionModel, tokenizer: Tokenizer, device: torch.device
    ) -> None:
        self.options, self.student, self.weight = options, model, options.weight
        self.ctc_weight = config.loss.ctc_weight
        checkpoint = load_checkpoint(Path(options.teacher), device)
        _check(options, checkpoint, config, model, tokenizer)
        self.model = checkpoint.model
        self.finder = HypothesisFinder(self.model, tokenizer, "ctc" if self.model.head is not None else "attention")

    def __call__(self, output: ModelOutput, batch: Batch) -> tuple[torch.Tensor, float]:
        """The distance, summed over the batch: as a loss, and as a number."""
        with torch.no_grad():
            theirs = self.model(batch.features, batch.feature_lengths)
        if self.options.kind == "nbest":
            lists = self.finder.best(theirs, self.options.nbest, max(_BEAM_SIZE, self.options.nbest))
            loss = self._nbest_loss(output, lists)
        else:
            loss = frame_distillation(
                output.logits,
                theirs.logits,
                output.lengths,
                kind=self.options.kind,
                temperature=self.options.temperature,
            ).sum()
        return loss, float(loss.detach())

    def _nbest_loss(self, output: ModelOutput, lists: TextLists) -> torch.Tensor:
        """−Σ_h Q_h ln p(h), Q the teacher's posterior over its list (Kim & Rush 2016), by the student's heads.

        Texts that the student has no frames for count nothing, as infeasible targets.
        """
        width = max(map(len, lists.scores))
        scores = torch.tensor([[*row, *[-torch.inf] * (width - len(row))] for row in lists.scores])
        posteriors = scores.nan_to_num(neginf=-1e30).softmax(1).to(output.logits.device)
        loss = output.lengths.new_zeros((), dtype=torch.float32)
        for head, share in (("ctc", self.ctc_weight), ("attention", 1.0 - self.ctc_weight)):
            if share > 0.0:
                log_probs = text_log_probs(self.student, output, "ctc" if head == "ctc" else "attention", lists.tokens)
                possible = torch.isfinite(log_probs)
                loss = loss - share * (posteriors * log_probs.masked_fill(~possible, 0.0)).sum()
        return loss


def _check(
    options: Distillation, teacher: Checkpoint, config: Config, model: RecognitionModel, tokenizer: Tokenizer
) -> None:
    """Raise ConfigError where the two cannot be compared."""
    name = f"loss.distillation.teacher {options.teacher}"
    if teacher.config.modality != config.modality or teacher.config.features != config.features:
        raise ConfigError(
            f"{name}: it was trained on other features; set the same modality and features as its config.yaml"
        )
    if tuple(teacher.tokenizer.tokens) != tuple(tokenizer.tokens):
        raise ConfigError(
            f"{name}: it has {len(teacher.tokenizer)} tokens that are not the {len(tokenizer)} of this run; train both"
            " on manifests with the same characters, or with the same tokenizer"
        )
    if options.kind == "nbest":
        return
    if teacher.model.head is None:
        raise ConfigError(f"{name}: {options.kind} needs its CTC head, and it was trained without; use kind: nbest")
    if not torch.equal(model.output_lengths(_LENGTHS), teacher.model.output_lengths(_LENGTHS)):
        raise ConfigError(
            f"{name}: {options.kind} compares frames, and it gives one for {teacher.model.subsampling_factor} feature"
            f" frames, this model one for {model.subsampling_factor}; use kind: nbest, or the same strides and pools"
        )
