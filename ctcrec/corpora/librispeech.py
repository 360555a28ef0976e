"""LibriSpeech (Panayotov et al. 2015): read English speech, `<subset>/<speaker>/<chapter>/*.flac` and `*.trans.txt`.

Mini LibriSpeech and re-encoded copies (.opus, .wav) have the same layout. Each subset becomes one split. Text is kept
as it is: upper case, words and apostrophes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ctcrec.corpora.files import MediaFolder, Unusable, read_lines
from ctcrec.corpora.prepared import LeftOut, Prepared
from ctcrec.errors import CorpusError, MediaError
from ctcrec.records import Example
from ctcrec.speech.media import probe_audio

__all__ = ["SUBSETS", "download", "prepare"]

SUBSETS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)
_ENDINGS = (".flac", ".opus", ".wav")  # the first that is there is taken


def download(subset: str, target: Path) -> Path:
    """Fetch one of `SUBSETS` with torchaudio and unpack it below `target`; returns the corpus folder for `prepare`.

    A subset that is already there is not fetched again.

    Raises:
        CorpusError: the subset is unknown, or the download or unpacking failed.
    """
    if subset not in SUBSETS:
        raise CorpusError(f"{subset}: LibriSpeech has no such subset; choose one of {', '.join(SUBSETS)}")
    try:
        from torchaudio.datasets import LIBRISPEECH

        target.mkdir(parents=True, exist_ok=True)
        LIBRISPEECH(str(target), url=subset, folder_in_archive="LibriSpeech", download=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ImportError,
    ) as error:  # URLError is an OSError; a wrong hash, RuntimeError
        raise CorpusError(
            f"{target}: LibriSpeech {subset} could not be fetched: {error}; check the network and the disk and repeat,"
            " or fetch the archive from https://www.openslr.org/12 yourself, unpack it, and prepare that folder"
        ) from None
    return target / "LibriSpeech"


def prepare(
    source: Path,
    subsets: Sequence[str] | None = None,
    media: Path | None = None,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """Examples of a LibriSpeech tree, one split a subset, in the order of their ids.

    `source` is the folder that holds the subsets (or one that holds `LibriSpeech/`); `subsets` None = all that are
    there; `media` is a second folder that links in the tree may lead to; `done` is called with the number of examples
    so far. `extra` has the chapter, and the speaker's sex where `SPEAKERS.TXT` is there. Utterances without audio,
    without transcript or with unreadable audio, and links that lead out of the tree, are left out.

    Raises:
        CorpusError: the tree is not laid out like LibriSpeech, a subset is not there, or a text file is malformed.
    """
    root = _root(source)
    present = sorted(
        folder.name for folder in root.iterdir() if folder.is_dir() and any(folder.glob("*/*/*.trans.txt"))
    )
    if not present:
        raise CorpusError(
            f"{source}: no <subset>/<speaker>/<chapter>/*.trans.txt below it; expected a LibriSpeech tree"
        )
    wanted = list(subsets) if subsets else present
    for subset in wanted:
        if subset not in present:
            raise CorpusError(f"{root}: the subset {subset!r} is not there; there are {', '.join(present)}")
    sexes = _read_sexes(root / "SPEAKERS.TXT")
    folder = MediaFolder(root, media)
    left_out: list[LeftOut] = []
    splits: dict[str, list[Example]] = {}
    for subset in wanted:
        splits[subset] = []
        for example in _read_subset(root / subset, sexes, folder, left_out):
            splits[subset].append(example)
            if done is not None:
                done(sum(map(len, splits.values())))
    return Prepared(splits, left_out)


def _root(source: Path) -> Path:
    for root in (source, source / "LibriSpeech"):
        if root.is_dir() and (root.name == "LibriSpeech" or any(root.glob("*/*/*/*.trans.txt"))):
            return root
    if source.is_dir():
        raise CorpusError(
            f"{source}: no <subset>/<speaker>/<chapter>/*.trans.txt below it; expected a LibriSpeech tree"
        )
    raise CorpusError(f"{source}: no such folder; name the folder that holds the subsets, or use --download")


def _read_sexes(path: Path) -> dict[str, str]:
    """Sex by speaker, from rows `ID | SEX | SUBSET | MINUTES | NAME`; empty where there is no such file."""
    if not path.is_file():
        return {}
    sexes = {}
    for number, line in read_lines(path):
        if not line.strip() or line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|", 4)]
        if len(fields) < 3 or fields[1] not in ("F", "M"):
            raise CorpusError(
                f"{path}:{number}: expected ID | SEX | SUBSET | MINUTES | NAME with SEX F or M; got {line!r}"
            )
        sexes[fields[0]] = fields[1]
    return sexes


def _read_subset(
    subset: Path, sexes: dict[str, str], folder: MediaFolder, left_out: list[LeftOut]
) -> Iterator[Example]:
    for chapter in sorted(path for path in subset.glob("*/*") if path.is_dir()):
        files = _files(chapter, folder, left_out)
        speaker = chapter.parent.name
        extra: dict[str, Any] = {"chapter": chapter.name}
        if speaker in sexes:
            extra["sex"] = sexes[speaker]
        audio = _audio_files(files)
        for identifier, text in sorted(_transcripts(files, chapter, left_out).items()):
            path = audio.pop(identifier, None)
            if path is None:
                left_out.append(LeftOut(identifier, f"has a transcript and no audio ({', '.join(_ENDINGS)})"))
            elif not text:
                left_out.append(LeftOut(identifier, "has an empty transcript"))
            else:
                try:
                    duration = probe_audio(path).duration
                except MediaError as error:
                    left_out.append(LeftOut(identifier, str(error).removeprefix(f"{path}: ")))
                    continue
                yield Example(identifier, path, text, duration=duration, speaker=speaker, language="en", extra=extra)
        left_out.extend(LeftOut(identifier, "has audio and no transcript") for identifier in sorted(audio))


def _files(chapter: Path, folder: MediaFolder, left_out: list[LeftOut]) -> list[Path]:
    """The files of a chapter, without those to which links lead out of the tree."""
    files = []
    for path in sorted(chapter.iterdir()):
        try:
            files.append(folder.check(path))
        except Unusable as reason:
            left_out.append(LeftOut(path.name, str(reason)))
    return files


def _audio_files(files: Sequence[Path]) -> dict[str, Path]:
    return {path.stem: path for ending in reversed(_ENDINGS) for path in files if path.suffix.lower() == ending}


def _transcripts(files: Sequence[Path], chapter: Path, left_out: list[LeftOut]) -> dict[str, str]:
    """Text by utterance id, from rows `<id> <TEXT>`."""
    texts: dict[str, str] = {}
    for path in (path for path in files if path.name.endswith(".trans.txt")):
        for number, line in read_lines(path):
            identifier, _, text = line.strip().partition(" ")
            if not identifier:
                continue
            if not identifier.startswith(f"{chapter.parent.name}-{chapter.name}-"):
                left_out.append(LeftOut(f"{path}:{number}", "transcript row does not start with <speaker>-<chapter>-"))
            elif identifier in texts:
                raise CorpusError(f"{path}:{number}: {identifier} has a second transcript; remove one of the two")
            else:
                texts[identifier] = text.strip()
    return texts
