"""`ctcrec decode EMISSIONS --tokens FILE`: decode stored emissions of any model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["decode"]


class Method(StrEnum):
    """How to search."""

    GREEDY = "greedy"
    BEAM = "beam"


class OutputFormat(StrEnum):
    """What is printed: `ID<tab>text` lines, or one JSON object an utterance."""

    TEXT = "text"
    JSON = "json"


class Unit(StrEnum):
    """What the language model's words are."""

    WORD = "word"
    TOKEN = "token"


def decode(
    emissions: Annotated[
        list[Path],
        typer.Argument(help="Log-probabilities (T, C): .npy; .npz or .safetensors with one array an id."),
    ],
    tokens: Annotated[Path, typer.Option(help="The C tokens in order, one a line; an empty line is the space.")],
    method: Annotated[Method, typer.Option("--decode", help="Search.")] = Method.BEAM,
    blank: Annotated[int, typer.Option(help="Index of the blank.")] = 0,
    word_delimiter: Annotated[str, typer.Option(help="Token between words.")] = " ",
    beam_size: Annotated[int | None, typer.Option(help="Prefixes kept from frame to frame; 100 if not given.")] = None,
    beam_size_token: Annotated[int | None, typer.Option(help="Tokens looked at in a frame; all if not given.")] = None,
    beam_threshold: Annotated[
        float | None, typer.Option(help="Drop prefixes worse than the best by more; 25 if not given.")
    ] = None,
    blank_skip_threshold: Annotated[
        float | None, typer.Option(help="Blank probability from which on a frame extends nothing.")
    ] = None,
    prior: Annotated[
        Path | None, typer.Option(help="Priors of the tokens: a JSON object from token to probability.")
    ] = None,
    prior_weight: Annotated[
        float | None, typer.Option(help="Exponent of the prior by which probabilities are divided; 0.3 if not given.")
    ] = None,
    lm: Annotated[Path | None, typer.Option(help="N-gram model: ARPA, gzip too, or the binary form.")] = None,
    lm_unit: Annotated[Unit | None, typer.Option(help="The model's words are words (default) or tokens.")] = None,
    lm_weight: Annotated[float | None, typer.Option(help="Factor of the model's ln p; 0.5 if not given.")] = None,
    word_score: Annotated[float | None, typer.Option(help="Added for every word.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Words that may be written, one a line.")] = None,
    unknown_score: Annotated[float | None, typer.Option(help="Added for unknown words; opens the lexicon.")] = None,
    unknown_letter_score: Annotated[
        float | None, typer.Option(help="Added for each letter of them where no known word goes on; -2 if not given.")
    ] = None,
    hotwords: Annotated[
        Path | None, typer.Option(help="Phrases to prefer, one a line, each with a tab and its weight or without.")
    ] = None,
    hotword_weight: Annotated[float | None, typer.Option(help="Of hotwords without a weight; 10 if not given.")] = None,
    characters: Annotated[str | None, typer.Option(help="The characters that may be written, besides spaces.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Regular expression that the whole text must match.")] = None,
    nbest: Annotated[int, typer.Option(min=1, help="Hypotheses of each utterance.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; one a core if not given.")] = None,
    output: Annotated[OutputFormat, typer.Option("--format", help="How to print.")] = OutputFormat.TEXT,
) -> None:
    """Decode stored emissions, greedily or by beam search with language model, lexicon, hotwords and masks."""
    from ctcrec.decoding import BeamDecoder
    from ctcrec.decoding.emissions import read_emissions
    from ctcrec.errors import ConfigError

    stored = {name: one for path in emissions for name, one in read_emissions(path).items()}
    names = _read_lines(tokens, "tokens")
    names = [name if name else " " for name in names]
    options: dict[str, Any] = {
        "beam_size": beam_size, "beam_size_token": beam_size_token, "beam_threshold": beam_threshold,
        "blank_skip_threshold": blank_skip_threshold, "prior_weight": prior_weight,
        "lm_unit": lm_unit and lm_unit.value, "lm_weight": lm_weight, "word_score": word_score,
        "unknown_score": unknown_score, "unknown_letter_score": unknown_letter_score,
        "characters": characters, "pattern": pattern,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    if method is Method.GREEDY:
        files = {"prior": prior, "lm": lm, "lexicon": lexicon, "hotwords": hotwords, "hotword_weight": hotword_weight}
        given = [*options, *(name for name, value in files.items() if value is not None)]
        if given or nbest > 1:
            name = (given or ["nbest"])[0].replace("_", "-")
            raise ConfigError(f"--{name} has no effect with --decode greedy; use --decode beam")
        results = [[_greedy(one, names, blank, word_delimiter)] for one in stored.values()]
    else:
        if prior is not None:
            from ctcrec.decoding.prior import read_prior

            options["prior"] = read_prior(prior)
        if lm is not None:
            from ctcrec.lm import NGramLM

            options["lm"] = NGramLM.load(lm)
        if lexicon is not None:
            from ctcrec.lm.lexicon import read_words

            options["lexicon"] = read_words(lexicon)
        if hotwords is not None:
            options["hotwords"] = _read_hotwords(hotwords, 10.0 if hotword_weight is None else hotword_weight)
        elif hotword_weight is not None:
            raise ConfigError("--hotword-weight is given but no --hotwords")
        decoder = BeamDecoder(names, blank=blank, word_delimiter=word_delimiter, **options)
        results = decoder(list(stored.values()), nbest=nbest, threads=threads, ids=list(stored))
    for name, hypotheses in zip(stored, results, strict=True):
        for hypothesis in hypotheses:
            _print(name, hypothesis, output)


def _greedy(one: Any, names: list[str], blank: int, word_delimiter: str) -> Any:
    import torch

    from ctcrec.decoding import greedy_decode

    tensor = torch.from_numpy(one)[None]
    return greedy_decode(tensor, torch.tensor([len(one)]), names, blank=blank, word_delimiter=word_delimiter)[0]


def _read_lines(path: Path, what: str) -> list[str]:
    from ctcrec.errors import DataError

    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the {what} ({error})") from None
    return lines[:-1] if lines[-1] == "" else lines


def _read_hotwords(path: Path, default: float) -> dict[str, float]:
    from ctcrec.errors import DataError

    weights: dict[str, float] = {}
    for number, line in enumerate(_read_lines(path, "hotwords"), start=1):
        phrase, tab, weight = line.partition("\t")
        if not phrase.strip():
            continue
        try:
            weights[phrase] = float(weight) if tab else default
        except ValueError:
            raise DataError(f"{path}:{number}: {weight!r} is not a weight; write PHRASE<tab>NUMBER") from None
    return weights


def _print(name: str, hypothesis: Any, output: OutputFormat) -> None:
    if output is OutputFormat.TEXT:
        typer.echo(f"{name}\t{hypothesis.text}")
        return
    import dataclasses
    import json

    record = {field.name: getattr(hypothesis, field.name) for field in dataclasses.fields(hypothesis)}
    for kind in ("token_spans", "word_spans"):
        record[kind] = [dataclasses.asdict(span) for span in record[kind]]
    typer.echo(json.dumps({"id": name, **record}, ensure_ascii=False))
