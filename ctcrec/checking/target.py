"""What data is checked against: the text convention, the tokenizer and the subsampling of a run, or of one to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctcrec.checkpoint import build_from_config, load_checkpoint
from ctcrec.config import load_config
from ctcrec.data.manifest import iterate_manifest
from ctcrec.data.preprocessing import Preprocessor
from ctcrec.modalities import ModalityName, build_preprocessor
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.text import Normalizer, Tokenizer, train_tokenizer

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What training or recognition will do with the data."""

    modality: ModalityName
    normalizer: Normalizer
    tokenizer: Tokenizer
    preprocessor: Preprocessor
    model: RecognitionModel

    @classmethod
    def of_run(cls, run: Path) -> Target:
        """A trained run. Raises CheckpointError."""
        trained = load_checkpoint(run)
        return cls(trained.config.modality, trained.normalizer, trained.tokenizer, trained.preprocessor, trained.model)

    @classmethod
    def of_config(cls, path: Path, train: Path, overrides: Sequence[str] = ()) -> Target:
        """A configuration that is to be trained on the manifest `train`, whose texts make the tokenizer.

        Raises:
            ConfigError, ManifestError: a file is wrong.
            TextError: there is no text, or vocab_size does not suit it.
        """
        config = load_config(path, overrides)
        normalizer = Normalizer.of(config.text.normalization)
        rows = iterate_manifest(train, malformed=lambda error: None)  # `check` reports them
        texts = (normalizer.normalize(example.text or "") for example in rows)
        tokenizer = train_tokenizer(config.text.tokenizer, texts, config.text.vocab_size)
        model = build_from_config(config, len(tokenizer))
        return cls(config.modality, normalizer, tokenizer, build_preprocessor(config.features), model)
