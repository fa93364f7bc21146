"""`sample`: new examples from the prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import Autoencoder, seeded
from narrows.core.check import RequestError, refuse, whole
from narrows.core.progress import with_progress
from narrows.nets.sequence import Clock
from narrows.nets.windows import Waves
from narrows.priors import check_sampling
from narrows.priors.samplers.lantern import Draft, neighbours
from narrows.runs.codes import concatenated
from narrows.runs.verbs.grid import queries as fields_grid

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["draft_of", "sample", "usual_gap"]

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
        n: number of examples.
        seed: random seed.
        label: class of all examples, for a model conditioned on labels. If None, all classes in turn, or, if only the
            prior is told labels, as often as in its training data.
        draw: draw from the likelihood instead of taking its mean.
        resolution: for fields: number of points along each coordinate, as a multiple of that of the training data.
        progress: a `narrows.core.progress.Progress`, or None.
        options: sampling options of a learned prior: ``steps``, ``temperature`` ...; for texts those of the decoder:
            ``temperature``, ``top_k``.

    Raises:
        RequestError: the method has no prior, the prior lacks an option, the model has a condition other than labels,
            or the label does not exist.
    """
    n = whole("n", n)
    check_sampling(run.model, options)
    if options.get("draft"):
        options["draft"] = draft_of(run, options["draft"])
    condition, grid = labels(run, n, label) | _times(run, n), fields_grid(run, resolution)

    def part(first: int) -> Tensor:
        part_condition = {k: v[first : first + _CHUNK] for k, v in condition.items()}
        drawn = draw or run.recipe.spec.kind == "table"  # means of columns are no rows
        return run.model.sample(min(_CHUNK, n - first), {**part_condition, **grid}, drawn, **options)

    with seeded(seed):
        parts = with_progress((part(first) for first in range(0, n, _CHUNK)), n, progress, "Sampling")
        return run._units(concatenated(parts))


def usual_gap(model: Autoencoder) -> float:
    """The usual gap between steps of a model's training data, in their units; 1 if it was told no times."""
    parts = list(model.modules())
    medians = [float(part.gap) for part in parts if isinstance(part, Waves)]
    means = [float(part.pace) for part in parts if isinstance(part, Clock)]
    return next(iter([*medians, *means]), 1.0)


def _times(run: Run, n: int) -> dict[str, Tensor]:
    """Equal steps at the usual gap, of a model that reads series of any length and their times; else none."""
    spec, model = run.recipe.spec, run.model
    if not (model.likelihood.any_length and "times" in spec.conditions and model.prior is None):
        return {}
    return {"times": usual_gap(model) * torch.arange(spec.shape[0]).float().expand(n, -1)}


def draft_of(run: Run, draft: str | Path | Run) -> Draft:
    """The prior of another run, to propose indices for this one.

    Args:
        run: whose prior draws.
        draft: the other run or its folder.

    Raises:
        RequestError: the run has no codebook for all positions, or the other has no prior, or another codebook.
    """
    import narrows as nr  # whose `load` itself needs runs

    other = nr.load(draft) if isinstance(draft, (str, Path)) else draft
    books = run.model.bottleneck, other.model.bottleneck
    own, theirs = (book.code_vectors() for book in books)
    if own is None:
        what = type(books[0]).__name__
        raise refuse("draft", str(other.path), f"left out: {what} has no codebook for all positions")
    same = theirs is not None and books[0].symbols == books[1].symbols and torch.equal(own, theirs)
    if not same or other.model.prior is None:
        what = "no prior" if same else "another codebook"
        fix = "Fit both priors to the same finished run: narrows fit BASE --prior autoregressive:depth=1 --out DRAFT"
        raise refuse(
            "draft", f"{other.path}, which has {what}", "a run with a prior on the same codebook", fix
        )
    return Draft(other.model.prior, neighbours(own))


def labels(run: Run, n: int, label: int | None) -> dict[str, Tensor]:
    """The labels of n samples, one-hot; empty if the model is not conditioned on labels."""
    conditions = run.model.all_conditions
    if label is not None and "labels" not in conditions:
        fix = "Use the method cvae, or a prior with labels: --prior maskgit:labels=yes."
        raise refuse("label", label, f"left out: `{run.method}` is not conditioned on labels", fix)
    if not conditions or (label is None and not run.model.conditions):
        return {}  # a prior that is told labels draws them, as often as they are in its training data
    if conditions != ("labels",):
        raise RequestError(
            f"`{run.method}` is conditioned on the {', '.join(conditions)} of each example, which has no prior, "
            "so it cannot be sampled. Fit a method with a prior, such as `vae`."
        )
    classes = run.recipe.spec.classes
    if label is not None:
        whole("label", label, low=0, high=classes - 1)
    rows = torch.arange(n) % classes if label is None else torch.full((n,), label)
    return {"labels": torch.nn.functional.one_hot(rows, classes).float()}
