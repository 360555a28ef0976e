"""Emissions, the stored log-probabilities of one example, (T, C): reading and checking them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.errors import DataError, InputError
from ctcrec.lm.compiled import kernel

__all__ = ["Emissions", "as_emissions", "check_emissions", "read_emissions"]

Emissions = npt.NDArray[np.float32]
_HIGHEST = 0.01  # log-probabilities are at most 0, give or take rounding
_FAULTS = {
    1: "NaN at frame {}; look for the cause in the model that made it",
    2: "+inf at frame {}; log-probabilities are at most 0",
    3: "a positive value at frame {}; these are not log-probabilities: apply log_softmax first",
    4: "only -inf at frame {}; some token must be possible in every frame",
}


def as_emissions(
    log_probs: torch.Tensor | npt.NDArray[Any] | Sequence[torch.Tensor | npt.NDArray[Any]],
    lengths: torch.Tensor | npt.NDArray[Any] | Sequence[int] | None = None,
) -> list[Emissions]:
    """One float32 array (T, C) an example, from an (N, T, C) batch with its lengths or from a list of (T, C)."""
    if isinstance(log_probs, torch.Tensor | np.ndarray):
        if log_probs.ndim != 3:
            raise InputError(
                f"log_probs must be (N, T, C) or a list of (T, C), not {tuple(log_probs.shape)}; "
                "put one example into a list: decoder([log_probs])"
            )
    elif lengths is not None:
        raise InputError("lengths go with an (N, T, C) batch; cut the (T, C) arrays of a list yourself")
    arrays = [_as_float32(one) for one in log_probs]
    if lengths is None:
        return arrays
    frames = [int(length) for length in lengths]
    if len(frames) != len(arrays):
        raise InputError(f"{len(frames)} lengths for {len(arrays)} examples")
    for number, (one, length) in enumerate(zip(arrays, frames, strict=True)):
        if not 0 <= length <= len(one):
            raise InputError(f"length of utterance {number} must be from 0 to {len(one)}, not {length}")
    return [one[:length] for one, length in zip(arrays, frames, strict=True)]


def _as_float32(one: torch.Tensor | npt.NDArray[Any]) -> Emissions:
    if isinstance(one, torch.Tensor):
        one = one.detach().to("cpu", torch.float32).numpy()
    return np.ascontiguousarray(one, dtype=np.float32)


def check_emissions(emissions: Emissions, tokens: int, name: str, *, empty: bool = False) -> None:
    """Raise InputError, naming the utterance, if a search cannot use these emissions.

    `empty` allows zero frames (a chunk of a stream may have none).
    """
    if emissions.ndim != 2 or emissions.shape[1] != tokens:
        raise InputError(f"{name}: emissions must be (T, {tokens}) for {tokens} tokens, not {emissions.shape}")
    if len(emissions) == 0 and not empty:
        raise InputError(f"{name}: zero frames; drop it, or see why the model gave none")
    fault, frame = _find_fault(emissions)
    if fault:
        raise InputError(f"{name}: " + _FAULTS[fault].format(frame))


@kernel
def _find_fault(emissions: Emissions) -> tuple[int, int]:
    """(key of _FAULTS, frame), or (0, 0)."""
    for t in range(emissions.shape[0]):
        possible = False
        for c in range(emissions.shape[1]):
            value = emissions[t, c]
            if not value <= _HIGHEST:  # NaN compares false
                return (1 if value != value else 2 if value == np.inf else 3), t
            possible = possible or value > -np.inf
        if not possible:
            return 4, t
    return 0, 0


def read_emissions(path: str | Path) -> dict[str, Emissions]:
    """Stored emissions by example id.

    `.npz` and `.safetensors` hold one (T, C) array an example, under its id; `.npy` holds one (T, C) array, whose id is
    the file's stem, or an (N, T, C) batch without padding, whose ids are `stem-0`, `stem-1`, ...

    Raises:
        DataError: the file is missing, of another kind, or holds something else.
    """
    path = Path(path)
    try:
        match path.suffix:
            case ".npy":
                array = np.load(path, allow_pickle=False)
                stored = {path.stem: array} if array.ndim < 3 else {f"{path.stem}-{n}": a for n, a in enumerate(array)}
            case ".npz":
                with np.load(path, allow_pickle=False) as file:
                    stored = dict(file)
            case ".safetensors":
                from safetensors.torch import load_file

                stored = {name: tensor.float().numpy() for name, tensor in load_file(path).items()}
            case _:
                raise DataError(f"{path}: emissions must be a .npy, .npz or .safetensors file")
    except DataError:
        raise
    except Exception as error:  # each of the three readers has its own errors for a broken file
        raise DataError(f"{path}: cannot read emissions ({error})") from error
    for name, array in stored.items():
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
            raise DataError(f"{path}: {name} must be (T, C) floating point, not {array.shape} {array.dtype}")
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in stored.items()}
