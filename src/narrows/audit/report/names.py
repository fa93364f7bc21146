"""Distinct names of the runs of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["distinct_names"]

_UNNAMED = ("seed", "device", "log_every")


def distinct_names(runs: Sequence[tuple[str, Mapping[str, Any], str]]) -> list[str]:
    """A name for each run: the method, then what differs in the recipes, the data or a number.

    Args:
        runs: of each the method, the recipe and the data.

    Example:
        >>> recipes = [{"prior": {"text": text}, "training": {}} for text in ("maskgit", "flow")]
        >>> distinct_names([("vae", recipe, "digits") for recipe in recipes])
        ['vae, prior maskgit', 'vae, prior flow']
        >>> distinct_names([("ae", {}, "digits"), ("vae", {}, "digits")])
        ['ae', 'vae']
    """
    names = [method for method, _, _ in runs]
    if len(set(names)) < len(names):
        settings = [_settings(recipe) for _, recipe, _ in runs]
        names = [_with_differences(i, settings, name) for i, name in enumerate(names)]
    if len(set(names)) < len(names):
        names = [f"{name} on {data}" for name, (_, _, data) in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{number}. {name}" for number, name in enumerate(names, start=1)]
    return names


def _with_differences(which: int, settings: Sequence[Mapping[str, Any]], name: str) -> str:
    """The method's name with the settings in which the runs differ."""
    keys = dict.fromkeys(key for held in settings for key in held if key not in _UNNAMED)
    differ = [key for key in keys if len({str(held.get(key)) for held in settings}) > 1]
    differences = [f"{key} {settings[which][key]}" for key in differ if key in settings[which]]
    return f"{name}, {', '.join(differences)}" if differences else name


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, the second-stage prior, and the fields of the plan, those of single stages by their names."""
    prior, training = recipe.get("prior") or {}, dict(recipe.get("training") or {})
    stages = (training.pop("stages", None) or {}).items()
    own = {f"{stage} {key}": value for stage, fields in stages for key, value in fields.items()}
    arguments = dict(recipe.get("arguments") or {})
    if prior:  # instead of the method's own
        arguments["prior"] = prior["text"]
    return {**arguments, **training, **own}
