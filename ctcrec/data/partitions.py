"""Partitions of one corpus that must not be mixed, and the text conventions of manifests.

Two keys that `ctcrec prepare` writes where a corpus needs them: `text_convention`, because it changes the score, and
`partition` as `corpus:name`, because two partitions of one corpus overlap and must not be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ctcrec.errors import ManifestError

if TYPE_CHECKING:  # `ctcrec score` has no use for torch
    from ctcrec.records import Example

__all__ = ["check_partitions", "text_conventions"]


def text_conventions(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The conventions that the texts were written after, sorted; `?` for rows that name none beside some that do.

    `rows` have the key where a manifest has it: `Example.extra`, or the fields of a reference.
    """
    found = {row.get("text_convention") for row in rows}
    names = {value if isinstance(value, str) else "?" for value in found}
    return () if names == {"?"} else tuple(sorted(names))


def check_partitions(examples: Iterable[Example]) -> None:
    """Make sure that the examples of a corpus all come from one of its partitions.

    Raises:
        ManifestError: two partitions of a corpus are mixed; names an example of each.
    """
    seen: dict[str, tuple[str, str]] = {}
    for example in examples:
        partition = example.extra.get("partition")
        if isinstance(partition, str) and ":" in partition:
            corpus, _, name = partition.partition(":")
            first, first_id = seen.setdefault(corpus, (name, example.id))
            if first != name:
                raise ManifestError(
                    f"{example.id} is from the {corpus} split {name!r} and {first_id} from {first!r}; these splits"
                    " overlap, so what one trains on is in the test set of the other: use one of the two throughout"
                )
