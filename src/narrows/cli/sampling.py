"""The options that the second stage of a run is drawn with, from what its prior's `sample` takes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from narrows.cli.option import Option
from narrows.core.check import NarrowsError
from narrows.core.texts import reader, shown

__all__ = ["prior_of", "sampling_options"]


def prior_of(words: Sequence[str]) -> str:
    """The name of the prior of the run among what was typed; nothing where there is no run, or none with a prior."""
    from narrows.methods import index
    from narrows.priors import PRIORS
    from narrows.runs.recipe import Recipe

    folder = next((Path(word) for word in words if (Path(word) / "recipe.json").is_file()), None)
    if folder is None:
        return ""
    try:
        recipe = Recipe.read(folder)
        text = recipe.prior.get("text") or recipe.arguments.get("prior")
        if text is None and recipe.method in index.METHODS:
            known = inspect.signature(index.builder(recipe.method)).parameters
            text = known["prior"].default if "prior" in known else None
        return "" if text is None or PRIORS.word(text) else PRIORS.read(text).name
    except NarrowsError:
        return ""  # whoever opens the run says what is wrong with it


def sampling_options(words: Sequence[str]) -> list[Option]:
    """The options of all priors, of which the help shows those of the run's own.

    Another prior's are read too, so that the run can refuse them and list its own.

    Args:
        words: what was typed, which names the run.
    """
    from narrows import priors

    own = prior_of(words)
    found: dict[str, Option] = {}
    for name in sorted(priors.PRIORS.parts, key=lambda name: name != own):
        prior = priors.PRIORS.constructor(name)
        for option in priors.sampling_options(prior).values():  # type: ignore[arg-type]
            metavar, read = reader(option.hint)
            said = (
                option.name,
                read,
                metavar,
                option.description,
                shown(option.default),
                f"How {name} draws",
            )
            found.setdefault(option.name, Option(*said, hidden=name != own))
    return list(found.values())
