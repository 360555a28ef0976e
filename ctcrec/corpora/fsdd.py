"""Free Spoken Digit Dataset: isolated digits `<digit>_<speaker>_<index>.wav|flac`, and digit strings made of them.

The official rule: the clips with index 0 to 4 are the test set, the others are for training. A tenth of each speaker's
training clips of each digit, those with the highest indices, are kept for validation.

A digit string is 3 to 8 clips of one speaker with random gaps and gains over low background noise. Every string is
drawn from (seed, split, number), so that asking for more strings keeps those there were.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctcrec.corpora.prepared import LeftOut, Prepared
from ctcrec.errors import CorpusError, InputError, MediaError
from ctcrec.records import Example
from ctcrec.speech.augmentation import colored_noise
from ctcrec.speech.media import load_audio, probe_audio

__all__ = ["WORDS", "prepare"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAMPLE_RATE = 8000
TEST_INDICES = range(5)

_NAME = re.compile(r"(\d)_([a-z0-9-]+)_(\d+)\.(wav|flac)", re.IGNORECASE)
_GAP = (0.0, 0.5)  # seconds between two clips
_MARGIN = (0.05, 0.5)  # seconds before the first and after the last
_GAIN_DB = 10.0  # of a string
_CLIP_GAIN_DB = 3.0  # of a clip in it
_NOISE_SNR_DB = (15.0, 60.0)
_QUIET = 0.2  # share of strings without noise, with digital silence in the gaps
_FADE = 0.004  # seconds at a clip's borders, against clicks


@dataclass(frozen=True, slots=True)
class _Clip:
    speaker: str
    digit: int
    index: int
    path: Path


def prepare(
    source: Path,
    out: Path,
    *,
    strings: int = 2000,
    test_strings: int = 300,
    lengths: tuple[int, int] = (3, 8),
    leave_out: str | None = None,
    seed: int = 1,
    done: Callable[[int], None] | None = None,
) -> Prepared:
    """Splits `train`, `valid`, `test`, and `test-<speaker>` for a speaker left out of the others.

    Args:
        source: folder of the clips, or one with a `recordings` folder.
        out: where the strings are written, as `out/audio/<split>/*.flac` (8 kHz).
        strings: digit strings for training; 0 = isolated digits only, in all splits, and nothing is written.
        test_strings: digit strings of each of the other splits.
        lengths: fewest and most digits of a string.
        leave_out: a speaker whose clips (all indices) are used in `test-<speaker>` only.
        seed: of all random choices.
        done: called with the number of strings written, for progress.

    Raises:
        CorpusError: no clips, an unknown speaker, or a split without clips; or `out` cannot be written.
        InputError: a number is out of range.
    """
    if strings < 0 or test_strings < 1 or not 1 <= lengths[0] <= lengths[1]:
        raise InputError(
            f"expected strings ≥ 0, test_strings ≥ 1 and 1 ≤ fewest ≤ most digits;"
            f" got strings={strings}, test_strings={test_strings}, lengths={lengths}"
        )
    left_out: list[LeftOut] = []
    clips = _find_clips(source, left_out)
    speakers = sorted({clip.speaker for clip in clips})
    if leave_out is not None and leave_out not in speakers:
        raise CorpusError(f"{source}: no clips of speaker {leave_out!r}; there are {', '.join(speakers)}")
    by_split = _split(clips, leave_out)
    for split, chosen in by_split.items():
        if not chosen:
            raise CorpusError(f"{source}: no clips for the split {split!r}; the index in the file names decides")
    if strings == 0:
        return Prepared({split: list(_isolated(chosen, left_out)) for split, chosen in by_split.items()}, left_out)
    splits: dict[str, list[Example]] = {}
    for split, chosen in by_split.items():
        count = strings if split == "train" else test_strings
        splits[split] = []
        for example in _write_strings(split, _load(chosen, left_out), count, lengths, seed, out):
            splits[split].append(example)
            if done is not None:
                done(sum(map(len, splits.values())))
    return Prepared(splits, left_out)


def _find_clips(source: Path, left_out: list[LeftOut]) -> list[_Clip]:
    folder = source / "recordings" if (source / "recordings").is_dir() else source
    if not folder.is_dir():
        raise CorpusError(f"{source}: no such folder; name the folder with <digit>_<speaker>_<index>.wav or .flac")
    found: dict[tuple[str, int, int], _Clip] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match:
            clip = _Clip(match[2].lower(), int(match[1]), int(match[3]), path)
            found[clip.speaker, clip.digit, clip.index] = clip
        elif path.suffix.lower() in (".wav", ".flac"):
            left_out.append(LeftOut(path.name, "is not named <digit>_<speaker>_<index>"))
    if not found:
        raise CorpusError(f"{folder}: no <digit>_<speaker>_<index>.wav or .flac in it; expected the FSDD recordings")
    return [found[key] for key in sorted(found)]


def _split(clips: Sequence[_Clip], leave_out: str | None) -> dict[str, list[_Clip]]:
    """Clips by split; see the module's docstring for the rule."""
    splits: dict[str, list[_Clip]] = {"train": [], "valid": [], "test": []}
    groups: dict[tuple[str, int], list[_Clip]] = {}
    for clip in clips:
        if clip.speaker == leave_out:
            splits.setdefault(f"test-{leave_out}", []).append(clip)
        elif clip.index in TEST_INDICES:
            splits["test"].append(clip)
        else:
            groups.setdefault((clip.speaker, clip.digit), []).append(clip)
    for group in groups.values():  # sorted by index
        held = -(-len(group) // 10) if len(group) > 1 else 0
        splits["train"].extend(group[: len(group) - held])
        splits["valid"].extend(group[len(group) - held :])
    return splits


def _isolated(clips: Sequence[_Clip], left_out: list[LeftOut]) -> Iterator[Example]:
    for clip in clips:
        try:
            duration = probe_audio(clip.path).duration
        except MediaError as error:
            left_out.append(LeftOut(clip.path.name, str(error).removeprefix(f"{clip.path}: ")))
            continue
        yield Example(
            clip.path.stem, clip.path, WORDS[clip.digit], duration=duration, speaker=clip.speaker, language="en"
        )


def _load(clips: Sequence[_Clip], left_out: list[LeftOut]) -> list[tuple[_Clip, np.ndarray]]:
    loaded = []
    for clip in clips:
        try:
            loaded.append((clip, load_audio(clip.path, SAMPLE_RATE)))
        except MediaError as error:
            left_out.append(LeftOut(clip.path.name, str(error).removeprefix(f"{clip.path}: ")))
    return loaded


def _write_strings(
    split: str, loaded: Sequence[tuple[_Clip, np.ndarray]], count: int, lengths: tuple[int, int], seed: int, out: Path
) -> Iterator[Example]:
    import soundfile

    if not loaded:
        raise CorpusError(f"{split}: none of its clips can be read; fetch FSDD again")
    by_speaker: dict[str, dict[int, list[tuple[_Clip, np.ndarray]]]] = {}
    for clip, samples in loaded:
        by_speaker.setdefault(clip.speaker, {}).setdefault(clip.digit, []).append((clip, samples))
    speakers = sorted(by_speaker)
    folder = out / "audio" / split
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            generator = np.random.default_rng([seed, zlib.crc32(split.encode()), number])
            speaker = speakers[int(generator.integers(len(speakers)))]
            chosen = _draw(by_speaker[speaker], lengths, generator)
            samples = _joined([samples for _, samples in chosen], generator)
            identifier = f"{split}-{number:05d}-{speaker}"
            path = folder / f"{identifier}.flac"
            soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
            yield Example(
                identifier,
                path,
                " ".join(WORDS[clip.digit] for clip, _ in chosen),
                duration=samples.size / SAMPLE_RATE,
                speaker=speaker,
                language="en",
                extra={"clips": [clip.path.stem for clip, _ in chosen]},
            )
    except (OSError, soundfile.LibsndfileError) as error:
        raise CorpusError(f"{folder}: cannot be written: {error}; choose another folder, or free disk space") from None


def _draw(
    by_digit: dict[int, list[tuple[_Clip, np.ndarray]]], lengths: tuple[int, int], generator: np.random.Generator
) -> list[tuple[_Clip, np.ndarray]]:
    """Clips of a string: its length, then each digit, then each digit's clip, all uniform."""
    digits = sorted(by_digit)
    chosen = []
    for _ in range(int(generator.integers(lengths[0], lengths[1] + 1))):
        clips = by_digit[digits[int(generator.integers(len(digits)))]]
        chosen.append(clips[int(generator.integers(len(clips)))])
    return chosen


def _joined(clips: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """One waveform: clips at their own gains, gaps, noise below all, and a gain that never clips."""

    def silence(bounds: tuple[float, float]) -> np.ndarray:
        return np.zeros(round(generator.uniform(*bounds) * SAMPLE_RATE), np.float32)

    pieces = [silence(_MARGIN)]
    power = 0.0
    for number, clip in enumerate(clips):
        if number:
            pieces.append(silence(_GAP))
        faded = _faded(clip) * np.float32(10 ** (generator.uniform(-_CLIP_GAIN_DB, _CLIP_GAIN_DB) / 20))
        power += float(np.mean(np.square(faded))) / len(clips)
        pieces.append(faded)
    joined = np.concatenate([*pieces, silence(_MARGIN)])
    if generator.random() >= _QUIET:
        snr = generator.uniform(*_NOISE_SNR_DB)
        slope = generator.uniform(0.0, 2.0)
        joined += np.float32(np.sqrt(power * 10 ** (-snr / 10))) * colored_noise(joined.size, slope, generator)
    gain = 10 ** (generator.uniform(-_GAIN_DB, _GAIN_DB) / 20)
    peak = float(np.abs(joined).max())
    return joined * np.float32(min(gain, 0.99 / peak) if peak > 0 else gain)


def _faded(clip: np.ndarray) -> np.ndarray:
    size = min(round(_FADE * SAMPLE_RATE), clip.size // 2)
    ramp = np.linspace(0, 1, size, endpoint=False, dtype=np.float32)
    faded = clip.copy()
    faded[:size] *= ramp
    faded[clip.size - size :] *= ramp[::-1]
    return faded
