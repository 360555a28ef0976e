"""`ctcrec tune RUN MANIFEST --lm FILE`: find the beam search's weights on validation examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctcrec.allocation import keep_freed_memory

__all__ = ["tune"]


def tune(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model.")],
    manifest: Annotated[list[Path], typer.Argument(help="Manifests of validation examples with text.")],
    lm: Annotated[Path, typer.Option("--lm", help="N-gram model: ARPA, gzip too, or the binary form.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Fix a key of the decoding, e.g. lm_unit=token, lexicon=FILE."),
    ] = None,
) -> None:
    """Choose lm_weight, word_score, prior_weight and beam_size by WER, and the temperature of the confidences.

    Emissions are computed once and kept in RUN/tuning, with the prior of their tokens and a picture of the WER over
    the weights; the chosen values go into RUN/decoding.yaml, which transcribe and evaluate then use.
    """
    from ctcrec.cli.progress import progress_bar
    from ctcrec.config import DecodingConfig, parse_decoding, parse_overrides
    from ctcrec.data.manifest import read_manifests
    from ctcrec.data.partitions import text_conventions
    from ctcrec.recognizer import Recognizer
    from ctcrec.tuning import tune_run

    keep_freed_memory()
    examples = read_manifests(manifest, require_text=True)
    changes = {"strategy": "beam", "lm": str(lm), **parse_overrides(settings or ())}
    config = parse_decoding(changes)
    recognizer = Recognizer.load(run, decoding=DecodingConfig())
    with progress_bar("emissions", len(examples)) as done:
        result = tune_run(recognizer, run, examples, config, done)
    best, temperature = result.tuning.best, result.calibration
    typer.echo(
        f"lm_weight {best.lm_weight:g}, word_score {best.word_score:g}, prior_weight {best.prior_weight:g},"
        f" beam_size {best.beam_size}:"
        f" WER {100 * best.wer:.2f} %, CER {100 * best.cer:.2f} % (greedy: WER {100 * result.greedy_wer:.2f} %)"
    )
    if conventions := text_conventions(example.extra for example in examples):
        typer.echo(f"texts of the manifest: {', '.join(conventions)}")
    typer.echo(
        f"temperature of the confidences {temperature.temperature:.2f}: expected calibration error"
        f" {100 * temperature.error_before:.2f} % before, {100 * temperature.error_after:.2f} % after"
    )
    typer.echo(f"written: {result.decoding_file}, {result.surface_file}")
