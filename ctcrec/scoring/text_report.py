"""Reports as plain text tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ctcrec.scoring.bootstrap import Interval
from ctcrec.scoring.comparison import Comparison
from ctcrec.scoring.confusions import visible
from ctcrec.scoring.rates import ErrorCounts, Unit
from ctcrec.scoring.report import RATE_NAMES, GroupScore, Report
from ctcrec.scoring.significance import PairedBootstrap

__all__ = ["render_comparison", "render_text"]

_MOST_GROUPS = 20
_MOST_CONFUSIONS = 10


def render_text(report: Report, width: int = 100) -> str:
    """Warnings, headline, groups, confusions, calibration and oracle rates, and the signature as the last line."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, markup=False, emoji=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    console.print(_headline(report))
    accuracy = (
        f"{report.correct} of {report.examples} examples without a word error, {_percent(report.sentence_accuracy)}"
    )
    console.print(accuracy + _bracketed(report.correct_interval))
    if report.spaces.errors:
        spaces = report.spaces
        console.print(
            f"{spaces.errors} of the {report.units['characters'].counts.errors} character errors concern spaces: "
            f"{spaces.deletions + spaces.substitutions} lost, {spaces.insertions} put in"
        )
    for name, scores in report.groups.items():
        if len(scores) > 1:
            console.print(_group_table(name, scores))
    confusions = _confusion_table(report)
    if confusions is not None:
        console.print(confusions)
    if report.oracle:
        rates = ", ".join(f"{n}: {_percent(counts.rate)}" for n, counts in report.oracle)
        console.print(f"WER if the best of the first n candidates were picked: {rates}")
    if report.calibration is not None:
        calibration = report.calibration
        console.print(
            f"expected calibration error of the confidences of {calibration.unit}: "
            f"{_percent(calibration.expected_error)} ({calibration.items} {calibration.unit})"
        )
    for name, ids in (("without hypothesis", report.missing), ("without reference", report.extra)):
        if ids:
            console.print(f"{name}: {' '.join(ids[:50])}{' ...' if len(ids) > 50 else ''}")
    console.print(report.signature, soft_wrap=True)
    return _text_of(console)


def render_comparison(comparison: Comparison, names: Mapping[Unit, str], width: int = 100) -> str:
    """Test results and the largest wins and losses."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, markup=False, emoji=False)
    first, second = comparison.first, comparison.second
    console.print(f"{first} against {second}")
    test = comparison.mapsswe
    console.print(
        f"matched pairs (MAPSSWE): p = {_p(test.p_value)}, Z = {test.z:.2f}, {test.segments} segments, "
        f"{test.mean:+.3f} errors a segment"
    )
    for kind, results in (("by example", comparison.bootstrap), ("by group", comparison.group_bootstrap)):
        for unit, result in results.items():
            console.print(f"paired bootstrap {kind}: {names[unit]} {_difference(result)}")
    console.print(
        f"{first} makes fewer word errors on {comparison.wins} examples, more on {comparison.losses}, "
        f"equally many on {comparison.ties}"
    )
    for difference in comparison.differences:
        console.print(f"\n{difference.id}  word errors: {difference.first_errors} and {difference.second_errors}")
        for name, text in (("REF", difference.reference), (first, difference.first), (second, difference.second)):
            console.print(f"  {name}: {text}")
    return _text_of(console)


def _text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _bracketed(interval: Interval | None) -> str:
    return f" [{100 * interval.low:.2f}, {100 * interval.high:.2f}]" if interval else ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _difference(result: PairedBootstrap) -> str:
    low, high = (100 * bound for bound in result.interval)
    return f"{100 * result.difference:+.2f} points [{low:+.2f}, {high:+.2f}], p = {_p(result.p_value)}"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


def _counts(counts: ErrorCounts) -> list[str]:
    numbers = (counts.reference_length, counts.substitutions, counts.deletions, counts.insertions)
    return [str(number) for number in numbers]


def _headline(report: Report) -> Table:
    """Rates with their 95 % intervals, and counts."""
    by_group = any(score.group_interval for score in report.units.values())
    columns = ["", "rate", "95 % by example", *([f"95 % by {report.group_name}"] if by_group else [])]
    table = _table(*columns, "reference", "sub", "del", "ins")
    for unit, score in report.units.items():
        intervals = [score.interval, *([score.group_interval] if by_group else [])]
        shown = [_bracketed(interval).strip() for interval in intervals]
        table.add_row(RATE_NAMES[unit], _percent(score.counts.rate), *shown, *_counts(score.counts))
    return table


def _group_table(name: str, scores: Sequence[GroupScore]) -> Table:
    title = "words in the reference" if name == "length" else name
    if len(scores) > _MOST_GROUPS:
        title = f"{name} ({_MOST_GROUPS} of {len(scores)}, most word errors first)"
        scores = sorted(scores, key=lambda score: -score.words.errors)[:_MOST_GROUPS]
    table = _table(title, "examples", "correct", "WER", "CER", "words", "sub", "del", "ins")
    for score in scores:
        rates = [_percent(score.words.rate), _percent(score.characters.rate)]
        table.add_row(score.value, str(score.examples), str(score.correct), *rates, *_counts(score.words))
    return table


def _confusion_table(report: Report) -> Table | None:
    columns: list[tuple[str, list[str]]] = []
    for unit, confusions in report.confusions.items():
        pairs = confusions.substitutions.most_common(_MOST_CONFUSIONS)
        columns.append((f"{unit} taken for", [f"{visible(a)} → {visible(b)} {n}" for (a, b), n in pairs]))
        columns.append(("lost", [f"{visible(a)} {n}" for a, n in confusions.deletions.most_common(_MOST_CONFUSIONS)]))
        columns.append(
            ("put in", [f"{visible(a)} {n}" for a, n in confusions.insertions.most_common(_MOST_CONFUSIONS)])
        )
    rows = max(len(cells) for _, cells in columns)
    if rows == 0:
        return None
    table = Table(*(name for name, _ in columns), box=box.SIMPLE_HEAD, pad_edge=False)
    for index in range(rows):
        table.add_row(*(cells[index] if index < len(cells) else "" for _, cells in columns))
    return table
