"""Local Hugging Face datasets with an audio or an image column: a `save_to_disk` folder, or Parquet files.

Media that the tables hold are written to files; those that they name are used where they lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctcrec.corpora.collecting import Collector, Kind, kind_of
from ctcrec.corpora.files import MediaFolder, Unusable, find_files, read_json, write_medium
from ctcrec.corpora.prepared import Prepared
from ctcrec.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["prepare"]

_TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_transcription", "label")
_MEDIA_COLUMNS: Mapping[str, Kind] = {"audio": "utterances", "image": "lines"}
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
_ID_COLUMNS = ("id", "utterance_id", "segment_id")
_SHARD = re.compile(r"(.+?)-\d+-of-\d+")
_ROWS = 64  # read at a time: audio is large
_MAGIC = (
    (b"RIFF", ".wav"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\x89PNG", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a table has what."""

    medium: str
    kind: Kind
    text: str
    id: str | None
    speaker: str | None
    language: str | None


def prepare(
    source: Path,
    out: Path,
    text_column: str | None = None,
    media_column: str | None = None,
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """The dataset's splits; media inside the tables are written to `out/media/<split>/`.

    Args:
        source: a folder of `save_to_disk` (one split or several), a folder with Parquet files, or one such file.
        out: the folder of the manifests.
        text_column: None = the first of the usual names (text, sentence, transcription, ...).
        media_column: None = the only audio or image column.
        media: a second folder that files named in the tables may be in.
        done: called with the number of rows looked at.

    Ids are those of a string column `id`, else `<split>-<row>`.

    Raises:
        CorpusError: no dataset is there, a file is damaged, a column is missing, or `out` cannot be written.
    """
    files = _find_tables(source)
    folder = MediaFolder(source if source.is_dir() else source.parent, media)
    collector = Collector(done)
    for split, paths in files.items():
        collector.splits[split] = []
        row = 0
        for path in paths:
            for table in _read_tables(path):
                columns = _choose_columns(table.schema, path, text_column, media_column)
                for values in _rows(table, columns, path):
                    _add(collector, split, row, values, columns, folder, out)
                    row += 1
    return collector.prepared()


def _find_tables(source: Path) -> dict[str, list[Path]]:
    """Files by split, in the order of their rows."""
    if source.is_file():
        return {_split_of(source): [source]}
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder or file; name a datasets folder or a .parquet file")
    if (source / "dataset_dict.json").is_file():
        names = read_json(source / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CorpusError(f"{source / 'dataset_dict.json'}: expected a list of names under splits")
        return {_split_name(name, source): _state_files(source / name) for name in names}
    if (source / "state.json").is_file():
        return {"all": _state_files(source)}
    files: dict[str, list[Path]] = {}
    for path in find_files(source, (".parquet",)):
        files.setdefault(_split_of(path), []).append(path)
    if not files:
        raise CorpusError(f"{source}: neither a dataset of save_to_disk (state.json) nor .parquet files are in it")
    return files


def _state_files(folder: Path) -> list[Path]:
    state = folder / "state.json"
    listed = read_json(state).get("_data_files")
    if not isinstance(listed, list):
        raise CorpusError(f"{state}: expected the names of the .arrow files under _data_files")
    inside = MediaFolder(folder)
    paths = []
    for item in listed:
        name = item.get("filename") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise CorpusError(f"{state}: expected _data_files with a filename each, got {str(item)[:60]!r}")
        try:
            paths.append(inside.find(name))
        except Unusable as reason:
            raise CorpusError(f"{state}: {name[:100]!r} {reason}") from None
    return paths


def _split_of(path: Path) -> str:
    """`train` of train-00000-of-00002.parquet, of train/0000.parquet and of train.parquet."""
    match = _SHARD.fullmatch(path.stem)
    name = match[1] if match else path.parent.name if path.stem.isdecimal() else path.stem
    return _split_name(name or "all", path)


def _split_name(name: str, where: Path) -> str:
    if re.fullmatch(r"[\w.-]*\w[\w.-]*", name) is None:
        raise CorpusError(f"{where}: {name[:60]!r} cannot name a split; use letters, digits, - and _")
    return name


def _read_tables(path: Path) -> Iterator[pa.RecordBatch]:
    """Parts of a Parquet or Arrow file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.name.lower().endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS):
                    yield _valid(batch)
        else:
            with pa.OSFile(str(path)) as stream, pa.ipc.open_stream(stream) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, _ROWS):
                        yield _valid(batch.slice(start, _ROWS))
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        raise CorpusError(f"{path}: is damaged or no Parquet or Arrow data ({error}); fetch it again") from None


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    batch.validate(full=True)  # Arrow trusts offsets in its files otherwise
    return batch


def _choose_columns(schema: pa.Schema, path: Path, text: str | None, media: str | None) -> _Columns:
    import pyarrow as pa

    strings = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    kinds = _media_columns(schema)
    medium = media if media is not None else next(iter(kinds), None)
    if medium is None or medium not in schema.names or (media is None and len(kinds) > 1):
        raise CorpusError(
            f"{path}: expected one audio or image column, found {', '.join(kinds) or 'none'} among"
            f" {', '.join(schema.names)}; choose it with --media-column"
        )
    chosen = text if text is not None else next((name for name in _TEXT_COLUMNS if name in strings), None)
    if chosen is None or chosen not in strings:
        raise CorpusError(
            f"{path}: {f'no text column {text!r}' if text else 'no usual text column'}; choose one of"
            f" {', '.join(strings) or 'none'} with --text-column"
        )

    def first(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in schema.names), None)

    kind = kinds.get(medium) or ("lines" if "image" in medium else "utterances")
    return _Columns(medium, kind, chosen, first(_ID_COLUMNS), first(_SPEAKER_COLUMNS), first(("language", "locale")))


def _media_columns(schema: pa.Schema) -> dict[str, Kind]:
    """Kind by column: as the dataset's own features say, else structs of bytes and path with a telling name."""
    import pyarrow as pa

    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {
            name: _MEDIA_COLUMNS[str(feature["_type"]).lower()]
            for name, feature in features.items()
            if isinstance(feature, dict) and str(feature.get("_type")).lower() in _MEDIA_COLUMNS
        }
        if kinds := {name: kind for name, kind in kinds.items() if name in schema.names}:
            return kinds
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        pass  # written by something else than datasets
    return {
        field.name: kind
        for field in schema
        for word, kind in _MEDIA_COLUMNS.items()
        if word in field.name.lower() and (pa.types.is_struct(field.type) or pa.types.is_binary(field.type))
    }


def _rows(batch: pa.RecordBatch, columns: _Columns, path: Path) -> Iterator[dict[str, Any]]:
    names = [columns.medium, columns.text, columns.id, columns.speaker, columns.language]
    chosen = [name for name in dict.fromkeys(names) if name is not None]
    try:
        yield from batch.select(chosen).to_pylist()
    except (ValueError, KeyError, OverflowError) as error:
        raise CorpusError(f"{path}: has values that are no text or no media ({error}); write it again") from None


def _add(
    collector: Collector,
    split: str,
    row: int,
    values: Mapping[str, Any],
    columns: _Columns,
    folder: MediaFolder,
    out: Path,
) -> None:
    identifier = values.get(columns.id) if columns.id else None
    speaker = values.get(columns.speaker) if columns.speaker else None
    language = values.get(columns.language) if columns.language else None
    fields: dict[str, Any] = {"speaker" if columns.kind == "utterances" else "writer": _name(speaker)}
    medium = values[columns.medium]
    collector.add(
        split,
        identifier if isinstance(identifier, str) and identifier else f"{split}-{row:06d}",
        lambda: _file(medium, folder, out / "media" / split / f"{row:06d}", columns.kind),
        values[columns.text],
        columns.kind,
        language=language if isinstance(language, str) and language else None,
        **fields,
    )


def _name(value: Any) -> str | None:
    """A speaker's name or number."""
    return str(value) if isinstance(value, str | int) and value != "" else None


def _file(medium: Any, folder: MediaFolder, target: Path, kind: Kind) -> Path:
    """The file of a cell: the bytes in it, written beside the manifests, or else the path in it."""
    data, name = (medium.get("bytes"), medium.get("path")) if isinstance(medium, dict) else (medium, None)
    if not isinstance(data, bytes):
        if isinstance(name, str):
            return folder.find(name)
        raise Unusable("has neither bytes nor a path of a medium")
    if not data:
        raise Unusable("its medium is empty (0 bytes)")
    return write_medium(target.with_name(target.name + _ending(data, name, kind)), data)


def _ending(data: bytes, name: Any, kind: Kind) -> str:
    """An ending for people to recognize; readers look at the content."""
    for magic, ending in _MAGIC:
        if data.startswith(magic):
            return ending
    try:
        return Path(str(name)).suffix.lower() if kind_of(str(name)) == kind else ""
    except Unusable:
        return ".audio" if kind == "utterances" else ".image"
