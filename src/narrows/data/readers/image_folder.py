"""A folder of images, with sub-folders for classes, or for training and test sets of classes."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core.check import RequestError, choice, optional, refuse, whole
from narrows.data.memory import make_room
from narrows.data.raw import Raw

__all__ = ["SUFFIXES", "read_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_GREY = ("L", "1", "LA", "I;16", "I;16L", "I;16B", "I;16N")
_BYTES = {"L": 1, "RGB": 3, "I;16": 6, "I": 12, "F": 4}
_MOST_PIXELS = 1 << 26
_ORIENTATION = 0x0112
_DAMAGED = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, OverflowError, struct.error)
"""Exceptions of the readers of image formats for damaged files."""
_PARTS = {"train": False, "training": False, "test": True, "val": True, "valid": True, "validation": True}


def read_folder(path: Path, size: int | None = None, mode: str = "auto", frame: int | None = None) -> Raw:
    """Read a folder of images.

    Images are rotated according to EXIF. Grey images of 16 bits keep their precision and are scaled by 65535; the
    values of images with 32 bits or floating-point numbers are not changed.

    Args:
        path: the folder. The class of an image is the name of its sub-folder; sub-folders called train and test
            (or val) divide the data first.
        size: pixels per side; images are resized so that the shorter side fits, then cropped at the centre.
            Without it all images must have the same size.
        mode: ``L`` (grey), ``RGB``, or ``auto``: RGB if any image has colour. Both convert 16 bits to bytes.
        frame: the frame to read from files with several, from 0; without it such files raise an error.
    """
    choice("mode", mode, ("auto", "L", "RGB"))
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise RequestError(f"The folder {path} contains no images ({', '.join(SUFFIXES[:4])} ...).")
    if size is not None:
        whole("size", size)
    if frame is not None:
        whole("frame", frame, low=0)
    seen = [_look(file) for file in files]
    mode = _one_mode(files, [kind for kind, _ in seen], mode)
    if size is None:
        _check_sizes(path, files, [shape for _, shape in seen])
    pixels = [(size or w) * (size or h) for _, (w, h) in seen]
    make_room(2 * sum(pixels) * _BYTES[mode], str(path), "Give a smaller ``size``.")
    images = np.stack([_read(file, size, mode, frame) for file in files])
    places = [file.relative_to(path).parts[:-1] for file in files]
    divided = all(place and place[0].lower() in _PARTS for place in places)
    part = np.array([_PARTS[place[0].lower()] for place in places]) if divided else None
    if part is not None and part.all() == part.any():
        part = None
    classes = ["/".join(place[1:] if divided else place) for place in places]
    labels = np.array(classes) if len(set(classes)) > 1 else None
    full = 65535.0 if mode == "I;16" else None
    return Raw(images, labels, part=part, layout="hwc" if mode == "RGB" else "image", full=full)


def _one_mode(files: list[Path], found: list[str], mode: str) -> str:
    """The mode of all images: ``L``, ``RGB``, or one of ``I;16``, ``I`` and ``F``."""
    depths = [
        "I;16" if kind.startswith("I;16") else kind if kind in ("I", "F") else "8 bits" for kind in found
    ]
    deep = sorted(set(depths) - {"8 bits"})
    if not deep or (mode != "auto" and deep == ["I;16"]):
        return mode if mode != "auto" else "L" if all(kind in _GREY for kind in found) else "RGB"
    if mode != "auto":
        file = files[next(i for i, depth in enumerate(depths) if depth in ("I", "F"))]
        raise refuse("mode", mode, f"left out: {file} has 32 bits per pixel, and bytes would lose precision")
    if len(set(depths)) > 1:
        one, two = (files[depths.index(kind)] for kind in sorted(set(depths))[:2])
        raise RequestError(
            f"{one.name} and {two.name} have different numbers of bits per pixel, so their values cannot be compared. "
            "Convert the images to one format."
        )
    return deep[0]


def _check_sizes(path: Path, files: list[Path], sizes: list[tuple[int, int]]) -> None:
    """Raise an error for images of different sizes."""
    shapes = sorted({(h, w) for w, h in sizes})
    if len(shapes) > 1:
        odd = next(f for f, size in zip(files, sizes, strict=True) if size != sizes[0])
        raise RequestError(
            f"The images in {path} have {len(shapes)} different sizes, from {shapes[0]} to {shapes[-1]}: "
            f"{files[0].name} and {odd.name} differ. Give ``size``, such as ``size={min(map(min, shapes))}``."
        )


def _look(file: Path) -> tuple[str, tuple[int, int]]:
    """The mode of an image, and its width and height after rotation, without reading its pixels."""
    with _opened(file) as image:
        try:
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        except _DAMAGED as error:
            raise _unreadable(file, error) from error
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise RequestError(
                f"{file} has {width} x {height} pixels, but at most {_MOST_PIXELS} are allowed. Scale it down first."
            )
        return str(image.mode), (height, width) if turned else (width, height)


def _read(file: Path, size: int | None, mode: str, frame: int | None) -> np.ndarray:
    """One image, (H, W) or (H, W, 3)."""
    operations = optional("PIL.ImageOps", "images", "read images")
    pictures = optional("PIL.Image", "images", "read images")
    with _opened(file) as image:
        try:
            _turn_to(file, image, frame)
            image = operations.exif_transpose(image)
            if mode in ("L", "RGB"):
                if image.mode.startswith("I;16"):
                    image = pictures.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                image = image if image.mode == mode else image.convert(mode)
            elif size is not None:  # only floating-point numbers can be resized without rounding
                image = pictures.fromarray(np.asarray(image).astype(np.float32))
            if size is not None:
                image = operations.fit(image, (size, size))
            return np.array(image)
        except _DAMAGED as error:
            if isinstance(error, RequestError):
                raise
            raise _unreadable(file, error) from error


def _turn_to(file: Path, image: Any, frame: int | None) -> None:
    """Seek to a frame; a file with several needs `frame` (except for previews in a photograph)."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count > 1 and frame is None:
        raise RequestError(
            f"{file} has {count} frames, but an example is one frame. Save each as a separate file, or select one, "
            "such as ``frame=0``."
        )
    if frame is not None and frame >= count:
        raise refuse("frame", frame, f"less than {count}, the number of frames of {file}")
    if count > 1:
        image.seek(frame)


def _opened(file: Path) -> Any:
    image = optional("PIL.Image", "images", "read images")
    try:
        with warnings.catch_warnings():  # warnings of large images, for which `_look` raises an error
            warnings.simplefilter("ignore", image.DecompressionBombWarning)
            return image.open(file)
    except (*_DAMAGED, image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> RequestError:
    return RequestError(
        f"{file} cannot be read as an image: truncated or damaged ({error}). Repair or remove it."
    )
