"""Where the functions of a run are asked: at a grid as fine as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from narrows.core.check import refuse
from narrows.data.domain import Domain

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["domain_of", "queries"]


def domain_of(run: Run) -> Domain | None:
    """The domain of the fields that a run was fitted on; None where it was fitted on something else.

    Args:
        run: the run.
    """
    form = run.recipe.data.get("domain")
    return None if form is None else Domain.of(form)


def queries(run: Run, resolution: float | None) -> dict[str, Tensor]:
    """The condition that asks a decoder for a finer grid, (1, Q, k); nothing where nobody asks.

    Args:
        run: the run.
        resolution: how many times as many points along each coordinate as the data of the fit have.

    Raises:
        RequestError: the run's data are no fields.
    """
    if resolution is None:
        return {}
    domain = domain_of(run)
    if domain is None:
        kind = run.recipe.spec.kind
        fix = "Fit a method that reads fields, such as vano."
        raise refuse("resolution", resolution, f"left out: the data of this run are of the kind {kind}", fix)
    return {"queries": domain.points(domain.sides(resolution, run.recipe.spec.shape[0]))[None]}
