"""Examples as one picture: images in a grid, series as small plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from narrows.core.check import optional, refuse

__all__ = ["grid", "picture", "stacked"]

_SIDE = 48
"""Images smaller than this are enlarged by an integer factor."""
_GAP, _PAPER = 2, 235
_LINE = 14
"""Height of a caption."""
_PLOT = (72, 144)
"""Height and width of the plot of one series."""
_INK = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))


def picture(
    examples: np.ndarray, columns: int | None = None, captions: Sequence[str] | None = None
) -> np.ndarray:
    """Draw examples as a grid of bytes, (height, width, 3).

    Args:
        examples: images (N, C, H, W) with values from 0 to 1 and one or three channels, or series (N, T, D).
        columns: number of columns; about the number of rows if None.
        captions: a text above each example, N.

    Raises:
        RequestError: the examples cannot be drawn, such as rows of a table.

    Example:
        >>> picture(np.zeros((4, 1, 8, 8)), columns=2).shape
        (102, 102, 3)
    """
    if examples.ndim == 4 and examples.shape[1] in (1, 3):
        return grid(_captioned(_images(examples), captions), columns)
    if examples.ndim == 3:
        return grid(_captioned(_plots(examples), captions), columns)
    raise refuse(
        "--out",
        f"a .png of examples of shape {examples.shape[1:]}",
        "an .npz file for examples that are not images or series",
        "Use --out x.npz.",
    )


def grid(tiles: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Arrange tiles (N, H, W, 3) of bytes in rows, with separators.

    Example:
        >>> grid(np.zeros((3, 4, 4, 3), np.uint8), columns=3).shape
        (8, 20, 3)
    """
    count, height, width = tiles.shape[:3]
    across = min(count, columns or math.ceil(math.sqrt(count)))
    down = math.ceil(count / across)
    shape = (_GAP + down * (height + _GAP), _GAP + across * (width + _GAP), 3)
    sheet = np.full(shape, _PAPER, dtype=np.uint8)
    for n, tile in enumerate(tiles):
        top, left = _GAP + n // across * (height + _GAP), _GAP + n % across * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def stacked(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pictures (height, width, 3) below each other, each under its title.

    Example:
        >>> stacked({"one": np.zeros((4, 30, 3), np.uint8), "two": np.zeros((6, 20, 3), np.uint8)}).shape
        (38, 30, 3)
    """
    width = max(sheet.shape[1] for sheet in pictures.values())
    wide = []
    for sheet in pictures.values():
        paper = np.full((len(sheet), width, 3), _PAPER, dtype=np.uint8)
        paper[:, : sheet.shape[1]] = sheet
        wide.append(paper)
    return np.concatenate(
        [_captioned(sheet[None], [title])[0] for title, sheet in zip(pictures, wide, strict=True)]
    )


def _captioned(tiles: np.ndarray, captions: Sequence[str] | None) -> np.ndarray:
    """Tiles (N, H, W, 3) with a line of text above each."""
    if captions is None:
        return tiles
    image, draw = (
        optional("PIL.Image", "images", "write captions"),
        optional("PIL.ImageDraw", "images", "write captions"),
    )
    height, width = tiles.shape[1:3]
    sheets = []
    for tile, caption in zip(tiles, captions, strict=True):
        sheet = image.new("RGB", (width, height + _LINE), (_PAPER,) * 3)
        draw.Draw(sheet).text((2, 1), caption, fill="black")
        sheet.paste(image.fromarray(tile), (0, _LINE))
        sheets.append(np.asarray(sheet))
    return np.stack(sheets)


def _images(examples: np.ndarray) -> np.ndarray:
    """(N, C, H, W) from 0 to 1 -> (N, H, W, 3) bytes, enlarged if small."""
    shades = np.nan_to_num(examples.clip(0, 1) * 255).round().astype(np.uint8)
    shades = np.broadcast_to(shades, (len(shades), 3, *shades.shape[2:]))
    factor = max(1, math.ceil(_SIDE / max(shades.shape[2:])))
    return np.moveaxis(shades, 1, -1).repeat(factor, 1).repeat(factor, 2)


def _plots(series: np.ndarray) -> np.ndarray:
    """(N, T, D) -> (N, H, W, 3) bytes: a line for each of the first columns, on a common scale."""
    image, draw = (
        optional("PIL.Image", "images", "draw series"),
        optional("PIL.ImageDraw", "images", "draw series"),
    )
    low, high = float(np.nanmin(series)), float(np.nanmax(series))
    height, width = _PLOT
    x = np.linspace(4, width - 5, series.shape[1])
    y = height - 5 - (series - low) / max(high - low, 1e-12) * (height - 10)
    tiles = []
    for lines in y:
        tile = image.new("RGB", (width, height), "white")
        pen = draw.Draw(tile)
        for line, ink in zip(lines.T, _INK, strict=False):
            for stretch in np.ma.clump_unmasked(np.ma.masked_invalid(line)):  # missing steps are gaps
                points = list(zip(x[stretch].tolist(), line[stretch].tolist(), strict=True))
                pen.line(points, fill=ink, width=1)
                pen.point(points, fill=ink)  # also a value between two gaps
        tiles.append(np.asarray(tile))
    return np.stack(tiles)
