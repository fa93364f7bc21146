"""A folder of images of several kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.format import Format
from fuzz.formats.arrays import opened

KINDS = ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm")


def _pictures(folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (len(KINDS), 12, 10, 3)).astype(np.uint8)
    for i, (kind, image) in enumerate(zip(KINDS, pixels, strict=True)):
        place = folder / "pictures" / ("cats" if i % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.{kind}")


FORMATS = (Format("images", _pictures, lambda f: opened(f / "pictures"), files=("pictures/*/*",)),)
