"""Sound and pictures for reports: an utterance with its spectrogram, or a line image, small enough for a page.

Media come in as arrays, already loaded; this module knows neither how they are read nor which model they were for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctcrec.errors import InputError
from ctcrec.scoring.formats import TimedWord

__all__ = ["Clip", "audio_clip", "line_clip", "spectrogram"]

_HEIGHT = 96  # pixels of a line image or spectrogram in a report
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_WIDTH = 1400  # at most, of a spectrogram


@dataclass(frozen=True, slots=True)
class Clip:
    """What a report shows of one example.

    Attributes:
        picture: an encoded image, and `picture_type`, its media type.
        extent: seconds or pixels that the picture is wide; the unit of the spans.
        spans: what was recognized where.
        audio: an encoded recording or None, and `audio_type`, its media type.
    """

    picture: bytes
    picture_type: str
    extent: float
    spans: tuple[TimedWord, ...] = ()
    audio: bytes | None = None
    audio_type: str = ""

    @property
    def size(self) -> int:
        """Bytes of the media."""
        return len(self.picture) + len(self.audio or b"")


def audio_clip(samples: npt.NDArray[np.float32], sample_rate: int, spans: Sequence[TimedWord] = ()) -> Clip:
    """A recording as MP3, which every browser plays (about 5 kB a second), with its spectrogram.

    Args:
        samples: (S,) mono, -1 to 1.
        sample_rate: 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 or 48000 Hz.
        spans: words with times in seconds.

    Raises:
        InputError: another rate, or no samples.
    """
    import soundfile

    if samples.ndim != 1 or samples.size == 0:
        raise InputError(f"a clip needs one-dimensional samples, got shape {samples.shape}")
    if sample_rate not in _MP3_RATES:
        raise InputError(f"a clip needs a sample rate of MP3 ({', '.join(map(str, _MP3_RATES))}), got {sample_rate}")
    encoded = io.BytesIO()
    soundfile.write(encoded, np.clip(samples, -1, 1), sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    picture, kind = _encode(spectrogram(samples, sample_rate))
    return Clip(picture, kind, samples.size / sample_rate, tuple(spans), encoded.getvalue(), "audio/mpeg")


def line_clip(image: npt.NDArray[np.uint8], spans: Sequence[TimedWord] = ()) -> Clip:
    """A line image. `image` is (H, W) grey; `spans` are in its pixels."""
    from PIL import Image

    if image.ndim != 2 or image.size == 0:
        raise InputError(f"a clip needs a grey image (H, W), got shape {image.shape}")
    height, width = image.shape
    picture = Image.fromarray(image)
    if height > _HEIGHT:
        picture = picture.resize((max(1, round(width * _HEIGHT / height)), _HEIGHT), Image.Resampling.LANCZOS)
    data, kind = _encode(np.asarray(picture))
    return Clip(data, kind, float(width), tuple(spans))


def spectrogram(samples: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.uint8]:
    """A picture (H, W) of the power in windows of 25 ms, dark where there is much, low frequencies at the bottom.

    It spans 70 dB below the loudest point and frequencies up to half the sample rate.
    """
    size = max(int(0.025 * sample_rate), 2)
    step = max(int(0.01 * sample_rate), samples.size // _WIDTH, 1)
    padded = np.pad(samples.astype(np.float32), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: samples.size : step]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), n=2 * _HEIGHT if size < 2 * _HEIGHT else size)) ** 2
    decibels = 10 * np.log10(power + 1e-10)
    rows = np.linspace(decibels.shape[1] - 1, 0, _HEIGHT).round().astype(int)
    darkness = np.clip((decibels.T[rows] - decibels.max() + 70) / 70, 0, 1)
    return (255 * (1 - darkness)).astype(np.uint8)


def _encode(image: npt.NDArray[np.uint8]) -> tuple[bytes, str]:
    """A grey image as PNG or JPEG, whichever is smaller, and its media type."""
    from PIL import Image

    picture = Image.fromarray(image)
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    picture.save(jpeg, "JPEG", quality=80)
    if len(png.getvalue()) <= len(jpeg.getvalue()):
        return png.getvalue(), "image/png"
    return jpeg.getvalue(), "image/jpeg"
