"""A recipe: everything a run was asked for, in JSON that a person can read and a program can follow again."""

from __future__ import annotations

import inspect
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from narrows import data as nd
from narrows.core import Autoencoder, Spec, Symbols, files, seeded
from narrows.core.check import (
    NarrowsError,
    RequestError,
    UnknownOptionError,
    builtin,
    choice,
    nearest,
    number,
    refuse,
    whole,
)
from narrows.data import Source
from narrows.methods import index
from narrows.priors import PRIORS, make_prior
from narrows.runs.upgrade import upgraded
from narrows.train import Plan

__all__ = ["CUSTOM", "Builder", "Recipe", "check_options"]

CUSTOM = "custom"
"""The method of a run whose model was assembled by hand or by a builder outside the table."""

Builder = Callable[..., Autoencoder]
_FORMAT = 1
_MOST = 1 << 40
_KINDS = {
    "format": int,
    "method": str,
    "arguments": dict,
    "spec": dict,
    "data": dict,
    "training": dict,
    "versions": dict,
    "fingerprint": str,
    "prior": dict,
    "base": dict,
}
"""What a recipe holds, and of which type."""
_LATER = ("fingerprint", "prior", "base")
"""What a recipe may be without."""
_WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError)
"""What following an edited recipe may end in, besides a refusal."""


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
        fingerprint: of the data (see `narrows.runs.fingerprint`), or nothing where they cannot change.
        prior: a second stage that stands in no argument of the method: its text, and the shape of the codes.
        base: of a second stage on a finished run: that run's folder, recipe, and the digest of its weights.
    """

    method: str
    arguments: Mapping[str, Any]
    spec: Spec
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    prior: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)

    def build(self, builder: Builder | None = None) -> Autoencoder:
        """A fresh model; a method that is not in the table must be handed in.

        Raises:
            RequestError: the recipe's method is ``custom`` and no builder was given, or its arguments are not those
                of the builder.
        """
        if builder is None:
            if self.method == CUSTOM:
                raise RequestError(
                    "This run's model was assembled outside the table of methods, so the recipe cannot build it. "
                    "Hand the builder (or the model) in as ``method``: in Python, nr.load."
                )
            builder = index.builder(self.method)
        try:
            return self.put_prior(builder(self.spec, **self.arguments))
        except NarrowsError:
            raise
        except _WRONG as error:
            reason = str(error).split("\n")[0]
            raise RequestError(f"The recipe's arguments do not make a `{self.method}`: {reason}.") from error

    def put_prior(self, model: Autoencoder) -> Autoencoder:
        """Put the recipe's own second stage, where it has one, on a model; its weights depend on the seed alone."""
        if self.prior:
            symbols = Symbols(tuple(self.prior["shape"]), self.prior["codes"])
            with seeded(self.training["seed"]):
                model.set_prior(make_prior(self.prior["text"], symbols, self.spec.classes))
        return model

    def open(self, data: Any = None) -> Source:
        """The data again, as they are described; or others in their place.

        Raises:
            RequestError: there are no such data, or the description cannot be followed.
        """
        try:
            return nd.open(**{**self.data, **({} if data is None else {"what": data})})
        except NarrowsError:
            raise
        except _WRONG as error:
            reason = str(error).split("\n")[0]
            raise RequestError(f"The recipe's data cannot be opened: {reason}.") from error

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
        text = json.dumps(files.with_checksum(self.form()), indent=2)
        files.write(folder / "recipe.json", (text + "\n").encode())

    def form(self) -> dict[str, Any]:
        """The recipe as JSON holds it.

        Raises:
            RequestError: an argument that JSON cannot hold.
        """
        spec = self.spec.to_json()
        try:
            said = {
                name: value for name, value in vars(self).items() if value or name not in ("prior", "base")
            }
            kept = {"format": _FORMAT, **said, "spec": spec}
            return dict(json.loads(json.dumps(kept, allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"A recipe must be able to keep every argument, and it cannot keep one: {error}. "
                "Use finite numbers, texts and tuples; a schedule as a text such as 'linear:0:1:1000'."
            ) from error

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read and check ``recipe.json``.

        Raises:
            RequestError: the folder is no run, or its recipe is damaged or from another version.
        """
        path = folder / "recipe.json"
        try:
            kept = files.read_json(path)
            if isinstance(kept, dict) and "sha256" in kept:  # who edits a recipe on purpose takes it out
                kept = files.without_checksum(kept)
            recipe = cls(**_checked(kept))
        except (FileNotFoundError, NotADirectoryError):
            raise RequestError(
                f"{folder} is not a run: it has no recipe.json. Make one with: narrows fit"
            ) from None
        except _WRONG as error:
            fix = (
                "If you edited it on purpose, remove its entry `sha256`." if "checksum" in str(error) else ""
            )
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise RequestError(f"{path} is damaged: {reason}. {fix}".rstrip()) from error
        return recipe if recipe.method == CUSTOM else recipe.known()

    def known(self) -> Recipe:
        """The recipe with options that the method's builder has, those of earlier releases under today's names.

        Raises:
            UnknownOptionError: an option that the method does not have.
        """
        parameters = inspect.signature(index.builder(self.method)).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        arguments = upgraded(self.method, self.arguments, defaults, self.spec)
        check_options(index.builder(self.method), arguments, self.method)
        return replace(self, arguments=arguments)


def _checked(kept: Any) -> dict[str, Any]:
    """The fields of a recipe out of JSON, each of its type.

    Raises:
        ValueError: one of them is missing, unknown, or not what a recipe holds.
    """
    if not isinstance(kept, dict) or kept.get("format") != _FORMAT:
        raise ValueError("another format than this version reads")
    for name, value in kept.items():
        kind = _KINDS.get(name)
        if kind is None or type(value) is not kind:
            raise ValueError(f"`{name}` is not what a recipe holds")
    missing = [name for name in _KINDS if name not in kept and name not in _LATER]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing")
    training = Plan.from_json(dict(kept["training"])).to_json()  # what is not there has its default
    _check_description(kept["data"])
    if kept.get("prior"):
        _check_prior(kept["prior"])
    threads = kept["versions"].get("threads")
    if threads is not None:
        whole("threads", threads, high=4096)
    arguments = {k: _tuple(v) for k, v in kept["arguments"].items()}
    return {k: v for k, v in kept.items() if k != "format"} | {
        "spec": _spec(kept["spec"]),
        "arguments": arguments,
        "training": training,
    }


def _spec(form: dict[str, Any]) -> Spec:
    """What one example looks like, out of JSON."""
    if form.get("kind") != "views":
        _shape(form.get("shape"), low=0 if form.get("kind") == "graph" else 1)
    if form.get("target") is not None:
        _shape(form["target"])
    whole("classes", form.get("classes", 0), low=0, high=_MOST)
    return Spec.from_json(form)


def _shape(form: Any, low: int = 1) -> tuple[int, ...]:
    if not isinstance(form, list) or not 1 <= len(form) <= 8:
        raise ValueError(f"{form!r} is no shape")
    return tuple(whole("shape", n, low=low, high=_MOST) for n in form)


def _check_prior(form: Mapping[str, Any]) -> None:
    """Hold what a recipe says of a second stage to what `Recipe.put_prior` reads."""
    if set(form) != {"text", "shape", "codes"} or not isinstance(form["text"], str):
        raise ValueError("`prior` is not what a recipe holds")
    whole("codes", form["codes"], low=0, high=_MOST)
    for n in form["shape"]:
        whole("shape", n, high=_MOST)
    PRIORS.read(form["text"])


def _check_description(data: Mapping[str, Any]) -> None:
    """Hold the description of the data to what `Source.describe` writes."""
    if not isinstance(data.get("what", ""), str):
        raise ValueError("`what` of the data is no text")
    spec = data["spec"]
    _check_forms(data.get("forms", {}), spec.get("parts", {}) if spec.get("kind") == "views" else {})
    _check_scaling(data["scaling"], spec, "shape")
    if data.get("target_scaling") is not None:
        _check_scaling(data["target_scaling"], spec, "target")
    names, rows = spec["class_names"], spec["rows"]
    if not isinstance(names, list) or not isinstance(rows, list) or len(rows) != 2:
        raise ValueError("`spec` of the data is not what a recipe holds")
    for n in rows:
        whole("rows", n, low=0)
    _spec({k: v for k, v in spec.items() if k not in ("class_names", "rows", "model")})


def _check_forms(forms: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Hold what a description says of each modality to what the data are said to look like."""
    if list(forms) != list(parts):
        raise ValueError("`forms` of the data does not describe their modalities, in order")
    for name, form in forms.items():
        spec = form["spec"]
        _check_scaling(form["scaling"], spec, "shape")
        classes = spec.get("class_names", [])
        if not isinstance(classes, list) or not all(isinstance(called, str) for called in classes):
            raise ValueError(f"`class_names` of the modality `{name}` are no texts")
        if spec.get("values") == "categories" and len(classes) != spec.get("classes"):
            raise ValueError(f"the modality `{name}` has another number of classes than of their names")
        bare = {key: value for key, value in spec.items() if key not in ("class_names", "model")}
        if _spec(bare) != _spec(parts[name]):
            raise ValueError(f"`forms` and `spec` of the data say different things of the modality `{name}`")


def _check_scaling(form: Mapping[str, Any], spec: Mapping[str, Any], shape: str) -> None:
    choice("kind", form["kind"], ("none", "unit", "standard"))
    axis = choice("axis", form.get("axis", "last"), ("first", "last"))
    lengths = {len(form[name]) for name in ("shift", "scale") if isinstance(form[name], list)}
    if lengths - {spec[shape][0 if axis == "first" else -1] if spec.get(shape) else None}:
        raise ValueError("the scaling of the data is not one number for each of their columns")
    for name in ("shift", "scale"):
        for value in form[name] if isinstance(form[name], list) else [form[name]]:
            if number(name, value) == 0 and name == "scale":
                raise ValueError("the scale of the data is 0")


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
