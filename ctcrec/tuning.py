"""Tune a run's beam search on validation examples: emissions once, weights by WER, confidences calibrated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from ctcrec.config import DecodingConfig
from ctcrec.decoding import BeamDecoder
from ctcrec.decoding.calibration import Calibration, fit_temperature
from ctcrec.decoding.emissions import Emissions, read_emissions
from ctcrec.decoding.prior import token_prior, write_prior
from ctcrec.decoding.tuning import Tuning, save_surface, tune
from ctcrec.errors import ConfigError, DataError
from ctcrec.recognizer import Recognizer
from ctcrec.records import Example
from ctcrec.scoring import ErrorCounts, word_counts
from ctcrec.strategies import DECODING_FILE, FILES, decoder_options
from ctcrec.writers import write_atomically

__all__ = ["TunedRun", "compute_emissions", "tune_run"]

_FOUND = ("lm_weight", "word_score", "prior_weight", "beam_size", "temperature")
_PRIOR_FILE = "tuning/prior.json"


@dataclass(frozen=True, slots=True)
class TunedRun:
    """What tuning found, the greedy WER beside it (fraction), and the files it wrote."""

    tuning: Tuning
    calibration: Calibration
    greedy_wer: float
    decoding_file: Path
    surface_file: Path


def tune_run(
    recognizer: Recognizer,
    run: Path,
    examples: Sequence[Example],
    config: DecodingConfig,
    done: Callable[[int], None] | None = None,
) -> TunedRun:
    """Find lm_weight, word_score, prior_weight, beam_size and the temperature of the confidences, and write them to the
    run's `decoding.yaml`. The prior is that of the examples' emissions, unless `config` names one.

    Args:
        recognizer: the run's model.
        run: its directory; `tuning/` in it keeps emissions, the prior and the picture.
        examples: validation examples with text.
        config: a beam search with an `lm`; what it sets besides stays as it is. File names are relative to the working
            directory.
        done: called with the number of examples whose emissions are ready.

    Raises:
        ConfigError: `config` has no lm, or sets what is to be found.
    """
    fixed = [key for key in _FOUND if getattr(config, key) is not None]
    if fixed:
        raise ConfigError(f"tuning: {', '.join(fixed)}: to be found by tuning; leave out")
    if config.strategy != "beam" or config.lm is None:
        raise ConfigError("tuning: only a beam search with an lm has weights to tune")
    checkpoint = recognizer.checkpoint
    tokenizer, normalizer = checkpoint.tokenizer, checkpoint.normalizer
    options = decoder_options(config, Path())
    emissions = stored_emissions(recognizer, run / "tuning", examples, done)
    references = [normalizer.normalize(example.text or "") for example in examples]
    options |= {"blank": tokenizer.blank, "word_delimiter": tokenizer.word_delimiter}
    options.setdefault("prior", token_prior(emissions, tokenizer.tokens))
    tuning = tune(emissions, references, tokenizer.tokens, **options)
    found: dict[str, Any] = tuning.options()
    given = config.options()
    files = {key: str(Path(given[key]).resolve()) for key in FILES if key in given}
    if "prior_weight" not in found:
        del options["prior"]
        files.pop("prior", None)
    elif "prior" not in files:
        write_prior(run / _PRIOR_FILE, options["prior"])
        files["prior"] = _PRIOR_FILE
    calibration = fit_temperature(BeamDecoder(tokenizer.tokens, **options, **found), emissions, references)
    chosen = {"strategy": "beam", **given, **files, **found, "temperature": calibration.temperature}
    surface_file = run / "tuning" / "wer.png"
    save_surface(tuning, surface_file)
    write_atomically(run / DECODING_FILE, yaml.safe_dump(chosen, sort_keys=False))
    greedy = recognizer.decode([torch.from_numpy(item) for item in emissions])
    counts = sum((word_counts(r, h.text) for r, h in zip(references, greedy, strict=True)), ErrorCounts())
    return TunedRun(tuning, calibration, counts.rate, run / DECODING_FILE, surface_file)


def stored_emissions(
    recognizer: Recognizer, folder: Path, examples: Sequence[Example], done: Callable[[int], None] | None = None
) -> list[Emissions]:
    """Emissions of the examples, from `folder` if this model's are there, else computed and kept there."""
    digest = hashlib.sha256("\0".join(example.id for example in examples).encode())
    for tensor in recognizer.model.state_dict().values():
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    path = folder / f"emissions-{digest.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        computed = compute_emissions(recognizer, examples, done)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            save_file(computed, temporary)
            temporary.replace(path)
        except OSError as error:
            raise DataError(f"{folder}: emissions cannot be written: {error.strerror or error}") from None
    stored = read_emissions(path)
    return [stored[example.id] for example in examples]


def compute_emissions(
    recognizer: Recognizer, examples: Sequence[Example], done: Callable[[int], None] | None = None, window: int = 64
) -> dict[str, torch.Tensor]:
    """(T, C) float32 log-probabilities of each example by id. Raises MediaError for media that cannot be read."""
    preprocessor = recognizer.checkpoint.preprocessor
    computed: dict[str, torch.Tensor] = {}
    for first in range(0, len(examples), window):
        chosen = examples[first : first + window]
        sources = (preprocessor.load(example.source, example.start, example.end) for example in chosen)
        emissions = recognizer.emissions([preprocessor.features(source) for source in sources])
        computed |= {example.id: item.cpu().contiguous() for example, item in zip(chosen, emissions, strict=True)}
        if done is not None:
            done(len(computed))
    return computed
