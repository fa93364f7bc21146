"""Fields as files and pictures: values, and the positions of their points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from narrows.core.check import RequestError

if TYPE_CHECKING:
    from narrows.data import Dataset
    from narrows.data.domain import Domain
    from narrows.runs.run import Run

__all__ = ["field_arrays", "field_pairs", "field_picture", "needs_grid"]


def needs_grid(run: Run) -> bool:
    """Whether each field of a run has its own points, so that pictures and samples need a grid."""
    return run.recipe.spec.kind == "field" and not _domain(run).grid


def field_arrays(run: Run, x: np.ndarray, examples: Dataset | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz of fields that `narrows fit` can read: ``u``, and ``grid`` or ``points``.

    Args:
        run: the run.
        x: values in the units of the data, (N, Q, C).
        examples: the examples with the points of the values; None for a grid.
    """
    import torch

    domain = _domain(run)
    u = x[..., 0] if x.shape[-1] == 1 else x
    sides = _sides(domain, x.shape[1]) if domain.grid or examples is None else ()
    if sides:
        grid = domain.outwards(domain.points(sides)).numpy()
        grid = grid[:, 0] if domain.k == 1 else grid.reshape(*sides, domain.k)
        return {"u": u.reshape(len(u), *sides, *u.shape[2:]), "grid": grid}
    assert examples is not None
    chunks = [examples.batch(slice(i, i + 1)).condition["positions"][0] for i in range(len(x))]
    points = torch.full((len(x), x.shape[1], domain.k), torch.nan)
    for row, chunk in zip(points, chunks, strict=True):
        row[: len(chunk)] = domain.outwards(chunk)
    return {"u": u, "points": points.numpy()}


def field_picture(run: Run, values: np.ndarray) -> np.ndarray:
    """Scaled values (N, Q, C) as images (N, C, H, W) or series (N, Q, C).

    Args:
        run: the run.
        values: scaled values.

    Raises:
        RequestError: the points are not a grid of one or two coordinates.
    """
    domain = _domain(run)
    sides = _sides(domain, values.shape[1])
    if domain.k == 1:
        return values
    if len(sides) != 2:
        raise RequestError(
            "Only fields of one coordinate, or on a grid of two, can be drawn: use --out x.npz."
        )
    return np.moveaxis(values.reshape(len(values), *sides, -1), -1, 1)


def field_pairs(run: Run, examples: Dataset, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Originals and reconstructions as pictures of the same shape: originals by nearest neighbour.

    Args:
        run: the run.
        examples: the originals.
        values: scaled reconstructions, (N, Q, C).
    """
    domain, batch = _domain(run), examples.all()
    originals = batch.target.numpy()
    if "mask" in batch.condition:
        originals = np.where(
            batch.condition["mask"][..., None].numpy(),
            originals,
            np.float32(0.5 if domain.k == 2 else np.nan),
        )
    sides, positions = _sides(domain, values.shape[1]), batch.condition["positions"].numpy()
    if originals.shape[1] != values.shape[1] or not domain.grid:
        at = domain.points(sides).numpy()
        originals = np.stack([_nearest(*pair, at) for pair in zip(originals, positions, strict=True)])
    return field_picture(run, originals), field_picture(run, values)


def _nearest(values: np.ndarray, positions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Nearest-neighbour interpolation of values (P, C) from positions (P, k) to (Q, k)."""
    chunks = [
        ((part[:, None] - positions) ** 2).sum(-1).argmin(1)
        for part in np.array_split(at, len(at) // 4096 + 1)
    ]
    return np.asarray(values[np.concatenate(chunks)])


def _domain(run: Run) -> Domain:
    from narrows.runs.verbs.grid import domain_of

    domain = domain_of(run)
    assert domain is not None
    return domain


def _sides(domain: Domain, count: int) -> tuple[int, ...]:
    """The sides of the rescaled grid of the domain that has this number of points; () if there is none."""
    sides = (
        domain.sides((count / np.prod(domain.grid)) ** (1 / domain.k))
        if domain.grid
        else domain.sides(1, count)
    )
    return sides if int(np.prod(sides)) == count else ()
