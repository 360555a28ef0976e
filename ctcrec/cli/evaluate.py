"""`ctcrec evaluate RUN MANIFEST...`: transcribe examples with text, and score."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctcrec.allocation import keep_freed_memory, take_short_turns
from ctcrec.cli.decoding import Hotwords, LanguageModel, Settings, Strategy, decoding_of
from ctcrec.cli.score import AlignmentRule, OutputFormat

if TYPE_CHECKING:
    from ctcrec.likelihoods import HeadLikelihoods
    from ctcrec.scoring.bleu import CorpusBleu

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Directory of a trained model, or the name of one (ctcrec models).")],
    manifest: Annotated[list[Path], typer.Argument(help="Manifests with text.")],
    output: Annotated[OutputFormat, typer.Option("--format", help="How to print the result.")] = OutputFormat.TEXT,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for hypotheses.jsonl, report.html, report.txt, report.json and worst.txt."),
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="Field of the manifest to group by; repeat for more.")] = None,
    alignment: Annotated[AlignmentRule, typer.Option(help="minimum: fewest errors; sclite: as NIST's sclite.")] = (
        AlignmentRule.MINIMUM
    ),
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst examples to list.")] = 20,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="Also: perplexity and bits per character and byte of the true texts.")
    ] = False,
    bleu: Annotated[bool, typer.Option("--bleu", help="Also: corpus BLEU, by sacrebleu.")] = False,
    decode: Strategy = None,
    lm: LanguageModel = None,
    hotwords: Hotwords = None,
    set_: Settings = None,
) -> None:
    """WER, CER and sentence accuracy with 95 % intervals, by speaker or writer, and the worst examples."""
    from ctcrec.cli.fitting import misfits
    from ctcrec.cli.progress import progress_bar
    from ctcrec.data.manifest import read_manifests
    from ctcrec.evaluation import evaluate as run_evaluation
    from ctcrec.pretrained import model_folders
    from ctcrec.processes import usable_cores
    from ctcrec.recognizer import Recognizer

    keep_freed_memory()
    take_short_turns()
    run = model_folders().get(str(run), run)
    examples = read_manifests(manifest, require_text=True)
    recognizer = Recognizer.load(run, decoding=decoding_of(run, decode, lm, hotwords, set_))
    for misfit in misfits(run, recognizer.checkpoint, examples):
        print(misfit, file=sys.stderr)
    with progress_bar("transcribing", len(examples)) as done:
        result = run_evaluation(
            recognizer,
            examples,
            out,
            done,
            by=by or (),
            alignment=alignment.value,
            worst=worst,
            processes=usable_cores(),
        )
    for error in result.errors.values():
        print(f"ctcrec: {error}", file=sys.stderr)
    measures: dict[str, HeadLikelihoods | CorpusBleu] = {}
    if bleu:
        from ctcrec.scoring.bleu import corpus_bleu

        references, hypotheses = zip(*result.report.details.values(), strict=True)
        measures["bleu"] = corpus_bleu(references, hypotheses)
    if likelihood:
        from ctcrec.likelihoods import head_likelihoods

        readable = [example for example in examples if example.id not in result.errors]
        with progress_bar("likelihoods", len(readable)) as done:
            measures["likelihood"] = head_likelihoods(recognizer, readable, done)
    if output is OutputFormat.JSON:
        extra = {name: measure.to_dict() for name, measure in measures.items()}
        typer.echo(json.dumps({**result.report.to_dict(), **extra}, ensure_ascii=False, indent=1))
    else:
        typer.echo(result.report.text())
        for measure in measures.values():
            typer.echo(measure.text())
        if out is not None:
            typer.echo(f"hypotheses, report and worst examples are in {out}")
    if result.errors:
        raise typer.Exit(1)
