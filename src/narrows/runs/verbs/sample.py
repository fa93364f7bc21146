"""The verb `sample`: new examples from the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import seeded
from narrows.core.check import RequestError, refuse, whole
from narrows.core.progress import with_progress
from narrows.priors import check_sampling
from narrows.runs.codes import together
from narrows.runs.verbs.grid import queries as fields_grid

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["sample"]

_CHUNK = 512


@torch.no_grad()
def sample(
    run: Run,
    n: int,
    *,
    seed: int,
    label: int | None,
    draw: bool,
    resolution: float | None = None,
    progress: Any,
    **options: Any,
) -> np.ndarray:
    """New examples from the prior, (n, *shape).

    Args:
        run: the run.
        n: how many.
        seed: the same seed gives the same examples.
        label: which class a model that is told labels is asked for; all in turn when None.
        draw: draw from the likelihood instead of taking its mean.
        resolution: of fields, so many times the points along each coordinate that the data of the fit have.
        progress: a `narrows.core.progress.Progress`, or None.
        options: how the second stage draws, where there is one: ``steps``, ``temperature`` ...

    Raises:
        RequestError: the method has no prior, or one without these options, or is told what no prior draws; or a label
            that does not exist.
    """
    n = whole("n", n)
    check_sampling(run.model.prior, options)
    condition, grid = labels(run, n, label), fields_grid(run, resolution)

    def part(first: int) -> Tensor:
        told = {k: v[first : first + _CHUNK] for k, v in condition.items()}
        return run.model.sample(min(_CHUNK, n - first), {**told, **grid}, draw, **options)

    with seeded(seed):
        parts = with_progress((part(first) for first in range(0, n, _CHUNK)), n, progress, "Sampling")
        return run._units(together(parts))


def labels(run: Run, n: int, label: int | None) -> dict[str, Tensor]:
    """The labels of n samples, one-hot, where the model is told labels."""
    told = run.model.conditions
    if label is not None and "labels" not in told:
        fix = "Try method cvae, or a prior that is told labels: --prior maskgit:labels=yes."
        raise refuse("label", label, f"left out: `{run.method}` is not told labels", fix)
    if not told:
        return {}
    if told != ("labels",):
        raise RequestError(
            f"`{run.method}` is told the {', '.join(told)} of each example, and no prior draws them: "
            "there is nothing to sample from. Fit a method with a prior, such as `vae`."
        )
    classes = run.recipe.spec.classes
    if label is not None:
        whole("label", label, low=0, high=classes - 1)
    rows = torch.arange(n) % classes if label is None else torch.full((n,), label)
    return {"labels": torch.nn.functional.one_hot(rows, classes).float()}
