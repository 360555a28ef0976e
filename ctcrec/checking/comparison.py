"""What only shows when examples are compared: the same content twice, what manifests share, outliers, mixtures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ctcrec.checking.findings import Finding, Gathered
from ctcrec.checking.media import Medium

__all__ = ["Entry", "compare"]

_FEWEST = 20  # examples from which outliers can be told
_DEVIATIONS = 6.0  # robust standard deviations, and
_FACTOR = 2.5  # times the median, from which a text is unusually long or short for its medium
_HEIGHT_FACTOR = 2.0  # times the median, from which an image is unusually high or low


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of an example until all are read.

    Attributes:
        manifest, id, speaker, writer: as in the manifest.
        place: the file and the part of it.
        text: hash of the text.
        characters: of the text.
        seconds: that the example lasts, for utterances.
        medium: what was found in its file.
    """

    manifest: str
    id: str
    speaker: str | None
    writer: str | None
    place: Hashable
    text: int
    characters: int
    seconds: float | None
    medium: Medium


def compare(entries: Sequence[Entry]) -> Iterator[Finding]:
    """All findings about examples beside each other."""
    yield from _same_content(entries)
    yield from _shared(entries, "shared-id", "id", lambda entry: entry.id)
    yield from _shared(entries, "shared-speaker", "speaker", lambda entry: entry.speaker)
    yield from _shared(entries, "shared-writer", "writer", lambda entry: entry.writer)
    for unit, extent in _EXTENTS.items():
        yield from _unusual_density(entries, unit, extent)
    yield from _mixed_rates(entries)
    yield from _mixed_heights(entries)
    yield from _mixed_polarity(entries)


def _same_content(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Equal samples or pixels; where only headers were read, the same part of the same file."""
    groups: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.medium.error is None:
            groups[entry.medium.digest or entry.place].append(entry)
    for group in groups.values():
        if len(group) < 2:
            continue
        manifests = {entry.manifest for entry in group}
        kind = "shared-content" if len(manifests) > 1 else "duplicate"
        texts = "" if len({entry.text for entry in group}) == 1 else " with different texts"
        where = f"in {' and '.join(sorted(manifests))}" if len(manifests) > 1 else ""
        advice = "keep one" if len(manifests) == 1 else "take them out of all but one, or the results are too good"
        yield _gather(group).finding(kind, f"have the same content{texts} {where}".rstrip() + f"; {advice}")


def _shared(
    entries: Sequence[Entry], kind: str, what: str, value_of: Callable[[Entry], str | None]
) -> Iterator[Finding]:
    """A value that occurs in more than one manifest."""
    manifests: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        value = value_of(entry)
        if value is not None:
            manifests[value].add(entry.manifest)
    shared = {value for value, names in manifests.items() if len(names) > 1}
    gathered: dict[str, Gathered] = defaultdict(Gathered)
    for entry in entries:
        value = value_of(entry)
        if value in shared:
            assert value is not None
            gathered[value].add(entry.manifest, entry.id)
    advice = {
        "id": "they cannot be trained on together; rename one of them",
        "speaker": "results on known voices are too good; split with `ctcrec prepare split --by speaker`",
        "writer": "results on known hands are too good; split with `ctcrec prepare split --by writer`",
    }[what]
    for value, group in gathered.items():
        yield group.finding(kind, f"{what} {value!r} is in {' and '.join(sorted(manifests[value]))}: {advice}")


def _line_heights(entry: Entry) -> float | None:
    """Width of an image in units of its height, so that the resolution of a scan does not count."""
    width, height = entry.medium.width, entry.medium.height
    return width / height if width and height else None


_EXTENTS: dict[str, Callable[[Entry], float | None]] = {
    "second": lambda entry: entry.seconds,
    "height of the line": _line_heights,
}


def _unusual_density(
    entries: Sequence[Entry], unit: str, extent_of: Callable[[Entry], float | None]
) -> Iterator[Finding]:
    """Characters per unit far from the median, on a logarithmic scale, by the median absolute deviation."""
    found = [
        (entry, entry.characters / extent)
        for entry in entries
        if entry.characters and entry.medium.error is None and (extent := extent_of(entry))
    ]
    if len(found) < _FEWEST:
        return
    logarithms = np.log([density for _, density in found])
    median = float(np.median(logarithms))
    deviation = 1.4826 * float(np.median(np.abs(logarithms - median)))
    limit = max(_DEVIATIONS * deviation, float(np.log(_FACTOR)))
    for (entry, density), logarithm in zip(found, logarithms, strict=True):
        if abs(logarithm - median) > limit:
            which = "long" if logarithm > median else "short"
            yield _gather([entry]).finding(
                "density",
                f"{entry.characters} characters are unusually {which} here: {density:.2f} a {unit}, and the median is"
                f" {np.exp(median):.2f}; see whether this is the text of this medium, and where the medium is cut",
            )


def _mixed_rates(entries: Sequence[Entry]) -> Iterator[Finding]:
    counts = Counter(entry.medium.rate for entry in entries if entry.medium.rate)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        others = [entry for entry in entries if entry.medium.rate not in (None, usual)]
        shown = ", ".join(f"{rate} Hz in {count}" for rate, count in counts.most_common())
        yield _gather(others).finding(
            "rates", f"sample rates differ: {shown}; all are resampled, and what was recorded at less lacks high tones"
        )


def _mixed_heights(entries: Sequence[Entry]) -> Iterator[Finding]:
    heights = [entry.medium.height for entry in entries if entry.medium.height]
    if not heights:
        return
    median = float(np.median(heights))
    odd = [
        entry
        for entry in entries
        if entry.medium.height and not median / _HEIGHT_FACTOR < entry.medium.height < median * _HEIGHT_FACTOR
    ]
    if odd:
        yield _gather(odd).finding(
            "heights",
            f"{len(odd)} images are at least {_HEIGHT_FACTOR:g} times higher or lower than the median of {median:g}"
            f" pixels (all: {min(heights)} to {max(heights)}); see whether they show one line, cut like the others",
        )


def _mixed_polarity(entries: Sequence[Entry]) -> Iterator[Finding]:
    sides = {side: [entry for entry in entries if entry.medium.inverted is side] for side in (False, True)}
    if all(sides.values()):
        fewer = min(sides.values(), key=len)
        yield _gather(fewer).finding(
            "polarity",
            f"dark ink on light paper in {len(sides[False])} images, light on dark in {len(sides[True])}; each is"
            " turned by what it shows, so look at the rarer kind, whether it was told right",
        )


def _gather(entries: Sequence[Entry]) -> Gathered:
    gathered = Gathered()
    for entry in entries:
        gathered.add(entry.manifest, entry.id)
    return gathered
