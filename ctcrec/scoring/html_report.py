"""A score report as one HTML file that needs nothing else: tables that sort, charts, and the worst examples to hear or
see with their errors in colour."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ctcrec.scoring.bootstrap import Interval
from ctcrec.scoring.comparison import Comparison
from ctcrec.scoring.confusions import visible
from ctcrec.scoring.html_charts import calibration_chart, confusion_heat_map, length_chart
from ctcrec.scoring.html_examples import ClipLoader, inline_difference, worst_examples
from ctcrec.scoring.html_style import SCRIPT, STYLE
from ctcrec.scoring.rates import ErrorCounts
from ctcrec.scoring.report import RATE_NAMES, GroupScore, Report

__all__ = ["render_html", "write_html"]


def write_html(
    path: str | Path,
    report: Report,
    clips: ClipLoader | None = None,
    comparisons: Sequence[Comparison] = (),
    title: str = "Recognition scores",
) -> None:
    """Write `render_html` to a file, at once."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(render_html(report, clips, comparisons, title), encoding="utf-8")
    os.replace(temporary, path)


def render_html(
    report: Report,
    clips: ClipLoader | None = None,
    comparisons: Sequence[Comparison] = (),
    title: str = "Recognition scores",
    most: int = 1000,
) -> str:
    """The page.

    Args:
        report: what to show.
        clips: gives the recording or line image of an id, or None; asked for the worst examples only, until 12 MB of
            media are in the page.
        comparisons: with other systems.
        title: of the page.
        most: how many examples to list in the table, those with the most character errors.
    """
    sections = [
        f"<h1>{escape(title)}</h1><code>{escape(report.signature)}</code>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in report.warnings),
        _headline(report),
        _comparison_section(comparisons),
        *(_group_section(name, scores) for name, scores in report.groups.items() if name != "length"),
        _chart_section(report),
        worst_examples(report, clips),
        _confusion_section(report),
        _example_section(report, most),
        _id_section(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"{''.join(sections)}<script>{SCRIPT}</script></body></html>\n"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], identifier: str = "", style: str = "scroll") -> str:
    """A sortable table of ready cells (`<td>...</td>`)."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    name = f' id="{identifier}"' if identifier else ""
    return (
        f'<div class="{style}"><table class="sort"{name}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _number(value: float, text: str | None = None) -> str:
    return f'<td data-v="{value:.6g}">{value if text is None else text}</td>'


def _rate(counts: ErrorCounts) -> str:
    return _number(counts.rate, f"{100 * counts.rate:.2f} %")


def _text(value: str) -> str:
    return f'<td class="text"><bdi>{escape(value)}</bdi></td>'


def _interval(interval: Interval | None, name: str) -> str:
    return "" if interval is None else f"<span>{100 * interval.low:.2f} to {100 * interval.high:.2f} % {name}</span>"


def _headline(report: Report) -> str:
    cards = []
    for unit, score in report.units.items():
        intervals = _interval(score.interval, "(95 %)") + _interval(
            score.group_interval, f"by {escape(report.group_name)}"
        )
        counts = score.counts
        parts = (
            f"{counts.substitutions} sub, {counts.deletions} del, {counts.insertions} ins of {counts.reference_length}"
        )
        cards.append(
            f'<div class="card"><span>{RATE_NAMES[unit]}</span><b>{100 * counts.rate:.2f} %</b>{intervals}'
            f"<span>{parts}</span></div>"
        )
    cards.append(
        f'<div class="card"><span>examples without error</span><b>{100 * report.sentence_accuracy:.2f} %</b>'
        f"{_interval(report.correct_interval, '(95 %)')}<span>{report.correct} of {report.examples}</span></div>"
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _comparison_section(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    rows = []
    for item in comparisons:
        words, characters = item.bootstrap["words"], item.bootstrap["characters"]
        rows.append(
            [
                _text(item.first),
                _text(item.second),
                _number(words.difference, f"{100 * words.difference:+.2f}"),
                _number(item.mapsswe.p_value, f"{item.mapsswe.p_value:.3g}"),
                _number(words.p_value, f"{words.p_value:.3g}"),
                _number(characters.difference, f"{100 * characters.difference:+.2f}"),
                _number(characters.p_value, f"{characters.p_value:.3g}"),
                _number(item.wins),
                _number(item.losses),
                _number(item.ties),
            ]
        )
    columns = ["first", "second", "WER points", "p (MAPSSWE)", "p (bootstrap)", "CER points", "p (bootstrap)"]
    table = _table([*columns, "wins", "losses", "ties"], rows)
    return f'<h2>Systems compared</h2><p class="note">Negative differences: the first system is better.</p>{table}'


def _group_section(name: str, scores: Sequence[GroupScore]) -> str:
    rows = [
        [
            _text(score.value),
            _number(score.examples),
            _number(score.correct),
            _rate(score.words),
            _rate(score.characters),
            _number(score.words.reference_length),
            _number(score.words.substitutions),
            _number(score.words.deletions),
            _number(score.words.insertions),
        ]
        for score in scores
    ]
    columns = [name, "examples", "correct", "WER", "CER", "words", "sub", "del", "ins"]
    style = "scroll" if len(rows) <= 25 else "tall"
    return f"<h2>By {escape(name)}</h2>{_table(columns, rows, style=style)}"


def _chart_section(report: Report) -> str:
    key = '<p class="key note"><i style="background:var(--wer)"></i>WER<i style="background:var(--cer)"></i>CER</p>'
    parts = [f"<div><h2>Errors by length</h2>{key}{length_chart(report.groups['length'])}</div>"]
    if report.calibration is not None:
        calibration = report.calibration
        note = (
            f"How many {escape(calibration.unit)} of a confidence are right. Expected calibration error "
            f"{100 * calibration.expected_error:.2f} %."
        )
        parts.append(f'<div><h2>Calibration</h2><p class="note">{note}</p>{calibration_chart(calibration)}</div>')
    if report.oracle:
        rows = [[_number(n), _rate(counts), _number(counts.errors)] for n, counts in report.oracle]
        table = _table(["candidates", "WER", "errors"], rows)
        parts.append(f'<div><h2>Best of the candidates</h2><p class="note">Oracle error rate.</p>{table}</div>')
    return f'<div class="pair">{"".join(parts)}</div>'


def _confusion_section(report: Report, most: int = 30) -> str:
    parts = []
    for unit, confusions in report.confusions.items():
        pairs = [
            [_text(visible(a)), _text(visible(b)), _number(n)]
            for (a, b), n in confusions.substitutions.most_common(most)
        ]
        lost = [[_text(visible(a)), _number(n)] for a, n in confusions.deletions.most_common(most)]
        new = [[_text(visible(a)), _number(n)] for a, n in confusions.insertions.most_common(most)]
        for name, columns, rows in (
            ("taken for", ["reference", "recognized", "times"], pairs),
            ("lost", ["reference", "times"], lost),
            ("put in", ["recognized", "times"], new),
        ):
            if rows:
                parts.append(f"<div><h3>{unit.capitalize()} {name}</h3>{_table(columns, rows, style='short')}</div>")
    if not parts:
        return ""
    heat = confusion_heat_map(report.confusions["characters"])
    spaces = report.spaces
    note = (
        f"Rows: reference, columns: recognized; ∅ is nothing, ␣ a space. {spaces.errors} of the "
        f"{report.units['characters'].counts.errors} character errors concern spaces "
        f"({spaces.deletions + spaces.substitutions} lost, {spaces.insertions} put in)."
    )
    return (
        f'<h2>Confusions</h2><p class="note">{note}</p><div class="scroll">{heat}</div>'
        f'<div class="pair">{"".join(parts)}</div>'
    )


def _example_section(report: Report, most: int) -> str:
    counts = report.counts
    order = np.argsort(-counts.errors("characters"), kind="stable")[:most]
    rows = []
    for index in map(int, order):
        identifier = counts.ids[index]
        words, characters = counts.example("words", index), counts.example("characters", index)
        text = inline_difference(*report.details[identifier], report.alignment)
        rows.append(
            [
                _text(identifier),
                _rate(words),
                _rate(characters),
                _number(words.errors),
                _number(characters.errors),
                _number(words.reference_length),
                f'<td class="text" dir="auto">{text}</td>',
            ]
        )
    shown_of = "" if len(rows) == report.examples else f" ({len(rows)} of {report.examples}, most errors first)"
    columns = ["id", "WER", "CER", "word errors", "character errors", "words", "text"]
    field = '<p><input type="search" data-filter="examples" placeholder="filter by id or text"></p>'
    return f"<h2>Examples{shown_of}</h2>{field}{_table(columns, rows, 'examples')}"


def _id_section(report: Report) -> str:
    parts = []
    for title, ids in (
        ("References without hypothesis", report.missing),
        ("Hypotheses without reference", report.extra),
    ):
        if ids:
            parts.append(f'<h2>{title} ({len(ids)})</h2><p class="ids">{escape("  ".join(ids[:2000]))}</p>')
    return "".join(parts)
