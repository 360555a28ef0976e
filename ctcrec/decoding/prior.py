"""Priors of tokens: from posteriors that favour what was frequent in training to likelihoods for a language model.

A network's output is a posterior p(k | x_t) ∝ p(x_t | k) p(k). A language model brings its own p(k), so the training's
is divided out, with a weight w: p(k | x_t) / p(k)^w. Sources: Miao et al. 2015, "EESEN", with the frequency of labels
for p(k); Zeyer et al. 2017, "CTC in the context of generalized full-sum HMM training", with the mean posterior over
frames, as here: a rare token is divided by what the model really gives it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ctcrec.decoding.emissions import Emissions
from ctcrec.errors import DataError, InputError

__all__ = ["log_prior", "read_prior", "scaled_likelihoods", "token_prior", "write_prior"]


def token_prior(emissions: Sequence[Emissions], tokens: Sequence[str]) -> dict[str, float]:
    """Mean posterior of each token over all frames, with one frame of each token more: (Σ_t p(k | x_t) + 1) / (T + C).

    Args:
        emissions: (T, C) natural log-probabilities of each example.
        tokens: the C token strings.
    """
    total = np.ones(len(tokens))
    for one in emissions:
        total += np.exp(one.astype(np.float64)).sum(axis=0)
    return dict(zip(tokens, (total / total.sum()).tolist(), strict=True))


def log_prior(prior: Mapping[str, float], tokens: Sequence[str]) -> npt.NDArray[np.float32]:
    """(C,) natural logarithms of the tokens' priors.

    Raises:
        InputError: a token without prior, a prior that no token has, or one that is no positive probability.
    """
    missing = [token for token in tokens if token not in prior]
    unknown = sorted(set(prior) - set(tokens))
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which is not among the tokens"
        raise InputError(f"the prior {what}; it must be that of the model's {len(tokens)} tokens")
    wrong = [token for token in tokens if not 0.0 < prior[token] <= 1.0]
    if wrong:
        raise InputError(f"the prior of {wrong[0]!r} must be a probability above 0, not {prior[wrong[0]]}")
    return np.array([math.log(prior[token]) for token in tokens], dtype=np.float32)


def scaled_likelihoods(emissions: Emissions, scaled_log_prior: npt.NDArray[np.float32]) -> Emissions:
    """(T, C) ln p(k | x_t) - w ln p(k), normalized in every frame; `scaled_log_prior` (C,) is w ln p(k)."""
    return torch.log_softmax(torch.from_numpy(emissions - scaled_log_prior), dim=1).numpy()


def write_prior(path: Path, prior: Mapping[str, float]) -> None:
    """Write priors as one JSON object from token to probability.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(prior, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: the prior cannot be written: {error}") from None


def read_prior(path: Path) -> dict[str, float]:
    """Priors that `write_prior` wrote.

    Raises:
        DataError: the file cannot be read or holds something else.
    """
    try:
        prior = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the prior cannot be read: {error}") from None
    if not isinstance(prior, dict) or not all(isinstance(p, float | int) for p in prior.values()):
        raise DataError(f"{path}: expected one JSON object from token to probability, as `ctcrec tune` writes it")
    return prior
