"""Sampling options of a run, from the signatures of `sample` of its prior and its likelihood."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.cli.option import Option
from narrows.core.check import NarrowsError
from narrows.core.texts import reader, shown

if TYPE_CHECKING:
    from narrows.runs.recipe import Recipe

__all__ = ["prior_of", "sampling_options"]


def prior_of(words: Sequence[str]) -> str:
    """The name of the prior of the run on the command line; empty if there is no run or no learned prior."""
    return _prior(_recipe(words))


def _recipe(words: Sequence[str]) -> Recipe | None:
    """The recipe of the run on the command line."""
    from narrows.runs.recipe import Recipe

    folder = next((Path(word) for word in words if (Path(word) / "recipe.json").is_file()), None)
    try:
        return None if folder is None else Recipe.read(folder)
    except NarrowsError:
        return None  # the error is raised when the run is opened


def _prior(recipe: Recipe | None) -> str:
    from narrows.methods import index
    from narrows.priors import PRIORS

    if recipe is None:
        return ""
    try:
        text = recipe.prior.get("text") or recipe.arguments.get("prior")
        if text is None and recipe.method in index.METHODS:
            known = inspect.signature(index.builder(recipe.method)).parameters
            text = known["prior"].default if "prior" in known else None
        return "" if text is None or PRIORS.word(text) else PRIORS.read(text).name
    except NarrowsError:
        return ""


def _names(text: str) -> set[str]:
    """The names of the priors that a text lists."""
    from narrows.priors import PRIORS
    from narrows.runs.priors import split_priors

    return {PRIORS.canonical(one.partition(":")[0]) for one in split_priors(text)}


def sampling_options(words: Sequence[str], prior: str | None = None) -> list[Option]:
    """The sampling options of all priors, of `jetformer` and of texts; the help shows those of the run.

    The others are parsed too, so that the error message can list the valid ones.

    Args:
        words: the command line, which names the run.
        prior: the priors that are asked for; the run's own if None.
    """
    from narrows import priors
    from narrows.likelihoods.tokens import Tokens
    from narrows.priors.soft_tokens import SoftTokens

    recipe = _recipe(words)
    own = {_prior(recipe)} if prior is None else _names(prior)
    texts = recipe is not None and recipe.spec.kind == "tokens"
    parts: list[tuple[str, bool, Any]] = [
        (f"Sampling options of {name}", name in own, priors.PRIORS.constructor(name))
        for name in priors.PRIORS.parts
    ]
    joint = recipe is not None and recipe.method == "jetformer" and own == {""}
    parts.append(("Sampling options of jetformer", joint, SoftTokens))
    parts.append(("Sampling options of texts", texts, Tokens))
    found: dict[str, Option] = {}
    for panel, shows, part in sorted(parts, key=lambda part: not part[1]):
        for option in priors.sampling_options(part).values():
            metavar, read = reader(option.hint)
            fields = (option.name, read, metavar, option.description, shown(option.default), panel)
            found.setdefault(option.name, Option(*fields, hidden=not shows))
    return list(found.values())
