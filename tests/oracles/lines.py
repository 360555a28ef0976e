"""Drawn text lines for tests: dark ink on light paper."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def draw_line(text: str = "Handgloves & 42 quick foxes", size: int = 32, paper: int = 240, ink: int = 20) -> np.ndarray:
    """uint8 (H, W) with a margin of a quarter of the letter size around the text."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    margin = size // 4
    image = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=ink, font=font)
    return np.array(image)
