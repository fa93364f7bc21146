"""Models from the name of a method, or from a builder, and from options, for the data of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from narrows.core import Autoencoder, Prior
from narrows.core.check import refuse
from narrows.data import Source
from narrows.methods import index
from narrows.priors import spelled_as
from narrows.runs.recipe import CUSTOM, Builder, check_options
from narrows.runs.second_stage import belongs_to, tell_labels
from narrows.runs.width import AUTO, Width, measured_width
from narrows.train.stages import suited

__all__ = ["resolve", "sized", "with_measured_width"]

Build: TypeAlias = Callable[[Source, Mapping[str, Any], Callable[[str], None]], Autoencoder]


def resolve(
    method: str | Builder | Autoencoder, options: dict[str, Any], prior: str | Prior | None = None
) -> tuple[str, Build]:
    """The name of a method for the recipe, and a function that builds its untrained model.

    Args:
        method: the name of a method, a builder, or the model itself.
        options: the options of the builder, to which those that depend on the data are added.
        prior: a prior that may be an option of the builder.

    Returns:
        The name, and a function of the data, of the user's fields of `narrows.train.Plan`, and of what prints a
        sentence on each option that depends on the data.

    Raises:
        RequestError: an unknown method or option.
    """
    if isinstance(method, Autoencoder):
        if options:
            raise refuse("options", sorted(options), "no options with an Autoencoder")
        return CUSTOM, lambda source, given, say: method
    if isinstance(method, str):
        builder, name = index.builder(method), method
    elif callable(method):
        name = next((m.name for m in index.METHODS.values() if _same(m, method)), CUSTOM)
        builder = method if name == CUSTOM else index.builder(name)
    else:
        raise refuse("method", method, "a name such as 'vae', a builder function or an Autoencoder")
    if prior is not None and belongs_to(prior, builder):
        options["prior"] = prior
    check_options(builder, options, name)
    known = inspect.signature(builder).parameters

    def build(source: Source, given: Mapping[str, Any], say: Callable[[str], None]) -> Autoencoder:
        if width := with_measured_width(name, source, options, given):
            say(width.says)
        before, rows = {*options, "prior"}, len(source.train)
        asked = str(options.get("prior", known["prior"].default if "prior" in known else ""))
        options.update(tell_labels(options, builder, source.spec.classes))

        def made() -> Autoencoder:
            return builder(source.spec, **check_options(builder, options, name))

        with spelled_as(asked, str(options.get("prior", ""))):
            model = sized(made, builder, options, rows, given)
        for option in options.keys() - before:
            say(f"`{option}` is {options[option]} by default for {rows} training examples.")
        return model

    return name, build


def sized(
    build: Callable[[], Autoencoder],
    builder: Builder,
    options: dict[str, Any],
    rows: int,
    given: Mapping[str, Any],
) -> Autoencoder:
    """A model with smaller sizes than its defaults if there are few training rows.

    A codebook that k-means starts has at most one code for two tokens of the first batch, unless the number of codes is
    given. The model is the one that is built if the same number is given.

    Args:
        build: builds the model with `options`.
        builder: has the arguments.
        options: those that were given, to which the smaller sizes are added.
        rows: number of training rows.
        given: the user's fields of `narrows.train.Plan`.
    """
    known = inspect.signature(builder).parameters
    before = torch.get_rng_state()
    model = build()
    smaller = suited(model, rows, given)
    smaller = {name: size for name, size in smaller.items() if name in known and name not in options}
    if not smaller:
        return model
    options.update(smaller)
    torch.set_rng_state(before)
    return build()


def with_measured_width(
    method: str, source: Source, options: dict[str, Any], given: Mapping[str, Any]
) -> Width | None:
    """Measure the width of the code if the option ``latent`` is ``auto``, and set it.

    Args:
        method: the name of a method.
        source: the data.
        options: of the method.
        given: the user's fields of `narrows.train.Plan`.

    Returns:
        The width and the evidence for it; None if the option is another.

    Raises:
        RequestError: wider codes of the method cost nothing, so that its loss has no best width, or data without one.
    """
    if options.get("latent") != AUTO:
        return None
    row = index.METHODS.get(method)
    if row is not None and row.family not in ("variational", "tabular", "conditional"):
        fix = "Give a number, or compare several with `narrows sweep`."
        raise refuse("latent", AUTO, f"a number for `{method}`, whose loss is lower for any wider code", fix)
    width = measured_width(source, options, given.get("steps"))
    options["latent"] = width.latent
    return width


def _same(row: index.Method, builder: Builder) -> bool:
    return builder.__module__ == f"narrows.methods.{row.module}" and builder.__name__ == row.function
