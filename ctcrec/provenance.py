"""Where a run comes from: `run.json` in its directory.

It holds the configuration and its seed, the versions of Python and of the packages that the numbers depend on,
fingerprints of the manifests, the git commit of the code, the hardware, and one entry for each session of training:
when it began and ended, by which command, on which step, and how it came out. Training writes it before the first step
and completes it at the end, also when it is stopped or fails, so that a run that was killed is seen to be incomplete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ctcrec.config import Config
from ctcrec.data.manifest import iterate_manifest
from ctcrec.errors import CheckpointError, CtcrecError
from ctcrec.writers import write_atomically

__all__ = ["RUN_FILE", "fingerprint_manifest", "read_run", "record_combined", "recorded"]

RUN_FILE = "run.json"
_FORMAT = 1
_PACKAGES = ("ctcrec", "torch", "torchaudio", "numpy", "numba", "soundfile", "av", "pillow", "sentencepiece", "jiwer")


@contextlib.contextmanager
def recorded(directory: Path, config: Config, resume: bool, facts: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Run a session of training with its record: written before it, completed after it, however it ends.

    Args:
        directory: of the run.
        config: of the run.
        resume: whether the run goes on, so that the sessions before stay in the record.
        facts: what there is to say of the training when it ends.

    Raises:
        ManifestError: a manifest cannot be read.
        DataError: `run.json` cannot be written.
        CheckpointError: the `run.json` to go on with is damaged.
    """
    _begin(directory, config, resume)
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(CtcrecError):  # the error that ended training is the one to tell
            _end(directory, {"outcome": "ended early", "reason": str(error) or type(error).__name__, **facts()})
        raise
    _end(directory, {"outcome": "finished", **facts()})


def record_combined(
    directory: Path, config: Config, records: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    """Write the record of what was made from several runs: all their data and sessions once, and then this session.

    Raises:
        DataError: `run.json` cannot be written.
    """
    data = {
        split: list({item["sha256"]: item for record in records for item in record["data"][split]}.values())
        for split in ("train", "valid")
    }
    sessions: list[Mapping[str, Any]] = []
    for session in (session for record in records for session in record["sessions"]):
        if session not in sessions:
            sessions.append(session)
    now = _session() | {"outcome": "finished", "ended": _now(), **facts}
    _write(directory, _record(config, data, [*sessions, now]))


def _begin(directory: Path, config: Config, resume: bool) -> None:
    earlier = read_run(directory)["sessions"] if resume and (directory / RUN_FILE).is_file() else []
    data = {
        split: [fingerprint_manifest(Path(path)) for path in getattr(config.data, split)]
        for split in ("train", "valid")
    }
    _write(directory, _record(config, data, [*earlier, _session()]))


def _session() -> dict[str, Any]:
    return {
        "command": _command(),
        "started": _now(),
        "outcome": "running or killed",
        "python": platform.python_version(),
        "packages": dict(_installed(_PACKAGES)),
        "git": _git(Path(__file__).resolve().parent),
        "hardware": _hardware(),
    }


def _record(config: Config, data: Mapping[str, Any], sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "seed": config.seed,
        "data": data,
        "sessions": list(sessions),
        "config": config.model_dump(mode="json"),
    }


def _end(directory: Path, facts: Mapping[str, Any]) -> None:
    record = read_run(directory)
    record["sessions"][-1] |= {"ended": _now(), **facts}
    _write(directory, record)


def read_run(directory: Path) -> dict[str, Any]:
    """The content of a run's `run.json`.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    path = directory / RUN_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the directory of a run that `ctcrec train` wrote") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore it from a copy, or remove it") from None
    if not isinstance(record, dict) or record.get("format") != _FORMAT or not record.get("sessions"):
        raise CheckpointError(f"{path}: is no record of format {_FORMAT}; restore it from a copy, or remove it")
    return record


def fingerprint_manifest(path: Path) -> dict[str, Any]:
    """A manifest's SHA-256 and size, and what its rows say of language and of rights (their keys `license` or
    `licence`, and `attribution`), with how many rows say so.

    The hash is of the manifest: ids, texts and names of media, not the content of media.
    """
    count = 0
    seconds = 0.0
    said: dict[str, dict[str, int]] = {}
    for example in iterate_manifest(path):
        count += 1
        end = example.end if example.end is not None else example.duration
        seconds += max((end or 0.0) - (example.start or 0.0), 0.0)
        extra = example.extra
        values = {
            "languages": example.language,
            "licenses": extra.get("license", extra.get("licence")),
            "attributions": extra.get("attribution"),
        }
        for key, value in values.items():
            if value:
                counts = said.setdefault(key, {})
                counts[str(value)] = counts.get(str(value), 0) + 1
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts: dict[str, Any] = {"manifest": path.as_posix(), "sha256": digest, "examples": count}
    if seconds:
        facts["hours"] = round(seconds / 3600, 4)
    return facts | said


def _write(directory: Path, record: Mapping[str, Any]) -> None:
    write_atomically(directory / RUN_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _command() -> str:
    """The command line as typed; for a Python program that calls ctcrec, that program's."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = "python -m ctcrec"
    return " ".join([program, *(shlex.quote(word) for word in sys.argv[1:])])


def _installed(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:  # ctcrec itself, used from a source tree that is not installed
            continue


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit of the code, and whether files differ from it; None where the code is not kept in git."""
    try:
        _git_output(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git_output(folder, "rev-parse", "HEAD")
        changed = _git_output(folder, "status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def _git_output(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def _hardware() -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
