"""`load`: a run from its folder."""

from __future__ import annotations

from pathlib import Path

import torch

from narrows.core import Autoencoder, Prior
from narrows.core.check import RequestError, WorkError
from narrows.runs.recipe import Builder, Recipe
from narrows.runs.run import Run
from narrows.runs.upgrade import renamed
from narrows.runs.weights import check_weights, read_weights

__all__ = ["load"]


def load(path: str | Path, *, method: Builder | Autoencoder | None = None, prior: Prior | None = None) -> Run:
    """Open a run folder; if the run was interrupted, with the model of its last valid checkpoint.

    Args:
        path: the run folder.
        method: the builder, or a model for the weights, of a run whose method has no name.
        prior: a prior for the weights, of a run that was given a `Prior`.

    Raises:
        RequestError: the folder is not a run, the recipe is damaged, or the weights do not match recipe or checksum.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        narrows.core.check.RequestError: nowhere is not a run: it has no recipe.json. Make one with: narrows fit
    """
    folder = Path(path)
    recipe = Recipe.read(folder)
    weights = renamed(read_weights(folder))
    if isinstance(method, Autoencoder):
        model = recipe.put_prior(method, prior)
    else:
        # before memory is allocated
        check_weights(folder, weights, _on_meta_device(recipe, method, prior))
        model = recipe.build(method, prior)
    check_weights(folder, weights, model)
    model.load_state_dict(weights)
    return Run(folder, recipe, model.eval())


def _on_meta_device(recipe: Recipe, method: Builder | None, prior: Prior | None) -> Autoencoder | None:
    """The model without values; None if the builder needs values."""
    try:
        with torch.device("meta"):
            return recipe.build(method, prior)
    except (RequestError, WorkError):
        return None  # the error is raised when the model is built with values
