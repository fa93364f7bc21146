"""A folder of images; its sub-folders are the classes, or train and test parts of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from narrows.check import RequestError, choice, optional, whole
from narrows.data.raw import Raw

__all__ = ["SUFFIXES", "read_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_GREY = ("L", "1", "LA", "I", "I;16", "I;16B")
_PARTS = {"train": False, "training": False, "test": True, "val": True, "valid": True, "validation": True}


def read_folder(path: Path, size: int | None = None, mode: str = "auto") -> Raw:
    """Read a folder of images.

    Args:
        path: the folder. Images in sub-folders have the sub-folder's name as their class; sub-folders called train
            and test (or val) divide the data first.
        size: pixels a side; images are scaled so that the shorter side fits, then cut around the middle. Without it
            all images must have one size.
        mode: ``L`` (grey), ``RGB``, or ``auto``: RGB if any image has colour.
    """
    choice("mode", mode, ("auto", "L", "RGB"))
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise RequestError(f"The folder {path} holds no images ({', '.join(SUFFIXES[:4])} ...).")
    if size is not None:
        whole("size", size)
    if mode == "auto":
        mode = "L" if all(_mode(file) in _GREY for file in files) else "RGB"
    images = [_read(file, size, mode) for file in files]
    shapes = sorted({image.shape[:2] for image in images})
    if len(shapes) > 1:
        odd = next(
            f for f, image in zip(files, images, strict=True) if image.shape[:2] != images[0].shape[:2]
        )
        raise RequestError(
            f"The images in {path} have {len(shapes)} different sizes, from {shapes[0]} to {shapes[-1]}: "
            f"{files[0].name} is not like {odd.name}. Give ``size``, such as ``size={min(map(min, shapes))}``."
        )
    places = [file.relative_to(path).parts[:-1] for file in files]
    divided = all(place and place[0].lower() in _PARTS for place in places)
    part = np.array([_PARTS[place[0].lower()] for place in places]) if divided else None
    if part is not None and part.all() == part.any():
        part = None
    classes = ["/".join(place[1:] if divided else place) for place in places]
    labels = np.array(classes) if len(set(classes)) > 1 else None
    return Raw(np.stack(images), labels, part=part, layout="image" if mode == "L" else "hwc")


def _mode(file: Path) -> str:
    with _opened(file) as image:
        return str(image.mode)


def _read(file: Path, size: int | None, mode: str) -> np.ndarray:
    """One image, (H, W) or (H, W, 3) bytes."""
    with _opened(file) as image:
        try:
            if image.mode.startswith("I"):  # 16 bits a pixel: the upper 8, where convert would cut at 255
                pixels = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
                image = optional("PIL.Image", "images", "read images").fromarray(pixels)
            converted = image.convert(mode)
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(file, error) from error
        if size is not None:
            operations = optional("PIL.ImageOps", "images", "resize images")
            converted = operations.fit(converted, (size, size))
        return np.asarray(converted, np.uint8)


def _opened(file: Path) -> Any:
    image = optional("PIL.Image", "images", "read images")
    try:
        return image.open(file)
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> RequestError:
    return RequestError(
        f"{file} cannot be read as an image: truncated or damaged ({error}). Mend or remove it."
    )
