"""Single examples in an HTML report: what is to be heard or seen, and the aligned texts in colour."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape

from ctcrec.scoring.alignment import Alignment, aligned_pairs
from ctcrec.scoring.media import Clip
from ctcrec.scoring.report import ExampleScore, Report

__all__ = ["ClipLoader", "inline_difference", "worst_examples"]

ClipLoader = Callable[[str], Clip | None]

_MEDIA_BYTES = 12 << 20  # of media in one page; as base64 a third more, so that a page stays below 20 MB


def worst_examples(report: Report, clips: ClipLoader | None) -> str:
    """The section of the worst examples."""
    if not report.worst:
        return ""
    used, left_out = 0, 0
    blocks = []
    for example in report.worst:
        clip = clips(example.id) if clips is not None and used < _MEDIA_BYTES else None
        if clip is not None and used + clip.size > _MEDIA_BYTES:
            clip, left_out = None, left_out + 1
        used += clip.size if clip is not None else 0
        blocks.append(_example(example, clip, report.alignment))
    note = "The examples with the most character errors. Upper line: reference; lower line: recognized."
    if left_out or used >= _MEDIA_BYTES:
        note += " Media of some are left out, to keep the page small."
    return f'<h2>Worst examples</h2><p class="note">{note}</p>{"".join(blocks)}'


def _example(example: ExampleScore, clip: Clip | None, alignment: Alignment) -> str:
    missing = "<span>no hypothesis</span>" if example.hypothesis is None else ""
    group = f"<span>{escape(example.group)}</span>" if example.group else ""
    words, characters = example.words, example.characters
    return (
        f'<article class="example"><header><b>{escape(example.id)}</b>{group}'
        f"<span>WER {100 * words.rate:.1f} % ({words.errors} of {words.reference_length})</span>"
        f"<span>CER {100 * characters.rate:.1f} % ({characters.errors} of {characters.reference_length})</span>"
        f"{missing}</header>{_clip(clip)}{_aligned(example.reference, example.hypothesis or '', alignment)}</article>"
    )


def _clip(clip: Clip | None) -> str:
    if clip is None:
        return ""
    spans = []
    for span in clip.spans:
        if span.start is None or span.end is None or clip.extent <= 0:
            continue
        left, right = (min(max(100 * value / clip.extent, 0), 100) for value in (span.start, span.end))
        confidence = "" if span.confidence is None else f", confidence {100 * span.confidence:.0f} %"
        title = f"{span.word} {span.start:g} to {span.end:g}{confidence}"
        spans.append(
            f'<div class="span" style="left:{left:.2f}%;width:{right - left:.2f}%" data-start="{span.start:g}" '
            f'data-end="{span.end:g}" title="{escape(title)}"><b>{escape(span.word)}</b></div>'
        )
    # Wide enough for the labels, so that a long recording scrolls sideways; those that still do not fit are cut.
    wide = f'style="min-width:{sum(8 * len(span.word) + 8 for span in clip.spans)}px"'
    image = f'<img alt="" src="data:{clip.picture_type};base64,{_base64(clip.picture)}">'
    if clip.audio is None:
        return f'<div class="scroll"><div class="strip line" {wide}>{image}{"".join(spans)}</div></div>'
    sound = f'<audio controls preload="none" src="data:{clip.audio_type};base64,{_base64(clip.audio)}"></audio>'
    strip = f'<div class="strip" {wide}>{image}{"".join(spans)}<div class="head"></div></div>'
    return f'<div class="audio" data-extent="{clip.extent:g}"><div class="scroll">{strip}</div>{sound}</div>'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _aligned(reference: str, hypothesis: str, alignment: Alignment) -> str:
    """Words in columns, reference above hypothesis."""
    columns = []
    for word, other in aligned_pairs(reference.split(), hypothesis.split(), alignment):
        if word is None:
            columns.append(f'<span class="w i"><span></span><span class="new">{escape(other or "")}</span></span>')
        elif other is None:
            columns.append(f'<span class="w d"><span class="gone">{escape(word)}</span><span></span></span>')
        elif word == other:
            columns.append(f'<span class="w h"><span>{escape(word)}</span><span>{escape(other)}</span></span>')
        else:
            upper, lower = _marked(word, other)
            columns.append(f'<span class="w s"><span>{upper}</span><span>{lower}</span></span>')
    return f'<div class="aligned" dir="auto">{" ".join(columns)}</div>'


def _marked(word: str, other: str) -> tuple[str, str]:
    """Both words with the characters in which they differ marked."""
    upper: list[str] = []
    lower: list[str] = []
    for a, b in aligned_pairs(word, other):
        same = a == b
        for side, character in ((upper, a), (lower, b)):
            if character is not None:
                side.append(escape(character) if same else f"<mark>{escape(character)}</mark>")
    return "".join(upper), "".join(lower)


def inline_difference(reference: str, hypothesis: str, alignment: Alignment) -> str:
    """One running text, what was lost struck out and what was put in coloured."""
    parts = []
    for word, other in aligned_pairs(reference.split(), hypothesis.split(), alignment):
        if word == other:
            parts.append(escape(word or ""))
            continue
        lost = f"<del>{escape(word)}</del>" if word is not None else ""
        new = f"<ins>{escape(other)}</ins>" if other is not None else ""
        parts.append(lost + new)
    return " ".join(parts)
