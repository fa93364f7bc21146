"""A second stage on a run that is finished: which run, what the recipe keeps of it, the weights it begins with."""

from __future__ import annotations

import inspect
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from narrows.core import Autoencoder, files
from narrows.core.check import RequestError, refuse
from narrows.core.tensorfile import write_tensors
from narrows.data import Source, names
from narrows.priors import PRIORS
from narrows.runs.recipe import Builder, Recipe
from narrows.runs.run import Run, load

__all__ = ["FINISHED", "base_of", "begin_with", "belongs_to", "on_a_run", "with_prior", "write_begin"]

FINISHED = ("autoencoder",)
"""The stages that a run on another run does not train."""

_BEGIN = "model.safetensors"


def base_of(data: Any, prior: str | None) -> Run | None:
    """The finished run that a prior is asked for on: a `Run`, or the path of its folder; None for any other data.

    Raises:
        RequestError: the run is not finished, or no prior is asked for.
    """
    if not isinstance(data, Run):
        named = not isinstance(data, (str, Path)) or str(data) in names()
        if named or not (Path(data) / "recipe.json").is_file():
            return None
        data = load(data)
    if prior is None or PRIORS.word(prior):
        listed = ", ".join(PRIORS.parts)
        raise RequestError(
            f"{data.path} is a run. Say which prior to fit to its codes: --prior NAME, of {listed}."
        )
    if not (data.path / "result.json").is_file():
        raise RequestError(
            f"The run {data.path} is not finished. Finish it first: narrows resume {data.path}"
        )
    return data


def belongs_to(prior: str, builder: Builder) -> bool:
    """Whether a prior is said to a method's builder, which has an argument of that name.

    The argument of some methods means the distribution of their latents, and takes words of its own: a second stage is
    then put over the method from outside.
    """
    known = inspect.signature(builder).parameters
    if "prior" not in known:
        return False
    default, asked = (str(text).partition(":")[0] for text in (known["prior"].default, prior))
    return default in PRIORS or asked not in PRIORS


def with_prior(recipe: Recipe, model: Autoencoder, prior: str, source: Source) -> Recipe:
    """Put a prior on a model, and its description into the recipe.

    Args:
        recipe: of the run.
        model: whose codes are modelled; what second stage it had is gone.
        prior: as it is spelled.
        source: the data, whose first examples tell what the codes look like.
    """
    few = source.train.batch(slice(0, min(2, len(source.train))), model.conditions)
    symbols = model.symbols_of(few)
    said = {"text": prior, "shape": list(symbols.shape), "codes": symbols.codes}
    recipe = replace(recipe, prior=said)
    recipe.put_prior(model)
    return recipe


def on_a_run(base: Run, options: Any) -> tuple[Recipe, Autoencoder, Source]:
    """The recipe so far, a copy of the model, and the data of a second stage on a finished run.

    Args:
        base: the finished run, which stays as it is.
        options: of the method, which must be none.

    Raises:
        RequestError: options of a method that is trained already.
    """
    if options:
        raise refuse("options", sorted(options), "none: the run's method is trained already")
    result = files.read_json(base.path / "result.json")
    kept = {"run": str(base.path), "sha256": result["sha256"], "recipe": base.recipe.form()}
    return replace(base.recipe, prior={}, base=kept), deepcopy(base.model), base.data


def write_begin(folder: Path, model: Autoencoder) -> None:
    """Write the weights that a second stage begins with, so that its folder needs no other.

    They lie where the finished weights will be; until there is a result nothing else reads them.
    """
    tensors = {n: t for n, t in model.state_dict().items() if not n.startswith("prior.")}
    again = f"Free some, then begin anew in another folder than {folder}"
    write_tensors(folder / _BEGIN, tensors, again, {"format": "pt"})


def begin_with(folder: Path, model: Autoencoder) -> None:
    """Give a model the weights that its second stage begins with.

    Raises:
        RequestError: they are missing, damaged, or not this model's.
    """
    path = folder / _BEGIN
    try:
        found = load_file(path)
        expected = {n: t.shape for n, t in model.state_dict().items() if not n.startswith("prior.")}
        if {n: t.shape for n, t in found.items() if not n.startswith("prior.")} != expected:
            raise SafetensorError("its weights are not those of the model")
    except (OSError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise RequestError(f"{path} is damaged: {reason}. Fit the prior again in a new folder.") from error
    model.load_state_dict(found, strict=False)
