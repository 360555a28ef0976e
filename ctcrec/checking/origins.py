"""Where examples come from, as far as their manifests say: splits that must not be mixed, and text conventions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ctcrec.checking.findings import Finding, Gathered
from ctcrec.records import Example

__all__ = ["Origins"]


class Origins:
    """Takes the examples one by one and tells what should not be together; see `ctcrec.data.partitions`."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Gathered]] = defaultdict(dict)  # by corpus
        self._conventions: dict[str, Gathered] = {}

    def add(self, manifest: str, example: Example) -> None:
        """One more example."""
        partition, convention = example.extra.get("partition"), example.extra.get("text_convention")
        if isinstance(partition, str) and ":" in partition:
            corpus, _, name = partition.partition(":")
            self._partitions[corpus].setdefault(name, Gathered()).add(manifest, example.id)
        if isinstance(convention, str):
            self._conventions.setdefault(convention, Gathered()).add(manifest, example.id)

    def findings(self) -> Iterator[Finding]:
        """What all examples together show."""
        for corpus, parts in self._partitions.items():
            if len(parts) > 1:
                yield _rarest(parts).finding(
                    "partition",
                    f"the {corpus} splits {_counts(parts)} overlap, so what one trains on is in the test set of the"
                    " other, and training refuses both together; use one of them throughout",
                )
        if len(self._conventions) > 1:
            yield _rarest(self._conventions).finding(
                "convention",
                f"texts are written after {_counts(self._conventions)}, so what is learned from one is an error in the"
                " other; prepare all with one convention",
            )


def _rarest(parts: dict[str, Gathered]) -> Gathered:
    return min(parts.values(), key=lambda gathered: gathered.count)


def _counts(parts: dict[str, Gathered]) -> str:
    return " and ".join(f"{name} ({gathered.count} examples)" for name, gathered in parts.items())
