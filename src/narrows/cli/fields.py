"""Fields as files and pictures: values on a grid with the positions of its points."""

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
    """Whether a run's fields have points of their own each, so that a picture or a sample needs a grid."""
    return run.recipe.spec.kind == "field" and not _domain(run).grid


def field_arrays(run: Run, x: np.ndarray, examples: Dataset | None = None) -> dict[str, np.ndarray]:
    """What an .npz holds of fields, so that `narrows fit` reads it again: ``u``, and ``grid`` or ``points``.

    Args:
        run: the run that made them.
        x: values in the units of the data, (N, Q, C).
        examples: where they are known; None where that is a grid.
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


def field_picture(run: Run, shades: np.ndarray) -> np.ndarray:
    """Values as the model sees them, (N, Q, C), as images (N, C, H, W) or series (N, Q, C).

    Args:
        run: the run that made them.
        shades: the values.

    Raises:
        RequestError: points of more than one coordinate that lie on no grid of two.
    """
    domain = _domain(run)
    sides = _sides(domain, shades.shape[1])
    if domain.k == 1:
        return shades
    if len(sides) != 2:
        raise RequestError(
            "Only fields of one coordinate, or on a grid of two, can be drawn: use --out x.npz."
        )
    return np.moveaxis(shades.reshape(len(shades), *sides, -1), -1, 1)


def field_pairs(run: Run, examples: Dataset, shades: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Originals and reconstructions as equal pictures: an original is shown at the nearest of its points, if known.

    Args:
        run: the run that made them.
        examples: the originals, as many as `shades`.
        shades: the reconstructions as the model sees them, (N, Q, C).
    """
    domain, batch = _domain(run), examples.all()
    seen = batch.target.numpy()
    if "mask" in batch.condition:
        seen = np.where(
            batch.condition["mask"][..., None].numpy(), seen, np.float32(0.5 if domain.k == 2 else np.nan)
        )
    sides, positions = _sides(domain, shades.shape[1]), batch.condition["positions"].numpy()
    if seen.shape[1] != shades.shape[1] or not domain.grid:
        at = domain.points(sides).numpy()
        seen = np.stack([_nearest(*pair, at) for pair in zip(seen, positions, strict=True)])
    return field_picture(run, seen), field_picture(run, shades)


def _nearest(values: np.ndarray, positions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values (P, C) at positions (P, k), taken at the nearest to each of (Q, k)."""
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
    """The sides of the grid, the domain's own made finer or coarser, that has so many points; () of none."""
    sides = (
        domain.sides((count / np.prod(domain.grid)) ** (1 / domain.k))
        if domain.grid
        else domain.sides(1, count)
    )
    return sides if int(np.prod(sides)) == count else ()
