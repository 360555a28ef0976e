"""Scoring: from references and hypotheses by id to a `Report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.scoring.alignment import ALIGNMENTS, Alignment
from ctcrec.scoring.bootstrap import Interval, rate_interval, resample_sums, sum_by_group
from ctcrec.scoring.breakdown import GROUP_FIELDS, group_scores, length_scores, worst_examples
from ctcrec.scoring.calibration import Calibration, calibrate, words_correct
from ctcrec.scoring.corpus import CorpusCounts, count_corpus
from ctcrec.scoring.doubts import id_warnings, markup_warnings, normalization_warnings
from ctcrec.scoring.formats import Entry
from ctcrec.scoring.nbest import oracle_curve
from ctcrec.scoring.rates import UNITS, ErrorCounts, Unit
from ctcrec.scoring.report import Report, UnitScore

__all__ = ["TextNormalizer", "score", "score_collections"]

VERSION = 1  # of the rules of counting; part of the signature


class TextNormalizer(Protocol):
    """What scoring needs of a text convention (`ctcrec.text.Normalizer` is one)."""

    @property
    def signature(self) -> str:
        """One word that names the convention and its version."""

    def normalize(self, text: str) -> str:
        """The text after the convention."""


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    normalizer: TextNormalizer | None = None,
    *,
    group_name: str = "speaker",
    fields: Mapping[str, Mapping[str, str]] | None = None,
    alignment: Alignment = "minimum",
    missing: Literal["errors", "skip"] = "errors",
    samples: int = 1000,
    seed: int = 0,
    worst: int = 20,
    nbest: Mapping[str, Sequence[str]] | None = None,
    words: Mapping[str, Sequence[tuple[str, float]]] | None = None,
    confidences: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Score hypotheses against references, matched by id.

    Args:
        references, hypotheses: text by id.
        groups: who speaks or writes, by id; scores are also given by group, and intervals also by drawing groups.
        normalizer: applied to both sides; None takes the texts as they are.
        group_name: what a group is, for the report.
        fields: further groupings: by name, the value of each id.
        alignment: `"minimum"` or `"sclite"`, see `ctcrec.scoring.alignment`.
        missing: a reference without hypothesis counts as all `"errors"` (deletions), or is left out (`"skip"`).
        samples, seed: of the bootstrap; 0 samples leave the intervals out.
        worst: how many examples to list.
        nbest: candidates by id, best first, for the oracle error rate.
        words: (word, confidence) by id, for calibration; they must spell the hypothesis.
        confidences: by id, the probability that the whole hypothesis is right; used where `words` has none.
        progress: called with the number of examples done, now and then.

    Raises:
        InputError: no id is on both sides, or an option has no such value.
    """
    if alignment not in ALIGNMENTS or missing not in ("errors", "skip"):
        raise InputError(
            f"alignment must be one of {ALIGNMENTS} and missing errors or skip, got {alignment}, {missing}"
        )
    absent = tuple(identifier for identifier in references if identifier not in hypotheses)
    extra = tuple(identifier for identifier in hypotheses if identifier not in references)
    if len(absent) == len(references):
        raise InputError(
            "no reference has a hypothesis: the ids do not match "
            f"(the first reference is {next(iter(references), None)!r}, the first hypothesis "
            f"{next(iter(hypotheses), None)!r})"
        )
    ids = [name for name in references if missing == "errors" or name in hypotheses]
    normalize = normalizer.normalize if normalizer is not None else str
    left = [normalize(references[name]) for name in ids]
    right = [normalize(hypotheses.get(name, "")) for name in ids]
    counts = count_corpus(ids, left, right, alignment, progress)
    group_of = [(groups or {}).get(name) for name in ids]
    units, correct_interval = _unit_scores(counts, group_of, samples, seed)
    tables = {group_name: group_of} if any(group is not None for group in group_of) else {}
    tables |= {name: [values.get(identifier) for identifier in ids] for name, values in (fields or {}).items()}
    by_group = {name: group_scores(counts, values) for name, values in tables.items()}
    by_group["length"] = length_scores(counts)
    normalized_by = normalizer.signature if normalizer is not None else "as-given"
    return Report(
        signature=f"ctcrec-score:{VERSION}|text:{normalized_by}|align:{alignment}|missing:{missing}"
        + (f"|ci:bootstrap.{samples}.seed{seed}" if samples else ""),
        alignment=alignment,
        examples=len(ids),
        units=units,
        correct=int(counts.correct.sum()),
        correct_interval=correct_interval,
        groups=by_group,
        spaces=counts.confusions["characters"].spaces(),
        confusions=counts.confusions,
        missing=absent,
        extra=extra,
        worst=worst_examples(counts, group_of, left, right, set(absent), worst),
        warnings=(
            *id_warnings(absent, extra),
            *normalization_warnings(left, right),
            *(markup_warnings(left, right) if alignment == "sclite" else ()),
        ),
        counts=counts,
        calibration=_calibration(ids, left, right, counts, normalize, words, confidences, alignment),
        oracle=tuple(_oracle(ids, left, right, normalize, nbest, alignment)),
        details=dict(zip(ids, zip(left, right, strict=True), strict=True)),
    )


def score_collections(
    references: Mapping[str, Entry],
    hypotheses: Mapping[str, Entry],
    normalizer: TextNormalizer | None = None,
    by: Sequence[str] = (),
    **options: object,
) -> Report:
    """`score` for collections as `read_collection` gives them: speakers or writers, documents (`GROUP_FIELDS`), n-best
    lists and confidences are taken from the entries. `by` names further fields of the references to group by; `options`
    are those of `score`.

    Raises:
        InputError: no reference has a field that `by` names; the message lists the fields there are.
    """
    known: dict[str, None] = {}
    for entry in references.values():
        known.update(dict.fromkeys(entry.fields))
    for name in by:
        if name not in known:
            raise InputError(
                f"no reference has the field {name!r} to group by; there are: {', '.join(known) or 'none'}"
            )
    group_name = next((name for name in ("speaker", "writer") if name in known), "speaker")
    return score(
        {name: entry.text for name, entry in references.items()},
        {name: entry.text for name, entry in hypotheses.items()},
        {name: entry.fields[group_name] for name, entry in references.items() if group_name in entry.fields},
        normalizer,
        group_name=group_name,
        fields={
            field: {name: entry.fields[field] for name, entry in references.items() if field in entry.fields}
            for field in dict.fromkeys([*(name for name in GROUP_FIELDS if name in known), *by])
            if field != group_name
        },
        nbest={name: entry.nbest for name, entry in hypotheses.items() if entry.nbest},
        words={
            name: [(word.word, word.confidence or 0.0) for word in entry.words]
            for name, entry in hypotheses.items()
            if entry.words and all(word.confidence is not None for word in entry.words)
        },
        confidences={name: entry.confidence for name, entry in hypotheses.items() if entry.confidence is not None},
        **options,  # type: ignore[arg-type]
    )


def _unit_scores(
    counts: CorpusCounts, groups: Sequence[str | None], samples: int, seed: int
) -> tuple[dict[Unit, UnitScore], Interval | None]:
    """Totals and intervals of each unit, and the interval of the share of correct examples."""
    columns: list[npt.NDArray[np.int64]] = []
    for unit in UNITS:
        columns += [counts.errors(unit), counts.lengths(unit)]
    columns += [counts.correct.astype(np.int64), np.ones(len(counts.ids), np.int64)]
    rows = np.stack(columns, axis=1)
    names = [group for group in groups if group is not None]
    by_example = resample_sums(rows, samples, seed) if samples and len(rows) > 1 else None
    by_group = None
    if samples and len(names) == len(groups) and len(set(names)) > 1:
        by_group = resample_sums(sum_by_group(rows, names), samples, seed)

    def interval(sums: npt.NDArray[np.float64] | None, column: int) -> Interval | None:
        return None if sums is None else rate_interval(sums[:, column], sums[:, column + 1])

    units = {
        unit: UnitScore(counts.total(unit), interval(by_example, 2 * index), interval(by_group, 2 * index))
        for index, unit in enumerate(UNITS)
    }
    return units, interval(by_example, 2 * len(UNITS))


def _oracle(
    ids: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalize: Callable[[str], str],
    nbest: Mapping[str, Sequence[str]] | None,
    alignment: Alignment,
) -> list[tuple[int, ErrorCounts]]:
    if not nbest:
        return []
    examples = [
        (reference, [normalize(text) for text in nbest.get(name) or (hypothesis,)])
        for name, reference, hypothesis in zip(ids, references, hypotheses, strict=True)
    ]
    return oracle_curve(examples, alignment=alignment)


def _calibration(
    ids: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    counts: CorpusCounts,
    normalize: Callable[[str], str],
    words: Mapping[str, Sequence[tuple[str, float]]] | None,
    confidences: Mapping[str, float] | None,
    alignment: Alignment,
) -> Calibration | None:
    """Reliability of word confidences, or else of example confidences. A word that the normalizer splits hands its
    confidence to the parts."""
    if words:
        values: list[float] = []
        right: list[bool] = []
        for name, reference in zip(ids, references, strict=True):
            spoken = [
                (part, confidence) for word, confidence in words.get(name, ()) for part in normalize(word).split()
            ]
            values += [confidence for _, confidence in spoken]
            right += words_correct(reference, [part for part, _ in spoken], alignment)
        if values:
            return calibrate(values, right, "words")
    if confidences:
        chosen = [index for index, name in enumerate(ids) if name in confidences]
        return calibrate([confidences[ids[i]] for i in chosen], counts.correct[chosen], "examples")
    return None
