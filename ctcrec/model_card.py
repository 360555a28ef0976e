"""A model card (Mitchell et al. 2019) in Markdown, from what a run's directory holds: `run.json`, `metrics.json`, the
checkpoint, and the reports of evaluations below it. Nothing in it is typed by hand; what is not known says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ctcrec.checkpoint import Checkpoint, load_checkpoint
from ctcrec.errors import CheckpointError
from ctcrec.pretrained import About, Score
from ctcrec.provenance import read_run

__all__ = ["CARD_FILE", "model_card"]

CARD_FILE = "card.md"
_TASKS = {"speech": "automatic-speech-recognition", "ocr": "image-to-text"}
_WHAT = {"speech": "speech", "ocr": "images of text lines"}
_UNITS = (("words", "WER"), ("characters", "CER"))


def model_card(run: Path, name: str | None = None, about: About | None = None) -> str:
    """The card of a run, or of a model that it was made into.

    Args:
        run: its directory.
        name: of the model; the run's if not given.
        about: what is known of the model: its licence and the scores of its own weights.

    Raises:
        CheckpointError: the directory holds no model, or no `run.json`, or a damaged report.
    """
    record = read_run(run)
    checkpoint = load_checkpoint(run)
    reports = list(_reports(run))
    name = name or run.resolve().name
    shipped = about.scores if about is not None else ()
    parts = [
        _front_matter(record, checkpoint, reports, about),
        f"# {name}\n\nRecognizes {_WHAT[checkpoint.config.modality]} with {_heads(checkpoint)}; made with ctcrec.\n",
        "## Scores\n\n" + _shipped_scores(shipped) + _scores(reports, record, bool(shipped)),
        "## Data\n\n" + _data(record),
        "## Model\n\n" + _model(checkpoint),
        "## Training\n\n" + _training(record),
        f"## Use\n\n```\nctcrec transcribe FILE --{'run' if about is None else 'model'} {name}\n```\n",
    ]
    return "\n".join(parts)


def _heads(checkpoint: Checkpoint) -> str:
    """What the model finds texts with."""
    model = checkpoint.model
    return " and ".join(["CTC"] * (model.head is not None) + ["attention"] * (model.decoder is not None))


def _reports(run: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every evaluation's folder name and report below the run, in the order of their names."""
    for path in sorted(run.glob("*/report.json")):
        try:
            yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); evaluate again, or remove it") from None


def _front_matter(
    record: Mapping[str, Any], checkpoint: Checkpoint, reports: Sequence[tuple[str, Any]], about: About | None
) -> str:
    """What model hubs read: licence, task, languages, licences of the data, error rates."""
    values: dict[str, Any] = {} if about is None else {"license": about.license}
    values |= {
        "library_name": "ctcrec",
        "pipeline_tag": _TASKS[checkpoint.config.modality],
        "tags": [*_heads(checkpoint).lower().split(" and "), checkpoint.config.modality],
    }
    languages = _said(record, "languages")
    if languages:
        values["language"] = sorted(languages)
    licenses = _said(record, "licenses")
    values["training_data_license"] = sorted(licenses) if licenses else "not stated in the manifests"
    if reports:
        values["metrics"] = ["wer", "cer"]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def _said(record: Mapping[str, Any], key: str) -> dict[str, int]:
    """Languages, licenses or attributions of the training manifests, with the number of examples that state each."""
    total: dict[str, int] = {}
    for manifest in record["data"]["train"]:
        for value, count in manifest.get(key, {}).items():
            total[value] = total.get(value, 0) + count
    return total


def _shipped_scores(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    lines = [
        "Of the shipped weights (float16):",
        "",
        "| data | decoding | examples | WER | CER |",
        "|---|---|---|---|---|",
    ]
    for s in scores:
        lines.append(f"| {s.data} | {s.decoding} | {s.examples} | {100 * s.wer:.2f} % | {100 * s.cer:.2f} % |")
    return "\n".join(lines) + "\n\n"


def _scores(reports: Sequence[tuple[str, Any]], record: Mapping[str, Any], others: bool) -> str:
    best = record["sessions"][-1].get("best") or {}
    lines = []
    if best:
        lines.append(
            f"Validation, greedy, best epoch ({best['epoch']}): WER {100 * best['wer']:.2f} %,"
            f" CER {100 * best['cer']:.2f} %. These chose the weights, so they are no test.\n"
        )
    if not reports and not others:
        lines.append(
            "No evaluation lies in the run's directory: `ctcrec evaluate RUN MANIFEST --out RUN/evaluation`.\n"
        )
    if not reports:
        return "\n".join(lines)
    lines += [
        "| evaluation | examples | " + " | ".join(f"{name} [95 %]" for _, name in _UNITS) + " |",
        "|---|---|---|---|",
    ]
    for name, report in reports:
        rates = " | ".join(_rate(report[unit]) for unit, _ in _UNITS)
        lines.append(f"| {name} | {report['examples']} | {rates} |")
    lines += ["", "Signatures (rates with equal ones are comparable):", ""]
    lines += [f"- {name}: `{report['signature']}`" for name, report in reports]
    return "\n".join(lines) + "\n"


def _rate(score: Mapping[str, Any]) -> str:
    interval = score.get("interval")
    bounds = f" [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]" if interval else ""
    return f"{100 * score['rate']:.2f} %{bounds}"


def _data(record: Mapping[str, Any]) -> str:
    lines = ["| part | manifest | examples | hours | SHA-256 |", "|---|---|---|---|---|"]
    for split, manifests in record["data"].items():
        for item in manifests:
            hours = f"{item['hours']:.2f}" if "hours" in item else "–"
            lines.append(f"| {split} | `{item['manifest']}` | {item['examples']} | {hours} | `{item['sha256'][:16]}` |")
    total = sum(item["examples"] for item in record["data"]["train"])
    lines.append("")
    for title, key in (("License", "licenses"), ("Attribution", "attributions"), ("Language", "languages")):
        said = _said(record, key)
        stated = "; ".join(f"{value} ({count} of {total} training examples)" for value, count in sorted(said.items()))
        lines.append(f"- {title}: {stated or 'not stated in the manifests; ask the source of the data'}")
    changed = [item["manifest"] for split in record["data"].values() for item in split if _differs(item)]
    if changed:
        lines += ["", f"Note: changed or gone since training: {', '.join(f'`{name}`' for name in changed)}."]
    return "\n".join(lines) + "\n"


def _differs(item: Mapping[str, Any]) -> bool:
    path = Path(item["manifest"])
    return not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != item["sha256"]


def _model(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    encoder = config.model.encoder
    parameters = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    features = ", ".join(f"{key} {value}" for key, value in config.features.model_dump().items())
    layers = f"{encoder.layers} bidirectional {encoder.cell.upper()} layers of {encoder.width}"
    if (decoder := config.model.decoder) is not None:
        layers += f", a decoder of {decoder.layers} {decoder.cell.upper()} layers of {decoder.width} with "
        layers += f"{decoder.attention} attention" if decoder.attention != "none" else "no attention"
    return (
        f"- {len(config.model.frontend.blocks)} convolutions, {layers}, {parameters:,} parameters; one output frame for"
        f" {checkpoint.model.subsampling_factor} feature frames\n"
        f"- features: {features}\n"
        f"- text: {config.text.normalization}, {config.text.tokenizer} tokens, {len(checkpoint.tokenizer)} of them\n"
    )


def _training(record: Mapping[str, Any]) -> str:
    lines = [f"Seed {record['seed']}; the whole configuration is in `config.yaml`.", ""]
    for session in record["sessions"]:
        hardware, git = session["hardware"], session["git"]
        lines.append(f"```\n{session['command']}\n```\n")
        seconds = f", {session['training_seconds'] / 60:.1f} minutes of training so far" if "steps" in session else ""
        lines.append(f"- {session['started']} to {session.get('ended', 'unknown')}: {session['outcome']}{seconds}")
        if "reason" in session:
            lines.append(f"- reason: {session['reason']}")
        if "mean_of" in session:
            models = (f"`{item['directory']}` (weights `{item['weights_sha256'][:16]}`)" for item in session["mean_of"])
            lines.append(f"- mean of the weights of {', '.join(models)}")
        processor = f"{hardware.get('gpu') or hardware['processor']}, {hardware['cores']} cores"
        lines.append(f"- on {processor}, {hardware['threads']} threads, {hardware['system']}")
        code = (
            f"commit `{git['commit']}`{', with changes' if git['changed'] else ''}"
            if git
            else "not from a git checkout"
        )
        versions = ", ".join(f"{name} {version}" for name, version in session["packages"].items())
        lines += [f"- code: {code}; Python {session['python']}, {versions}", ""]
    return "\n".join(lines)
