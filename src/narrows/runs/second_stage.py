"""A second stage on a finished run: the run, its entry in the recipe, and the initial weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from narrows.core import Autoencoder, Prior, Tree, dense, files, seeded
from narrows.core.autoencoder import evaluation_mode
from narrows.core.check import RequestError, UnknownNameError, refuse
from narrows.core.tensorfile import hash_of, write_tensors
from narrows.data import Source, names
from narrows.priors import PRIORS, spelled_as, with_labels
from narrows.runs.loading import load
from narrows.runs.recipe import CUSTOM, Builder, Recipe
from narrows.runs.run import Run

__all__ = [
    "FINISHED",
    "base_of",
    "begin_with",
    "belongs_to",
    "check_prior",
    "on_a_run",
    "or_a_run",
    "tell_labels",
    "with_prior",
    "write_begin",
]

FINISHED = ("autoencoder",)
"""The stages that are not trained again."""

_WEIGHTS = "model.safetensors"
_ROWS = 256
"""Number of training examples whose codes are looked at before a prior is fitted."""


def base_of(data: Any, prior: str | Prior | None) -> Run | None:
    """The finished run, if `data` is a `Run` or the path of its folder; None for other data.

    Raises:
        RequestError: the run is not finished, or no prior is given.
    """
    if not isinstance(data, Run):
        known = not isinstance(data, (str, Path)) or str(data) in names()
        if known or not (Path(data) / "recipe.json").is_file():
            return None
        data = load(data)
    if prior is None or PRIORS.word(prior):
        listed = ", ".join(PRIORS.parts)
        raise RequestError(
            f"{data.path} is a run. Choose the prior to fit to its codes with --prior, one of {listed}."
        )
    if not (data.path / "result.json").is_file():
        raise RequestError(
            f"The run {data.path} is not finished. Finish it first: narrows resume {data.path}"
        )
    return data


@contextmanager
def or_a_run(data: Any, prior: str | Prior | None, method: object) -> Iterator[None]:
    """Within the context, the error for data that do not exist also says that no finished run is there.

    It does so if a prior is given without a method, as for a second stage on a finished run.

    Args:
        data: the given name or path.
        prior: the given prior, or None.
        method: the given method, or None.
    """
    try:
        yield
    except UnknownNameError as error:
        if prior is None or method is not None:
            raise
        given = f"``prior={prior!r}``" if isinstance(prior, str) else "the prior"
        raise UnknownNameError(f"There is no finished run {data} to fit {given} to. {error}") from None


def belongs_to(prior: str | Prior, builder: Builder) -> bool:
    """Whether a prior is an argument of the method's builder.

    In some methods `prior` is the distribution of the latents, with values of its own. A second stage is then set on
    the model after it is built, as an object always is: a recipe's arguments cannot contain it.
    """
    if not isinstance(prior, str):
        return False
    known = inspect.signature(builder).parameters
    if "prior" not in known:
        return False
    default, name = (str(text).partition(":")[0] for text in (known["prior"].default, prior))
    return default in PRIORS or name not in PRIORS


def tell_labels(options: Mapping[str, Any], builder: Builder, classes: int) -> dict[str, Any]:
    """The options of a method whose second-stage prior is told the labels of labelled data.

    The text of the prior that is written into the recipe says so: ``maskgit:labels=yes``.

    Args:
        options: the given options, to which the builder's default prior may be added.
        builder: the method's builder.
        classes: the number of classes of the data, 0 without labels.
    """
    known = inspect.signature(builder).parameters
    prior = options.get("prior", known["prior"].default) if "prior" in known else None
    if not isinstance(prior, str) or PRIORS.canonical(prior.partition(":")[0]) not in PRIORS.parts:
        return dict(options)
    told = with_labels(prior, classes) if belongs_to(prior, builder) else prior
    return dict(options) if told == prior else {**options, "prior": told}


def with_prior(recipe: Recipe, model: Autoencoder, prior: str | Prior, source: Source) -> Recipe:
    """Set a second-stage prior on a model, and write it into the recipe.

    Args:
        recipe: the recipe of the run.
        model: the model, whose own second stage is replaced.
        prior: text such as ``flow-matching:width=128``, or a prior.
        source: the data, from which the shape of the codes is found.
    """
    batch = source.train.batch(slice(0, min(2, len(source.train))), model.all_conditions)
    symbols = model.symbols_of(batch)
    if isinstance(prior, str):
        text, custom = with_labels(prior, source.spec.classes), None
    else:
        text, custom = CUSTOM, prior
    description = {"text": text, "shape": list(symbols.shape), "codes": symbols.codes}
    recipe = replace(recipe, prior=description)
    with spelled_as(prior if isinstance(prior, str) else text, text):
        recipe.put_prior(model, custom)
    return recipe


def check_prior(model: Autoencoder, source: Source) -> None:
    """Raise, before anything is trained, if the model's second-stage prior cannot model its codes.

    Raises:
        RequestError: the prior needs a posterior, one codebook, or more codes than there are.
    """
    if model.prior is not None:
        batch = source.train.batch(slice(0, min(2, len(source.train))), model.all_conditions)
        with seeded(0):
            model.prior.check(model, model.encode_fixed(batch), len(source.train))


def on_a_run(base: Run, options: Any) -> tuple[Recipe, Autoencoder, Source]:
    """The recipe, a copy of the model, and the data for a second stage on a finished run.

    Args:
        base: the finished run, which is not changed.
        options: options of the method, which must be empty.

    Raises:
        RequestError: `options` is not empty.
    """
    if options:
        raise refuse("options", sorted(options), "none: the run's method is trained already")
    result = files.read_json(base.path / "result.json")
    _check_codes(base)
    base_entry = {
        "run": str(base.path),
        "sha256": result["sha256"],
        "tokenizer": base.model.tokenizer_hash(),
        "recipe": base.recipe.form(),
    }
    return replace(base.recipe, prior={}, base=base_entry), deepcopy(base.model), base.data


def _check_codes(base: Run) -> None:
    """Raise, before anything is written, if codes of the training data are not finite.

    Raises:
        RequestError: there are NaN or infinite numbers in them.
    """
    model, train = base.model, base.data.train
    some = train.batch(slice(0, min(_ROWS, len(train))), model.all_conditions)
    with evaluation_mode(model), seeded(0):
        passed = model(some)
    wrong = torch.zeros(len(some), dtype=torch.bool)
    for numbers in _tensors((passed.features, dense(passed.code.z))):
        if len(numbers) == len(wrong):
            wrong |= ~numbers.reshape(len(wrong), -1).isfinite().all(1)
    bad = int(wrong.sum())
    if bad:
        raise RequestError(
            f"There are NaN or infinite numbers in the codes of {bad} of the first {len(wrong)} training examples "
            f"of {base.path}, so that no prior can be fitted to them. Fit that run again, with a lower learning rate "
            "or gradient clipping, and look for extreme values in the data."
        )


def _tensors(tree: Tree) -> Iterator[Tensor]:
    """The tensors of what an encoder returns."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (Mapping, tuple, list)):
        for one in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors(one)


def write_begin(folder: Path, model: Autoencoder) -> None:
    """Write the weights of the finished run, so that the new folder does not depend on it.

    The file is that of the final weights, which is not read until there is a result.
    """
    tensors = {n: t for n, t in model.state_dict().items() if not n.startswith("prior.")}
    fix = f"Free some, then fit again in another folder than {folder}"
    write_tensors(folder / _WEIGHTS, tensors, fix, {"format": "pt"})


def begin_with(folder: Path, model: Autoencoder, tokenizer: str = "") -> None:
    """Load the weights of the finished run into a model.

    Args:
        folder: the folder of the second stage, which has a copy of them.
        model: the model.
        tokenizer: the hash of those weights, as the recipe has it.

    Raises:
        RequestError: the weights are missing, damaged, or not this model's.
    """
    path = folder / _WEIGHTS
    try:
        found = load_file(path)
        expected = {n: t.shape for n, t in model.state_dict().items() if not n.startswith("prior.")}
        if {n: t.shape for n, t in found.items() if not n.startswith("prior.")} != expected:
            raise SafetensorError("its weights are not those of the model")
        if tokenizer and hash_of(t for n, t in found.items() if n in expected) != tokenizer:
            raise SafetensorError("its weights are not those that the recipe was written for")
    except (OSError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise RequestError(f"{path} is damaged: {reason}. Fit the prior again in a new folder.") from error
    model.load_state_dict(found, strict=False)
