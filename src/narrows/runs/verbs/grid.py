"""Points of a grid at which the fields of a run are evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from narrows.core.check import refuse
from narrows.data.domain import Domain

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["domain_of", "queries"]


def domain_of(run: Run) -> Domain | None:
    """The domain of the fields of a run; None for other data.

    Args:
        run: the run.
    """
    form = run.recipe.data.get("domain")
    return None if form is None else Domain.of(form)


def queries(run: Run, resolution: float | None) -> dict[str, Tensor]:
    """The condition with the points of a finer grid, (1, Q, k); empty without a resolution.

    Args:
        run: the run.
        resolution: number of points along each coordinate, as a multiple of that of the training data.

    Raises:
        RequestError: the run's data are not fields.
    """
    if resolution is None:
        return {}
    domain = domain_of(run)
    if domain is None:
        kind = run.recipe.spec.kind
        fix = "Fit a method that reads fields, such as vano."
        raise refuse(
            "resolution", resolution, f"left out: the data of this run are of kind {kind}, not fields", fix
        )
    return {"queries": domain.points(domain.sides(resolution, run.recipe.spec.shape[0]))[None]}
