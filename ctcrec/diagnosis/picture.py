"""One picture of what a model makes of one recording or line image: features, posteriors, best path, alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctcrec.ctc import forced_align, merge_tokens
from ctcrec.errors import InfeasibleError, MediaError, TextError
from ctcrec.recognizer import Recognizer

__all__ = ["draw_example"]

_TOKENS = 24  # rows of posteriors: the blank and the tokens most probable anywhere
_WIDEST = 60.0  # inches
_VISIBLE = {" ": "␣", "<blank>": "∅"}


def draw_example(recognizer: Recognizer, media: Path, out: Path, text: str | None = None) -> str:
    """Draw one file; returns what was recognized.

    From top to bottom: the features; the probabilities of the blank and of the tokens that are probable anywhere, with
    the best path as a line; the probability of the best path's token in each frame; where each token of `text`, or
    else of the recognized text, is aligned (Viterbi).

    Args:
        recognizer: greedy.
        media: recording or line image.
        out: PNG, PDF or SVG by its ending.
        text: what the file says.

    Raises:
        MediaError: the file cannot be read.
        TextError: `text` cannot be written in the model's tokens, or needs more frames than there are.
    """
    recognizer.check_kind(media)
    checkpoint = recognizer.checkpoint
    preprocessor, tokenizer = checkpoint.preprocessor, checkpoint.tokenizer
    source = preprocessor.load(media)
    features = preprocessor.features(source)
    [emission] = recognizer.emissions([features])
    emission = emission.cpu()
    [hypothesis] = recognizer.decode([emission])
    given = checkpoint.normalizer.normalize(text) if text is not None else None
    target = tuple(tokenizer.encode(given)) if given is not None else hypothesis.tokens
    spans = _aligned(emission, target, tokenizer.blank, media)
    scale = recognizer.model.subsampling_factor * preprocessor.unit_per_frame(source)
    names = [_VISIBLE.get(token, token) for token in tokenizer.tokens]
    caption = f"recognized: {checkpoint.normalizer.normalize(hypothesis.text)}"
    if given is not None:
        caption += f"\naligned: {given}"
    _draw(out, features, emission, names, spans, scale, preprocessor.unit, f"{media.name}\n{caption}")
    return checkpoint.normalizer.normalize(hypothesis.text)


def _aligned(emission: torch.Tensor, target: tuple[int, ...], blank: int, media: Path) -> list[tuple[int, int, int]]:
    """(token, start, end) of each token in frames."""
    if not target:
        return []
    try:
        paths, scores = forced_align(emission[None], torch.tensor([target]), blank=blank)
    except InfeasibleError as error:
        raise TextError(
            f"{media}: the text does not fit its frames ({error}); give the text that the file says"
        ) from None
    return [(token.token, token.start, token.end) for token in merge_tokens(paths[0], scores[0], blank)]


def _draw(
    out: Path,
    features: torch.Tensor,
    emission: torch.Tensor,
    names: list[str],
    spans: list[tuple[int, int, int]],
    scale: float,
    unit: str,
    title: str,
) -> None:
    from matplotlib.figure import Figure

    extent = len(emission) * scale
    width = min(max(10.0, len(emission) / 8), _WIDEST)
    figure = Figure(figsize=(width, 11), layout="constrained")
    top, middle, confidence, bottom = figure.subplots(4, 1, sharex=True, height_ratios=(3, 5, 1.2, 0.8))
    dark = unit == "pixels"
    top.imshow(
        features.numpy().T,
        aspect="auto",
        origin="upper" if dark else "lower",
        cmap="gray_r" if dark else "magma",
        extent=(0, extent, features.shape[1], 0) if dark else (0, extent, 0, features.shape[1]),
    )
    top.set(ylabel="pixel row" if dark else "mel band", title=title)
    _posteriors(middle, emission, names, scale)
    best = emission.max(1).values.exp().numpy()
    confidence.step(np.arange(len(best) + 1) * scale, [*best, best[-1]], where="post", linewidth=1)
    confidence.set(ylabel="best path", ylim=(0, 1.05))
    for index, (token, start, end) in enumerate(spans):
        bottom.axvspan(start * scale, end * scale, color="tab:blue" if index % 2 else "tab:orange", alpha=0.35)
        bottom.text((start + end) / 2 * scale, 0.5, names[token], ha="center", va="center", fontsize=9)
    bottom.set(ylabel="aligned", xlabel=unit, yticks=[], xlim=(0, extent))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=100)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib does not know
        raise MediaError(f"{out}: the picture cannot be written: {error}; choose a name that ends in .png") from None


def _posteriors(axes: Any, emission: torch.Tensor, names: list[str], scale: float) -> None:
    """Probabilities as a heat map, a row a token in the order of their first peaks, and the best path over it."""
    probabilities = emission.exp()
    peaks = probabilities.max(0)
    most = peaks.values.argsort(descending=True)[:_TOKENS].tolist()
    rows = sorted(most, key=lambda token: (token != 0, int(peaks.indices[token])))
    axes.imshow(
        probabilities[:, rows].T.numpy(),
        aspect="auto",
        cmap="Greys",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(0, len(emission) * scale, len(rows), 0),
    )
    axes.set(ylabel="probability", yticks=np.arange(len(rows)) + 0.5, yticklabels=[names[token] for token in rows])
    place = {token: row for row, token in enumerate(rows)}
    path = [place.get(token, np.nan) for token in emission.argmax(1).tolist()]
    axes.plot((np.arange(len(path)) + 0.5) * scale, np.array(path) + 0.5, color="tab:red", linewidth=0.8, alpha=0.7)
