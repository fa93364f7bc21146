"""Priors of a finished run, each fitted on first use and stored below it: ``RUN/priors/NAME``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from narrows.core import files
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.priors import PRIORS, with_labels
from narrows.runs.recipe import Recipe

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["PRIORS_FOLDER", "prior_folder", "prior_run", "split_priors"]

PRIORS_FOLDER = "priors"
"""The folder of a run in which its priors are stored."""


def split_priors(text: str) -> list[str]:
    """The priors that a text lists, separated by commas, as options of a prior are too.

    Example:
        >>> split_priors("none,gmm:components=5,covariance=diagonal,flow-matching")
        ['none', 'gmm:components=5,covariance=diagonal', 'flow-matching']
    """
    names = "|".join(map(re.escape, sorted([*PRIORS, *PRIORS.aliases], key=len, reverse=True)))
    found = re.split(rf",(?=\s*(?:{names})\s*(?:[:=,]|$))", text)
    return list(dict.fromkeys(one.strip() for one in found))


def prior_folder(run: Run, prior: str) -> tuple[str, Path]:
    """The text of a prior without options that have their default, and its folder.

    Raises:
        RequestError: the prior or an option does not exist.
    """
    spelled = PRIORS.read(prior)
    known = PRIORS.parameters(spelled.name)
    changed = sorted((name, value) for name, value in spelled.options.items() if value != known[name].default)
    options = ",".join(f"{name}={_plain(value)}" for name, value in changed)
    text = f"{spelled.name}:{options}" if options else spelled.name
    return text, run.path / PRIORS_FOLDER / re.sub(r"[^\w.]+", "-", text)


def _plain(value: object) -> str:
    """A value as a part's text spells it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        "/".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def prior_run(run: Run, prior: str, *, progress: bool | Silent = True) -> Run:
    """A finished run with another prior, which is fitted to its codes unless it was before.

    The result is a run of its own, in ``priors/NAME`` of the run's folder, whose own files are not changed. An
    interrupted fit is continued.

    Args:
        run: the finished run.
        prior: text such as ``gmm:components=20``; ``none`` for the run without a second stage.
        progress: show the progress of the fit.

    Raises:
        RequestError: the prior does not exist or cannot model these codes, the run is not finished, or the stored
            prior was fitted to other weights.
        WorkError: the folder of the prior is a link.
    """
    if PRIORS.word(prior):
        model = deepcopy(run.model)
        model.set_prior(None)
        return type(run)(run.path, run.recipe, model)
    import narrows as nr  # whose `fit` itself needs runs

    text, folder = prior_folder(run, prior)
    for path in (folder.parent, folder):
        files.check_no_link(path)
    if not all(
        (path / name).is_file() for path, name in ((folder, "recipe.json"), (run.path, "result.json"))
    ):
        return nr.fit(run, prior=text, out=folder, seed=run.recipe.training["seed"], progress=progress)
    recipe = Recipe.read(folder)
    same = recipe.base.get("sha256") == files.read_json(run.path / "result.json")["sha256"]
    texts = (text, with_labels(text, run.recipe.spec.classes))
    if not same or recipe.prior.get("text") not in texts:
        what = "other weights of this run" if not same else f"another text, {recipe.prior.get('text')!r}"
        raise RequestError(
            f"The prior in {folder} belongs to {what}. Remove that folder, or fit the prior in a new one: "
            f"narrows fit {run.path} --prior {text} --out NEW"
        )
    return nr.resume(folder, progress=progress)
