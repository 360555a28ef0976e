"""From a decoding configuration to a function that turns emissions into hypotheses; what attention has a say in is in
`ctcrec.attention_strategies`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ctcrec.config import DecodingConfig, load_decoding
from ctcrec.decoding.greedy import greedy_decode
from ctcrec.errors import ConfigError, DataError
from ctcrec.records import Hypothesis
from ctcrec.text import Tokenizer

if TYPE_CHECKING:
    from ctcrec.decoding import BeamDecoder
    from ctcrec.lm import NGramLM

__all__ = [
    "DECODING_FILE",
    "FILES",
    "Decode",
    "build_beam_decoder",
    "build_decode",
    "changed_decoding",
    "decoder_options",
    "text_options",
]

DECODING_FILE = "decoding.yaml"
_HOTWORD_WEIGHT = 10.0
FILES = ("prior", "lm", "lexicon", "hotwords")
_BEAM = ("beam_size", "beam_size_token", "beam_threshold", "blank_skip_threshold", "prior_weight", "temperature")
_TEXT = (
    "lm",
    "lexicon",
    "hotwords",
    "lm_unit",
    "lm_weight",
    "word_score",
    "unknown_score",
    "unknown_letter_score",
    "hotword_weight",
    "characters",
    "pattern",
)

Decode = Callable[[Sequence[torch.Tensor]], list[Hypothesis]]
"""(T, C) log-probabilities of each example → its best hypothesis, with spans in frames."""


def changed_decoding(run: Path, changes: Mapping[str, Any]) -> DecodingConfig:
    """The decoding of a run with some keys changed; all file names are then relative to the working directory.

    Raises:
        ConfigError: see `ctcrec.config.load_decoding`.
    """
    config = load_decoding(run / DECODING_FILE, changes)
    own = {key: str(run / value) for key in FILES if (value := getattr(config, key)) and key not in changes}
    return config.model_copy(update=own)


def build_decode(config: DecodingConfig, tokenizer: Tokenizer, folder: Path) -> Decode:
    """The decoding that `config` describes; relative file names start at `folder`.

    Raises:
        ConfigError, DataError, InputError: options or files that cannot be used.
    """
    if config.strategy == "greedy":
        return lambda emissions: _greedy(emissions, tokenizer)
    if config.strategy != "beam":
        raise ConfigError(
            f"decoding: {config.strategy} needs an attention decoder beside emissions; use greedy or beam"
        )
    decoder = build_beam_decoder(config, tokenizer, folder)
    return lambda emissions: [nbest[0] for nbest in decoder(emissions)]


def build_beam_decoder(config: DecodingConfig, tokenizer: Tokenizer, folder: Path) -> BeamDecoder:
    """The prefix beam search that `config` describes.

    Raises:
        ConfigError, DataError, InputError: see `build_decode`.
    """
    from ctcrec.decoding import BeamDecoder  # Numba takes a while to import

    options = decoder_options(config, folder)
    return BeamDecoder(tokenizer.tokens, blank=tokenizer.blank, word_delimiter=tokenizer.word_delimiter, **options)


def decoder_options(config: DecodingConfig, folder: Path) -> dict[str, Any]:
    """What `config` says, as options of `BeamDecoder`: models and words loaded from their files."""
    own = {key: value for key in _BEAM if (value := getattr(config, key)) is not None}
    if config.prior is not None:
        own["prior"] = _read_prior(folder / config.prior)
    return {**own, **text_options(config, folder)}


def text_options(config: DecodingConfig, folder: Path) -> dict[str, Any]:
    """What `config` says of the text: models and words, loaded from their files."""
    options = {key: value for key in _TEXT if (value := getattr(config, key)) is not None}
    for key, read in (("lm", _read_lm), ("lexicon", _read_lexicon)):
        if key in options:
            options[key] = read(folder / options[key])
    if "hotwords" in options:
        weight = options.pop("hotword_weight", _HOTWORD_WEIGHT)
        options["hotwords"] = read_hotwords(folder / options["hotwords"], weight)
    elif "hotword_weight" in options:
        raise ConfigError("decoding: hotword_weight is set but no hotwords; name their file")
    return options


def read_hotwords(path: Path, default: float) -> dict[str, float]:
    """Phrases and weights: one a line, with a tab and its weight or without.

    Raises:
        DataError: the file cannot be read, or a weight is no number; names the line.
    """
    weights = {}
    for number, line in enumerate(_lines(path), start=1):
        phrase, tab, weight = line.partition("\t")
        if not phrase.strip():
            continue
        try:
            weights[phrase.strip()] = float(weight) if tab else default
        except ValueError:
            raise DataError(f"{path}:{number}: the weight after the tab must be a number, not {weight!r}") from None
    if not weights:
        raise DataError(f"{path}: no hotwords in it; expected one phrase a line")
    return weights


def _greedy(emissions: Sequence[torch.Tensor], tokenizer: Tokenizer) -> list[Hypothesis]:
    if not emissions:
        return []
    lengths = torch.tensor([len(item) for item in emissions])
    padded = torch.nn.utils.rnn.pad_sequence(list(emissions), batch_first=True)
    return greedy_decode(
        padded, lengths, tokenizer.tokens, blank=tokenizer.blank, word_delimiter=tokenizer.word_delimiter
    )


def _read_lm(path: Path) -> NGramLM:
    from ctcrec.lm import NGramLM

    return NGramLM.load(path)


def _read_prior(path: Path) -> dict[str, float]:
    from ctcrec.decoding.prior import read_prior

    return read_prior(path)


def _read_lexicon(path: Path) -> list[str]:
    from ctcrec.lm.lexicon import read_words

    return list(read_words(path))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
