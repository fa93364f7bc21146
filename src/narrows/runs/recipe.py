"""A recipe: everything a run was asked for, in JSON that a person can read and a program can follow again."""

from __future__ import annotations

import inspect
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from narrows import files
from narrows.check import RequestError, UnknownOptionError, builtin, nearest, refuse
from narrows.core import Autoencoder, Spec, as_spec
from narrows.methods import index

__all__ = ["CUSTOM", "Builder", "Recipe", "check_options"]

CUSTOM = "custom"
"""The method of a run whose model was assembled by hand or by a builder outside the table."""

Builder = Callable[..., Autoencoder]
_FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """What a run was asked for.

    Args:
        method: a name of the table of methods, or ``custom``.
        arguments: the builder's keyword arguments.
        spec: what one example looks like.
        data: the arguments of `narrows.data.open`.
        training: the fields of `Plan`.
        versions: of narrows, torch and Python, and the number of threads (which decides the last bits of a sum).
    """

    method: str
    arguments: Mapping[str, Any]
    spec: Spec
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, Any] = field(default_factory=dict)

    def build(self, builder: Builder | None = None) -> Autoencoder:
        """A fresh model; a method that is not in the table must be handed in.

        Raises:
            RequestError: the recipe's method is ``custom`` and no builder was given.
        """
        if builder is None:
            if self.method == CUSTOM:
                raise RequestError(
                    "This run's model was assembled outside the table of methods, so the recipe cannot build it. "
                    "Hand the builder (or the model) in as ``method``: in Python, nr.load."
                )
            builder = index.builder(self.method)
        return builder(self.spec, **self.arguments)

    @property
    def data_name(self) -> str:
        """A short name of the data."""
        what = self.data.get("name") or self.data.get("what") or "data"
        return Path(str(what)).stem

    def write(self, folder: Path) -> None:
        """Write ``recipe.json``.

        Raises:
            RequestError: an argument that JSON cannot hold.
        """
        spec = {k: v for k, v in vars(self.spec).items() if v is not None}
        kept = {"format": _FORMAT, **vars(self), "spec": spec}
        try:
            text = json.dumps(kept, indent=2)
        except TypeError as error:
            raise RequestError(
                f"A recipe must be able to keep every argument, and it cannot keep one: {error}. "
                "Use numbers, texts and tuples; a schedule as a text such as 'linear:0:1:1000'."
            ) from error
        files.write(folder / "recipe.json", (text + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read and check ``recipe.json``.

        Raises:
            RequestError: the folder is no run, or its recipe is damaged or from another version.
        """
        path = folder / "recipe.json"
        if not path.is_file():
            raise RequestError(f"{folder} is not a run: it has no recipe.json. Make one with: narrows fit")
        try:
            kept = json.loads(path.read_text())
            if kept.pop("format") != _FORMAT:
                raise ValueError("another format than this version reads")
            spec = kept.pop("spec")
            shapes = {k: tuple(spec[k]) for k in ("shape", "target") if spec.get(k) is not None}
            recipe = cls(spec=Spec(**{**spec, **shapes}), **kept)
            recipe = cls(**{**vars(recipe), "arguments": {k: _tuple(v) for k, v in recipe.arguments.items()}})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"{path} is damaged: {error}.") from error
        as_spec(recipe.spec.shape)
        if recipe.method != CUSTOM:
            check_options(index.builder(recipe.method), recipe.arguments, recipe.method)
        return recipe


def versions(threads: int) -> dict[str, Any]:
    """What the last bits of a run depend on besides its recipe."""
    return {
        "narrows": version("narrows"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": threads,
    }


def check_options(builder: Builder, options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Hold options to a builder's signature; none is ever dropped.

    Raises:
        UnknownOptionError: an option that the method does not have; the text names the nearest.
    """
    known = [p.name for p in list(inspect.signature(builder).parameters.values())[1:]]
    for name, value in options.items():
        if name not in known:
            raise UnknownOptionError(
                f"`{method}` has no option ``{name}`` (given {value!r}). {nearest(name, known, '``')} "
                f"See: narrows fit --method {method} --help"
            )
        if isinstance(value, bytes) or (callable(value) and not isinstance(value, type)):
            raise refuse(name, value, "a number, a text or a tuple, which a recipe can keep")
    return {name: builtin(value) for name, value in options.items()}


def _tuple(value: Any) -> Any:
    """JSON knows lists only, our options tuples only."""
    return tuple(_tuple(v) for v in value) if isinstance(value, list) else value
