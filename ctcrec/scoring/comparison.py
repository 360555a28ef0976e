"""Two systems on the same references: which is better, how surely, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ctcrec.errors import InputError
from ctcrec.scoring.bootstrap import sum_by_group
from ctcrec.scoring.rates import Unit
from ctcrec.scoring.report import RATE_NAMES, Report
from ctcrec.scoring.significance import Mapsswe, PairedBootstrap, mapsswe, paired_bootstrap

__all__ = ["Comparison", "ExampleDifference", "compare", "compare_all"]


@dataclass(frozen=True, slots=True)
class ExampleDifference:
    """An example on which the systems make different numbers of word errors."""

    id: str
    reference: str
    first: str
    second: str
    first_errors: int
    second_errors: int


@dataclass(frozen=True)
class Comparison:
    """The first system against the second.

    Attributes:
        first, second: names of the systems.
        mapsswe: matched pairs test of the word errors.
        bootstrap: paired bootstrap by example, of words and of characters.
        group_bootstrap: the same by speaker or writer; empty where groups are not known for all examples.
        wins, losses, ties: examples on which the first system makes fewer, more, or equally many word errors.
        differences: the examples won and lost by the largest margins, the first system's wins first.
    """

    first: str
    second: str
    mapsswe: Mapsswe
    bootstrap: Mapping[Unit, PairedBootstrap]
    group_bootstrap: Mapping[Unit, PairedBootstrap]
    wins: int
    losses: int
    ties: int
    differences: tuple[ExampleDifference, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""

        def tests(results: Mapping[Unit, PairedBootstrap]) -> dict[str, Any]:
            return {
                unit: {
                    "difference": result.difference,
                    "interval": list(result.interval),
                    "p_value": result.p_value,
                }
                for unit, result in results.items()
            }

        return {
            "first": self.first,
            "second": self.second,
            "mapsswe": {
                "segments": self.mapsswe.segments,
                "mean": self.mapsswe.mean,
                "z": self.mapsswe.z if np.isfinite(self.mapsswe.z) else None,
                "p_value": self.mapsswe.p_value,
            },
            "bootstrap": tests(self.bootstrap),
            "group_bootstrap": tests(self.group_bootstrap),
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "differences": [
                {name: getattr(difference, name) for name in ExampleDifference.__slots__}
                for difference in self.differences
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as a JSON document."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def text(self, width: int = 100) -> str:
        """The result in words and a table, plain text."""
        from ctcrec.scoring.text_report import render_comparison

        return render_comparison(self, RATE_NAMES, width)


def compare(
    first: Report,
    second: Report,
    names: tuple[str, str] = ("first", "second"),
    groups: Mapping[str, str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    most: int = 10,
) -> Comparison:
    """Compare two reports on the same references.

    Args:
        first, second: results of `score` with the same references and options.
        names: of the systems.
        groups: speaker or writer by id, to draw groups in the bootstrap as well.
        samples, seed: of the bootstrap.
        most: how many wins and how many losses to list.

    Raises:
        InputError: the reports do not score the same examples in the same way.
    """
    ids = list(first.counts.ids)
    if ids != list(second.counts.ids) or first.signature != second.signature:
        raise InputError(
            f"{names[0]} and {names[1]} cannot be compared: they were not scored on the same references in the same way"
        )
    rows = {
        unit: np.stack([first.counts.errors(unit), second.counts.errors(unit), first.counts.lengths(unit)], axis=1)
        for unit in first.units
    }
    units: tuple[Unit, ...] = ("words", "characters")
    group_names = [(groups or {}).get(name) for name in ids]
    known = [name for name in group_names if name is not None]
    by_group = len(known) == len(ids) and len(set(known)) > 1
    texts = ((first.details[name][0], first.details[name][1], second.details[name][1]) for name in ids)
    margin = rows["words"][:, 1] - rows["words"][:, 0]  # positive where the first system wins
    order = np.argsort(-margin, kind="stable")
    chosen = [int(i) for i in order[:most] if margin[i] > 0] + [int(i) for i in order[::-1][:most] if margin[i] < 0]
    return Comparison(
        names[0],
        names[1],
        mapsswe(texts, first.alignment),
        {unit: paired_bootstrap(rows[unit], samples, seed) for unit in units},
        {unit: paired_bootstrap(sum_by_group(rows[unit], known), samples, seed) for unit in units if by_group},
        int((margin > 0).sum()),
        int((margin < 0).sum()),
        int((margin == 0).sum()),
        tuple(
            ExampleDifference(
                ids[i],
                first.details[ids[i]][0],
                first.details[ids[i]][1],
                second.details[ids[i]][1],
                int(rows["words"][i, 0]),
                int(rows["words"][i, 1]),
            )
            for i in chosen
        ),
    )


def compare_all(
    reports: Mapping[str, Report], groups: Mapping[str, str] | None = None, samples: int = 1000, seed: int = 0
) -> list[Comparison]:
    """Every pair of systems, in the order of `reports`."""
    return [compare(reports[a], reports[b], (a, b), groups, samples, seed) for a, b in combinations(reports, 2)]
