"""Work on manifests that are there already: merge them, keep a part by conditions, draw a sample, split by group.

Nothing here depends on the order of the rows: a sample and a split are decided by hashes of ids and of groups, so that
adding examples moves none of those there were.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ctcrec.corpora.prepared import LeftOut, Prepared
from ctcrec.corpora.splits import by_fraction, group_of, hash_fraction
from ctcrec.data.manifest import iterate_manifest
from ctcrec.data.partitions import check_partitions
from ctcrec.errors import CorpusError, InputError
from ctcrec.records import Example

__all__ = ["Condition", "by_group", "by_text", "filter_examples", "merge", "sample", "split_by_group", "within"]

Condition = Callable[[Example], str | None]
"""Example → why it is left out, or None to keep it."""


def merge(paths: Sequence[Path], name: str) -> Prepared:
    """All examples of several manifests as one split called `name`, in the order given.

    An example that is there twice with the same content is taken once.

    Raises:
        ManifestError: see `ctcrec.data.manifest`, and `ctcrec.data.partitions`.
        CorpusError: two examples have one id and differ in anything; the message says in what.
    """
    merged: dict[str, tuple[Example, Path]] = {}
    left_out = []
    for path in paths:
        for example in iterate_manifest(path):
            there = merged.setdefault(example.id, (example, path))
            if there[0] is example:
                continue
            differing = _differences(there[0], example)
            if differing:
                raise CorpusError(
                    f"{path}: id {example.id!r} is also in {there[1]}, with another {', '.join(differing)}; give one of"
                    " them another id, or leave it out with `ctcrec prepare filter --without-id`"
                )
            left_out.append(LeftOut(example.id, "is there twice, with the same content"))
    examples = [example for example, _ in merged.values()]
    check_partitions(examples)
    return Prepared({name: examples}, left_out)


def filter_examples(examples: Sequence[Example], conditions: Sequence[Condition], name: str) -> Prepared:
    """The examples that meet all conditions, as one split called `name`; the others are left out with their reasons.

    Raises:
        InputError: there are no conditions.
        CorpusError: an example lacks what a condition asks for.
    """
    if not conditions:
        raise InputError("nothing to filter by; give at least one condition, for example --max-duration 20")
    kept, left_out = [], []
    for example in examples:
        reason = next((why for condition in conditions if (why := condition(example)) is not None), None)
        if reason is None:
            kept.append(example)
        else:
            left_out.append(LeftOut(example.id, reason))
    return Prepared({name: kept}, left_out)


def within(quantity: str, low: float | None, high: float | None) -> Condition:
    """Keep examples whose `duration` (seconds), `width`, `height` (pixels) or `characters` are in [low, high].

    Raises:
        InputError: there is no such quantity, or `low` is above `high`.
    """
    if quantity not in _QUANTITIES:
        raise InputError(f"{quantity!r} cannot be filtered by; there are: {', '.join(_QUANTITIES)}")
    if low is not None and high is not None and low > high:
        raise InputError(f"no {quantity} is both at least {low:g} and at most {high:g}")

    def condition(example: Example) -> str | None:
        value = _quantity(example, quantity)
        if low is not None and value < low:
            return f"{quantity} is below {low:g}"
        return f"{quantity} is above {high:g}" if high is not None and value > high else None

    return condition


def by_text(pattern: str, wanted: bool = True) -> Condition:
    """Keep examples in whose text a regular expression is found, or is not found.

    Raises:
        InputError: `pattern` is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}") from None
    reason = f"text {'does not match' if wanted else 'matches'} {pattern}"
    return lambda example: None if bool(compiled.search(_text(example))) == wanted else reason


def by_group(patterns: Sequence[str], wanted: bool = True, key: str = "speaker") -> Condition:
    """Keep examples by name or shell pattern (`*`, `?`, `[...]`) of their `key`: id, speaker, writer, or another key.

    An example without that key matches no pattern.
    """
    reason = f"{key} is {'not ' if wanted else ''}{' or '.join(patterns)}"

    def condition(example: Example) -> str | None:
        value = _group(example, key)
        matches = value is not None and any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
        return None if matches == wanted else reason

    return condition


def sample(
    examples: Sequence[Example], name: str, count: int | None = None, hours: float | None = None, seed: int = 1
) -> Prepared:
    """So many examples, or as many as fit so many hours, drawn by a hash of seed and id; in the order of the manifest.

    A larger sample with the same seed contains the smaller one.

    Raises:
        InputError: not exactly one of `count` and `hours` is given, or there is less than that.
        CorpusError: hours are asked for and an example has no duration.
    """
    if (count is None) == (hours is None):
        raise InputError("a sample needs either a count or hours")
    ranked = sorted(examples, key=lambda example: (hash_fraction(f"{seed}:{example.id}"), example.id))
    if count is not None:
        if count > len(ranked):
            raise InputError(f"a sample of {count} examples was asked for, and only {len(ranked)} are there")
        chosen = ranked[:count]
    else:
        assert hours is not None
        chosen = _fill(ranked, 3600 * hours)
    wanted = {example.id for example in chosen}
    return Prepared({name: [example for example in examples if example.id in wanted]})


def split_by_group(
    examples: Sequence[Example], fractions: Mapping[str, float], key: str | None = None, seed: int = 0
) -> Prepared:
    """Whole groups go to splits by a hash of their name, so never by the order or number of the rows.

    Args:
        examples: what to split.
        fractions: share of each split, met on average; few groups can be far from it.
        key: what a group is: "speaker", "writer", "folder" (the first of the id: the book), "id" (each example alone),
            or another key of the rows, such as "book"; None = speaker or writer, whichever the rows have.
        seed: another seed draws another split; 0 gives what `prepare pairs --split folders:...` gives.

    Raises:
        CorpusError: an example has no such key, a split remains empty, or a speaker or writer would be in two splits.
        InputError: the fractions are impossible.
    """
    assign = by_fraction(fractions).assign
    splits: dict[str, list[Example]] = {name: [] for name in fractions}
    left_out, groups = [], set()
    for example in examples:
        group = example.group if key is None else _group(example, key)
        if group is None:
            raise CorpusError(
                f"example {example.id!r}: has no {key or 'speaker or writer'}; choose with --by what must stay"
                " together: speaker, writer, folder (the first of the id), another key of the rows, or id"
            )
        groups.add(group)
        name = assign(f"{seed}:{group}" if seed else group)
        if name is None:
            left_out.append(LeftOut(example.id, "is in no split"))
        else:
            splits[name].append(example)
    _check_splits(splits, len(groups))
    return Prepared(splits, left_out)


_QUANTITIES = ("duration", "width", "height", "characters")


def _check_splits(splits: Mapping[str, Sequence[Example]], groups: int) -> None:
    """Refuse splits without examples, and speakers and writers in two splits."""
    seen: dict[tuple[str, str], str] = {}
    for name, examples in splits.items():
        if not examples:
            raise CorpusError(
                f"no example came into {name}: {groups} groups are too few for its share; give it more, another --seed,"
                " or choose its groups with `ctcrec prepare filter --speaker`"
            )
        for example in examples:
            for kind, who in (("speaker", example.speaker), ("writer", example.writer)):
                if who is not None and seen.setdefault((kind, who), name) != name:
                    raise CorpusError(
                        f"{kind} {who!r} would be in {seen[kind, who]} and in {name} (example {example.id!r}), so the"
                        f" results would be too good; split --by {kind}"
                    )


def _fill(ranked: Sequence[Example], seconds: float) -> list[Example]:
    """The first of `ranked` that together last no longer than `seconds`."""
    chosen: list[Example] = []
    total = 0.0
    for example in ranked:
        total += _quantity(example, "duration")
        if total > seconds + 1e-6:
            return chosen
        chosen.append(example)
    if total < seconds - 1e-6:
        raise InputError(f"{seconds / 3600:g} hours were asked for, and only {total / 3600:.3f} are there")
    return chosen


def _quantity(example: Example, quantity: str) -> float:
    if quantity == "characters":
        return len(_text(example))
    value = getattr(example, quantity)
    if quantity == "duration":
        end = example.end if example.end is not None else value
        value = None if end is None else end - (example.start or 0.0)
    if value is None:
        raise CorpusError(f"example {example.id!r}: has no {quantity}; prepare its corpus again, or add it to its row")
    return float(value)


def _text(example: Example) -> str:
    if example.text is None:
        raise CorpusError(f"example {example.id!r}: has no text; remove its row, or add it")
    return example.text


def _group(example: Example, key: str) -> str | None:
    """The value of a key, as text; None where the example lacks it."""
    if key == "folder":
        return group_of(example.id)
    if key in ("id", "speaker", "writer", "language"):
        return getattr(example, key)
    value = example.extra.get(key)
    return None if value is None else str(value)


def _differences(left: Example, right: Example) -> list[str]:
    """Names of the fields in which two examples differ; sources count as the file that they name."""
    pair = [replace(example, source=Path(os.path.abspath(example.source))) for example in (left, right)]
    names = [name for name in Example.__dataclass_fields__ if getattr(pair[0], name) != getattr(pair[1], name)]
    if "extra" in names:
        extras = [dict(example.extra) for example in pair]
        names.remove("extra")
        names += sorted(key for key in extras[0] | extras[1] if extras[0].get(key) != extras[1].get(key))
    return names
