"""Mozilla Common Voice, one language of a release: `train.tsv`, `dev.tsv`, `test.tsv` and `clips/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ctcrec.corpora.collecting import Collector
from ctcrec.corpora.files import MediaFolder, Unusable
from ctcrec.corpora.prepared import Prepared
from ctcrec.corpora.tables import read_table
from ctcrec.errors import CorpusError

__all__ = ["prepare"]

_USUAL = ("train", "dev", "test")  # `validated` contains these; `other` and `invalidated` are not for training
_KEPT = ("gender", "age", "accents", "accent", "variant", "segment")


def prepare(
    source: Path,
    subsets: Sequence[str] | None = None,
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """One split for each of `subsets` (None = those of train, dev and test that are there).

    Speakers are `client_id`, languages `locale`, ids the clips' names. `media`: a second folder that `clips/` may be
    in.

    Raises:
        CorpusError: a table is missing or malformed (names the line).
    """
    chosen = list(subsets) if subsets else [name for name in _USUAL if (source / f"{name}.tsv").is_file()]
    if not chosen:
        raise CorpusError(
            f"{source}: none of {', '.join(f'{name}.tsv' for name in _USUAL)} is in it; name the folder of"
            " one language, or a --subset"
        )
    folder = MediaFolder(source, media)
    collector = Collector(done)
    for name in chosen:
        collector.splits[name] = []
        for _, row in read_table(source / f"{name}.tsv", ("client_id", "path", "sentence")):
            collector.add(
                name,
                row["path"].removesuffix(".mp3"),
                partial(_file, folder, row["path"]),
                row["sentence"],
                "utterances",
                speaker=row["client_id"] or None,
                language=row.get("locale") or None,
                extra={key: row[key] for key in _KEPT if row.get(key)},
            )
    return collector.prepared()


def _file(folder: MediaFolder, name: str) -> Path:
    try:
        return folder.find(f"clips/{name}")
    except Unusable:
        return folder.find(f"clips/{name}.mp3")  # the first releases left the ending out
