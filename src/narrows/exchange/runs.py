"""Run folders from descriptions, and descriptions from run folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from narrows.core import files
from narrows.core.tensorfile import write_tensors
from narrows.data import Scaling
from narrows.exchange.description import Description, Losses
from narrows.exchange.format import Format
from narrows.exchange.model import arguments_of, build, describe, method_of, spec_of, weights_of
from narrows.runs.card import write_card
from narrows.runs.provenance import metadata_of
from narrows.runs.recipe import Recipe, versions
from narrows.runs.upgrade import renamed
from narrows.runs.weights import check_weights, read_weights
from narrows.train import Plan

__all__ = ["Narrows", "recipe_of"]


def recipe_of(description: Description) -> Recipe:
    """The recipe of a description: its method and arguments, and what is known of its origin."""
    spec = spec_of(description)
    scaling = Scaling().describe()
    data: dict[str, Any] = {"what": "", "scaling": scaling}
    data["spec"] = {**spec.to_json(), "class_names": [], "rows": [0, 0]}
    if spec.target is not None:
        data["target_scaling"] = scaling
    origin = {
        "format": description.format,
        "metadata": dict(description.metadata),
        "promises": dict(description.promises),
        "options": dict(description.options),
    }
    plan = Plan(steps=1, batch_size=1).to_json()
    return Recipe(
        method_of(description), arguments_of(description), spec, data, plan, versions(1), origin=origin
    )


class Narrows(Format):
    """The run folders of this package."""

    name = "narrows"
    title = "recipe.json with model.safetensors"

    def recognises(self, path: Path) -> bool:
        """A folder with a recipe."""
        return (path / "recipe.json").is_file()

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """The description of a run; tensors have the type of its file."""
        recipe = Recipe.read(path)
        weights = renamed(read_weights(path))
        with torch.device("meta"):
            model = recipe.build()
        check_weights(path, weights, model)
        origin = recipe.origin
        known = describe(model, weights, metadata=metadata_of(recipe), promises=origin.get("promises", {}))
        return replace(known, options={**origin.get("options", {}), **known.options}, format=self.name)

    def losses(self, description: Description) -> Losses:
        """It holds all that it can compute.

        Raises:
            RequestError: no method computes what the description says.
        """
        arguments_of(description)
        return Losses()

    def save(self, description: Description, folder: Path) -> None:
        """A run folder, with tensors of the types of the description."""
        recipe, model = recipe_of(description), build(description)
        recipe.write(folder)
        state = weights_of(description, model)
        sha256 = write_tensors(
            folder / "model.safetensors", state, "Free some, then convert again.", {"format": "pt"}
        )
        result = {"sha256": sha256, "steps": 0, "seconds": 0.0, "stages": {}}
        write_card(folder, recipe, model, result)
        files.write(folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())
