"""A recipe: all arguments of a run, as JSON, from which it can be reproduced."""

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
from narrows.activations.provenance import FACTS
from narrows.core import Autoencoder, Prior, Spec, Symbols, files, seeded
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
from narrows.data.ranks import read_knots
from narrows.methods import index
from narrows.methods.options import option_of_a_part
from narrows.priors import PRIORS, make_prior
from narrows.runs.upgrade import upgraded
from narrows.train import Plan

__all__ = ["CUSTOM", "Builder", "Recipe", "check_options"]

CUSTOM = "custom"
"""The method of a run whose model was assembled by hand or by a builder of the user."""

Builder = Callable[..., Autoencoder]
_FORMAT = 1
_MOST = 1 << 40
_FIELDS = {
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
    "origin": dict,
}
"""The fields of a recipe and their types."""
_OPTIONAL = ("fingerprint", "prior", "base", "origin")
"""Fields that may be missing."""
_WITHOUT_EFFECT = ("seed", "device", "log_every", "checkpoint_seconds")
"""Fields of the plan in which runs of one group may differ."""
_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError)
"""Other exceptions that an edited recipe may raise."""


@dataclass(frozen=True)
class Recipe:
    """The arguments of a run.

    Args:
        method: the name of a method, or ``custom``.
        arguments: the builder's keyword arguments.
        spec: shape and type of one example.
        data: the arguments of `narrows.data.open`.
        training: the fields of `Plan`.
        versions: of narrows, torch and Python, and the number of threads (which decides the last bits of a sum).
        fingerprint: hash of the data (see `narrows.runs.fingerprint`); empty if they cannot change.
        prior: a second-stage prior that is not an argument of the method: its text (``custom`` for an object), and
            the shape of the codes.
        base: for a second stage on a finished run, its folder, its recipe and the hash of its weights.
        origin: for a model from a file of another library, what is known of it: the format, the model and the hook
            point of the activations, and the file's configuration.
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
    origin: Mapping[str, Any] = field(default_factory=dict)

    def build(self, builder: Builder | None = None, prior: Prior | None = None) -> Autoencoder:
        """An untrained model.

        Raises:
            RequestError: the recipe's method or prior is ``custom`` and none was given, or the builder does not
                accept its arguments.
        """
        if builder is None:
            if self.method == CUSTOM:
                raise RequestError(
                    "This run's model was built by code of your own, so the recipe cannot build it. "
                    "Pass the builder or the model as ``method`` in Python: nr.load(RUN, method=...)."
                )
            builder = index.builder(self.method)
        try:
            return self.put_prior(builder(self.spec, **self.arguments), prior)
        except NarrowsError:
            raise
        except _ERRORS as error:
            reason = str(error).split("\n")[0]
            raise RequestError(
                f"`{self.method}` cannot be built from the recipe's arguments: {reason}."
            ) from error

    def put_prior(self, model: Autoencoder, prior: Prior | None = None) -> Autoencoder:
        """Set the recipe's second-stage prior, if it has one, on a model; its weights depend on the seed only.

        Args:
            model: the model.
            prior: the prior, if that of the recipe is ``custom``.

        Raises:
            RequestError: a ``custom`` prior is missing, or one is given to another recipe.
        """
        custom = self.prior.get("text") == CUSTOM
        if custom and prior is None:
            raise RequestError(
                "This run's prior was an object, so the recipe cannot build it. "
                "Pass a prior of the same class as ``prior``: in Python, nr.load(run, prior=...)."
            )
        if prior is not None and not custom:
            raise refuse("prior", type(prior).__name__, "left out: this run's prior is not an object")
        if self.prior:
            symbols = Symbols(tuple(self.prior["shape"]), self.prior["codes"], model.bottleneck.layout)
            with seeded(self.training["seed"]):
                text = prior or self.prior["text"]
                model.set_prior(make_prior(text, symbols, self.spec.classes, self.spec.shape))
        return model

    def open(self, data: Any = None) -> Source:
        """Open the data of the recipe, or other data with the same options; a `Source` is open already.

        Raises:
            RequestError: the data cannot be opened.
        """
        if isinstance(data, Source):
            return data
        if self.origin and data is None:
            raise RequestError(
                f"This model was read from a file of {self.origin.get('format', 'another library')}, without its data. "
                "Name some: ``data=...``, such as activations from narrows harvest; or audit it on those of its model: "
                "narrows audit FOLDER --model MODEL --place resid.3"
            )
        try:
            return nd.open(**{**self.data, **({} if data is None else {"what": data})})
        except NarrowsError:
            raise
        except _ERRORS as error:
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
            RequestError: an argument is not representable in JSON.
        """
        text = json.dumps(files.with_checksum(self.form()), indent=2)
        files.write(folder / "recipe.json", (text + "\n").encode())

    def form(self) -> dict[str, Any]:
        """The recipe as a JSON object.

        Raises:
            RequestError: an argument is not representable in JSON.
        """
        spec = self.spec.to_json()
        try:
            fields = {
                name: value
                for name, value in vars(self).items()
                if value or name not in ("prior", "base", "origin")
            }
            content = {"format": _FORMAT, **fields, "spec": spec}
            return dict(json.loads(json.dumps(content, allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"Every argument must be representable in JSON for the recipe: {error}. "
                "Use finite numbers, strings and tuples; a schedule as a string such as 'linear:0:1:1000'."
            ) from error

    def without_seed(self) -> str | None:
        """Method, arguments, data, budget and versions as text: the same for recipes that are equal but for the seed.

        Fields that change no weights are left out. None for a model or prior of the user's own code, which the recipe
        does not describe.
        """
        if CUSTOM in (self.method, self.prior.get("text")):
            return None
        form = self.form()
        for name in _WITHOUT_EFFECT:
            form["training"].pop(name, None)
        form["versions"].pop("threads", None)
        return json.dumps(form, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        """Read and check ``recipe.json``.

        Raises:
            RequestError: the folder is not a run, or its recipe is damaged or from another version.
        """
        path = folder / "recipe.json"
        try:
            content = files.read_json(path)
            if (
                isinstance(content, dict) and "sha256" in content
            ):  # the user removes the checksum to edit a recipe
                content = files.without_checksum(content)
            recipe = cls(**_checked(content))
        except FileNotFoundError:
            why = "it is a file" if folder.is_file() else "it has no recipe.json"
            raise RequestError(f"{folder} is not a run: {why}. Make one with: narrows fit") from None
        except _ERRORS as error:
            fix = (
                "If you edited it on purpose, remove its entry `sha256`." if "checksum" in str(error) else ""
            )
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise RequestError(f"{path} is damaged: {reason}. {fix}".rstrip()) from error
        return recipe if recipe.method == CUSTOM else recipe.known()

    def known(self) -> Recipe:
        """The recipe with options of earlier releases renamed, checked against the method's builder.

        Raises:
            UnknownOptionError: an option that the method does not have.
        """
        parameters = inspect.signature(index.builder(self.method)).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        arguments = upgraded(self.method, self.arguments, defaults, self.spec)
        check_options(index.builder(self.method), arguments, self.method)
        return replace(self, arguments=arguments)


def _checked(content: Any) -> dict[str, Any]:
    """The fields of a recipe from JSON, checked.

    Raises:
        ValueError: a field is missing, unknown or invalid.
    """
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError("its format is unknown to this version")
    for name, value in content.items():
        kind = _FIELDS.get(name)
        if kind is None or type(value) is not kind:
            raise ValueError(f"`{name}` is invalid")
    missing = [name for name in _FIELDS if name not in content and name not in _OPTIONAL]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing")
    training = Plan.from_json(dict(content["training"])).to_json()  # missing fields have their defaults
    _check_description(content["data"])
    if content.get("prior"):
        _check_prior(content["prior"])
    threads = content["versions"].get("threads")
    if threads is not None:
        whole("threads", threads, high=4096)
    arguments = {k: _tuple(v) for k, v in content["arguments"].items()}
    return {k: v for k, v in content.items() if k != "format"} | {
        "spec": _spec(content["spec"]),
        "arguments": arguments,
        "training": training,
    }


def _spec(form: dict[str, Any]) -> Spec:
    """Shape and type of one example, from JSON."""
    if form.get("kind") != "views":
        _shape(form.get("shape"), low=0 if form.get("kind") == "graph" else 1)
    if form.get("target") is not None:
        _shape(form["target"])
    whole("classes", form.get("classes", 0), low=0, high=_MOST)
    return Spec.from_json(form)


def _shape(form: Any, low: int = 1) -> tuple[int, ...]:
    if not isinstance(form, list) or not 1 <= len(form) <= 8:
        raise ValueError(f"{form!r} is not a shape")
    return tuple(whole("shape", n, low=low, high=_MOST) for n in form)


def _check_prior(form: Mapping[str, Any]) -> None:
    """Check the fields that `Recipe.put_prior` reads."""
    if set(form) != {"text", "shape", "codes"} or not isinstance(form["text"], str):
        raise ValueError("`prior` is invalid")
    whole("codes", form["codes"], low=0, high=_MOST)
    for n in form["shape"]:
        whole("shape", n, high=_MOST)
    if form["text"] != CUSTOM:
        PRIORS.read(form["text"])


def _check_description(data: Mapping[str, Any]) -> None:
    """Check the description of the data that `Source.describe` writes."""
    if not isinstance(data.get("what", ""), str):
        raise ValueError("`what` of the data is not a string")
    spec = data["spec"]
    _check_forms(data.get("forms", {}), spec.get("parts", {}) if spec.get("kind") == "views" else {})
    _check_scaling(data["scaling"], spec, "shape")
    if data.get("target_scaling") is not None:
        _check_scaling(data["target_scaling"], spec, "target")
    names, rows = spec["class_names"], spec["rows"]
    if not isinstance(names, list) or not isinstance(rows, list) or len(rows) != 2:
        raise ValueError("`spec` of the data is invalid")
    for n in rows:
        whole("rows", n, low=0)
    _spec({k: v for k, v in spec.items() if k not in ("class_names", "rows", *FACTS)})


def _check_forms(forms: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Check the description of each modality against the description of the data."""
    if list(forms) != list(parts):
        raise ValueError("`forms` of the data does not list the modalities of `spec`, in order")
    for name, form in forms.items():
        spec = form["spec"]
        _check_scaling(form["scaling"], spec, "shape")
        classes = spec.get("class_names", [])
        if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
            raise ValueError(f"`class_names` of the modality `{name}` are not strings")
        if spec.get("values") == "categories" and len(classes) != spec.get("classes"):
            raise ValueError(
                f"the number of classes of the modality `{name}` differs from the number of class names"
            )
        bare = {key: value for key, value in spec.items() if key not in ("class_names", *FACTS)}
        if _spec(bare) != _spec(parts[name]):
            raise ValueError(f"`forms` and `spec` of the data differ for the modality `{name}`")


def _check_scaling(form: Mapping[str, Any], spec: Mapping[str, Any], shape: str) -> None:
    choice("kind", form["kind"], ("none", "unit", "standard", "rank", "counts"))
    axis = choice("axis", form.get("axis", "last"), ("first", "last"))
    lengths = {len(form[name]) for name in ("shift", "scale") if isinstance(form[name], list)}
    if lengths - {spec[shape][0 if axis == "first" else -1] if spec.get(shape) else None}:
        raise ValueError("the scaling of the data does not have one number per column")
    if len(read_knots(form.get("knots", ()))) != (len(form["shift"]) if form["kind"] == "rank" else 0):
        raise ValueError("the scaling of the data does not have one list of knots per column")
    for name in ("shift", "scale"):
        for value in form[name] if isinstance(form[name], list) else [form[name]]:
            if number(name, value) == 0 and name == "scale":
                raise ValueError("the scale of the data is 0")


def versions(threads: int) -> dict[str, Any]:
    """The environment on which the rounding errors of a run depend."""
    return {
        "narrows": version("narrows"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": threads,
    }


def check_options(builder: Builder, options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Check options against a builder's signature.

    Raises:
        UnknownOptionError: an option that the method does not have; the message names the nearest.
    """
    known = [p.name for p in list(inspect.signature(builder).parameters.values())[1:]]
    for name, value in options.items():
        if name not in known:
            found, fix = option_of_a_part(builder, name, value), nearest(name, known, "``")
            if found is not None:
                fix = f"It is an option of the {found[0]}: ``{found[0]}={found[1]!r}``."
            raise UnknownOptionError(
                f"`{method}` has no option ``{name}`` (given {value!r}). {fix} "
                f"See: narrows fit --method {method} --help"
            )
        if isinstance(value, bytes) or (callable(value) and not isinstance(value, type)):
            raise refuse(name, value, "a number, a string or a tuple")
    return {name: builtin(value) for name, value in options.items()}


def _tuple(value: Any) -> Any:
    """Lists from JSON as tuples."""
    return tuple(_tuple(v) for v in value) if isinstance(value, list) else value
