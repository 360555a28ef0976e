"""One picture of what a model makes of one recording or line image: features, posteriors, best path, alignment, and
where attention looked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctcrec.ctc import forced_align, merge_tokens
from ctcrec.errors import InfeasibleError, MediaError, TextError
from ctcrec.models.recognition_model import RecognitionModel
from ctcrec.recognizer import Recognizer

__all__ = ["draw_example"]

_TOKENS = 24  # rows of posteriors: the blank and the tokens most probable anywhere
_WIDEST = 60.0  # inches
_VISIBLE = {" ": "␣", "<blank>": "∅"}
_END = "end"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is drawn: features (T, F), log-probabilities (T', C) or None without a CTC head, (token, start, end) of each
    token of the target in frames, and attention weights (L + 1, T') or None. A frame is `scale` units wide."""

    features: torch.Tensor
    emission: torch.Tensor | None
    spans: list[tuple[int, int, int]]
    weights: torch.Tensor | None
    target: tuple[int, ...]
    names: list[str]
    frames: int
    scale: float
    unit: str

    @property
    def extent(self) -> float:
        """Seconds or pixels of all frames."""
        return self.frames * self.scale


def draw_example(recognizer: Recognizer, media: Path, out: Path, text: str | None = None) -> str:
    """Draw one file; returns what was recognized.

    From top to bottom: the features; the probabilities of the blank and of the tokens that are probable anywhere, with
    the best path as a line; the probability of the best path's token in each frame; where each token of `text`, or
    else of the recognized text, is aligned (Viterbi); and where attention looks for each of these tokens and for the
    end. The parts of a head that the model does not have are left out.

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
    [encoded] = recognizer.encode([features])
    emission = encoded.emissions.cpu() if recognizer.model.head is not None else None
    if emission is not None:
        [hypothesis] = recognizer.decode([emission])
    else:
        assert recognizer.attention_decode is not None
        [hypothesis] = recognizer.attention_decode([encoded])
    given = checkpoint.normalizer.normalize(text) if text is not None else None
    target = tuple(tokenizer.encode(given)) if given is not None else hypothesis.tokens
    recognized = checkpoint.normalizer.normalize(hypothesis.text)
    caption = f"{media.name}\nrecognized: {recognized}"
    if given is not None:
        caption += f"\naligned: {given}"
    seen = _Seen(
        features,
        emission,
        _aligned(emission, target, tokenizer.blank, media) if emission is not None else [],
        _looked(recognizer.model, encoded.frames, target),
        target,
        [_VISIBLE.get(token, token) for token in tokenizer.tokens],
        len(encoded.frames),
        recognizer.model.subsampling_factor * preprocessor.unit_per_frame(source),
        preprocessor.unit,
    )
    _draw(out, seen, caption)
    return recognized


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


@torch.no_grad()
def _looked(model: RecognitionModel, frames: torch.Tensor, target: tuple[int, ...]) -> torch.Tensor | None:
    """Attention weights (L + 1, T') while the decoder reads the target; None without attention."""
    if model.decoder is None or model.decoder.attention is None:
        return None
    lengths = torch.tensor([len(frames)], device=frames.device)
    targets = torch.tensor([target], dtype=torch.int64, device=frames.device)
    return model.decoder(frames[None], lengths, targets).weights[0].cpu()


def _draw(out: Path, seen: _Seen, title: str) -> None:
    from matplotlib.figure import Figure

    panels = [(3.0, _draw_features)]
    if seen.emission is not None:
        panels += [(5.0, _draw_posteriors), (1.2, _draw_confidence), (0.8, _draw_alignment)]
    if seen.weights is not None:
        panels.append((min(max(2.0, 0.16 * len(seen.weights)), 12.0), _draw_attention))
    heights = [height for height, _ in panels]
    figure = Figure(figsize=(min(max(10.0, seen.frames / 8), _WIDEST), 1.0 + sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (_, draw) in zip(all_axes, panels, strict=True):
        draw(axes, seen)
    all_axes[0].set_title(title, wrap=True)
    all_axes[-1].set(xlabel=seen.unit, xlim=(0, seen.extent))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=100)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib does not know
        raise MediaError(f"{out}: the picture cannot be written: {error}; choose a name that ends in .png") from None


def _draw_features(axes: Any, seen: _Seen) -> None:
    lines = seen.unit == "pixels"
    size = seen.features.shape[1]
    axes.imshow(
        seen.features.numpy().T,
        aspect="auto",
        origin="upper" if lines else "lower",
        cmap="gray_r" if lines else "magma",
        extent=(0, seen.extent, size, 0) if lines else (0, seen.extent, 0, size),
    )
    axes.set(ylabel="pixel row" if lines else "mel band")


def _draw_posteriors(axes: Any, seen: _Seen) -> None:
    """Probabilities as a heat map, a row a token in the order of their first peaks, and the best path over it."""
    assert seen.emission is not None
    probabilities = seen.emission.exp()
    peaks = probabilities.max(0)
    most = peaks.values.argsort(descending=True)[:_TOKENS].tolist()
    rows = sorted(most, key=lambda token: (token != 0, int(peaks.indices[token])))
    _heat_map(axes, probabilities[:, rows].T, [seen.names[token] for token in rows], seen.extent)
    axes.set(ylabel="probability")
    place = {token: row for row, token in enumerate(rows)}
    path = [place.get(token, np.nan) for token in seen.emission.argmax(1).tolist()]
    times = (np.arange(len(path)) + 0.5) * seen.scale
    axes.plot(times, np.array(path) + 0.5, color="tab:red", linewidth=0.8, alpha=0.7)


def _draw_confidence(axes: Any, seen: _Seen) -> None:
    assert seen.emission is not None
    best = seen.emission.max(1).values.exp().numpy()
    axes.step(np.arange(len(best) + 1) * seen.scale, [*best, best[-1]], where="post", linewidth=1)
    axes.set(ylabel="best path", ylim=(0, 1.05))


def _draw_alignment(axes: Any, seen: _Seen) -> None:
    for index, (token, start, end) in enumerate(seen.spans):
        left, right = start * seen.scale, end * seen.scale
        axes.axvspan(left, right, color="tab:blue" if index % 2 else "tab:orange", alpha=0.35)
        axes.text((left + right) / 2, 0.5, seen.names[token], ha="center", va="center", fontsize=9)
    axes.set(ylabel="aligned", yticks=[])


def _draw_attention(axes: Any, seen: _Seen) -> None:
    assert seen.weights is not None
    _heat_map(axes, seen.weights, [*(seen.names[token] for token in seen.target), _END], seen.extent)
    axes.set(ylabel="attention")


def _heat_map(axes: Any, values: torch.Tensor, names: list[str], extent: float) -> None:
    """(R, T') values from 0 to 1, dark where high; a row for each name."""
    axes.imshow(
        values.numpy(),
        aspect="auto",
        cmap="Greys",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(0, extent, len(names), 0),
    )
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8 if len(names) > _TOKENS else None)
