"""The charts of an HTML report, drawn as SVG and tables without any library in the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ctcrec.scoring.calibration import Calibration
from ctcrec.scoring.confusions import Confusions, visible
from ctcrec.scoring.report import GroupScore

__all__ = ["calibration_chart", "confusion_heat_map", "length_chart"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 240, 44, 34, 12


def _frame(body: Sequence[str], highest: float, label: str, width: int = _WIDTH) -> str:
    """An SVG with a vertical axis from 0 to `highest` (a fraction, labelled in percent)."""
    lines = []
    for step in range(5):
        value = highest * step / 4
        y = _y(value, highest)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{width - 1}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="tick end" x="{_LEFT - 5}" y="{y + 4:.1f}">{100 * value:.3g} %</text>')
    size = f'viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}"'
    return (
        f'<svg {size} role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(lines)}{''.join(body)}</svg>"
    )


def _y(value: float, highest: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(value / highest, 1.0))


def length_chart(scores: Sequence[GroupScore]) -> str:
    """WER and CER against the number of words in the reference, with the number of examples."""
    highest = max(0.01, *(min(max(s.words.rate, s.characters.rate), 1.5) for s in scores))
    slot = (_WIDTH - _LEFT) / len(scores)
    body = []
    for index, score in enumerate(scores):
        left = _LEFT + slot * index
        for offset, kind, rate in ((0.15, "wer", score.words.rate), (0.5, "cer", score.characters.rate)):
            y = _y(rate, highest)
            name = f"{score.value} words: {kind.upper()} {100 * rate:.2f} %"
            body.append(
                f'<rect class="{kind}" x="{left + slot * offset:.1f}" width="{slot * 0.33:.1f}" y="{y:.1f}" '
                f'height="{_HEIGHT - _BOTTOM - y:.1f}"><title>{name}</title></rect>'
            )
        middle = left + slot / 2
        body.append(f'<text class="tick mid" x="{middle:.1f}" y="{_HEIGHT - 18}">{escape(score.value)}</text>')
        body.append(f'<text class="tick mid" x="{middle:.1f}" y="{_HEIGHT - 4}">n = {score.examples}</text>')
    return _frame(body, highest, "Error rates by the number of words in the reference")


def calibration_chart(calibration: Calibration) -> str:
    """Share of right items against confidence, one dot a bin, its area growing with the bin's size."""
    width = 340
    span = width - _LEFT - 24
    most = max(entry.items for entry in calibration.bins)
    body = [f'<line class="ideal" x1="{_LEFT}" y1="{_y(0, 1):.1f}" x2="{_LEFT + span}" y2="{_y(1, 1):.1f}"/>']
    points = [(_LEFT + span * entry.confidence, _y(entry.accuracy, 1)) for entry in calibration.bins]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    body.append(f'<polyline class="curve" points="{path}"/>')
    for (x, y), entry in zip(points, calibration.bins, strict=True):
        radius = 3 + 5 * (entry.items / most) ** 0.5
        name = (
            f"confidence {100 * entry.confidence:.1f} %: {100 * entry.accuracy:.1f} % right, "
            f"{entry.items} {calibration.unit}"
        )
        body.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{name}</title></circle>')
    for step in range(5):
        x = _LEFT + span * step / 4
        body.append(f'<text class="tick mid" x="{x:.1f}" y="{_HEIGHT - 18}">{25 * step} %</text>')
    body.append(f'<text class="tick mid" x="{_LEFT + span / 2:.1f}" y="{_HEIGHT - 4}">confidence</text>')
    return _frame(body, 1.0, "Share of right items against their confidence", width)


def confusion_heat_map(confusions: Confusions, size: int = 24) -> str:
    """Characters of the reference (rows) against what was recognized (columns); darker is a larger share of the row."""
    units, matrix = confusions.matrix(size)
    if len(units) == 1:
        return ""
    head = "".join(f'<th scope="col">{_shown(unit)}</th>' for unit in units)
    rows = []
    for unit, counts in zip(units, matrix, strict=True):
        total = confusions.references[unit] if unit else sum(counts)
        cells = []
        for other, count in zip(units, counts, strict=True):
            if unit == other or count == 0:
                cells.append("<td></td>" if unit != other else '<td class="self"></td>')
                continue
            share = count / max(total, count)
            name = f"{_shown(unit)} as {_shown(other)}: {count} of {total}"
            strength = 12 + 88 * share**0.5
            cells.append(f'<td style="--heat:{strength:.0f}%" class="hot" title="{name}">{count}</td>')
        rows.append(f'<tr><th scope="row">{_shown(unit)}</th>{"".join(cells)}</tr>')
    return f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _shown(unit: str) -> str:
    return escape(visible(unit))
