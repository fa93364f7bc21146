"""`load`: open a run folder, or a dictionary of another library as a run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from narrows.core import Autoencoder, Prior
from narrows.core.check import RequestError, refuse
from narrows.exchange.convert import read
from narrows.exchange.description import Description
from narrows.exchange.formats import recognise
from narrows.exchange.model import build
from narrows.exchange.runs import recipe_of
from narrows.exchange.sanity import Sanity, sanity
from narrows.runs import loading as runs
from narrows.runs.recipe import Builder
from narrows.runs.run import Run

__all__ = ["Foreign", "ReadingWarning", "load"]


class ReadingWarning(UserWarning):
    """A dictionary of another library does not do what its configuration promises."""


class Foreign(Run):
    """A dictionary of another library, with the methods of a run. Its folder is only read.

    Args:
        path: the folder or file.
        description: what it holds.
    """

    def __init__(self, path: Path, description: Description) -> None:
        super().__init__(path, recipe_of(description), build(description))
        self.description = description

    def check(self, activations: Any = None, target: Any = None) -> Sanity | None:
        """Whether it reads as its configuration promises: see `narrows.exchange.sanity.sanity`.

        Args:
            activations: rows of its place, (B, D); noise of the stated norm if None.
            target: what a transcoder predicts, (B, D').
        """
        rows = (None if one is None else torch.as_tensor(one) for one in (activations, target))
        return sanity(self.description, *rows)

    def __repr__(self) -> str:
        return f"Foreign({str(self.path)!r}, format={self.description.format!r}, {self.description.title})"


def load(
    path: str | Path,
    *,
    method: Builder | Autoencoder | None = None,
    prior: Prior | None = None,
    reading: str = "",
    allow_pickle: bool = False,
    activations: Any = None,
) -> Run:
    """Open a run folder, or a dictionary of another library.

    If a run was interrupted, it has the model of its last valid checkpoint. A dictionary of another library is
    recognised by the names of its files; its numbers stay in them, memory-mapped, until they are used.

    Args:
        path: the run folder, or a folder or file of SAELens, sparsify, dictionary_learning ...: see
            `narrows.exchange.formats`.
        method: the builder, or a model for the weights, of a run whose method has no name.
        prior: a prior for the weights, of a run that was given a `Prior`.
        reading: read a foreign file differently from what its configuration says: see
            `narrows.exchange.readings`.
        allow_pickle: open a pickle of another library, for tensors and plain values only.
        activations: rows of the place of a foreign dictionary, (B, D), on which L0 and FVU are compared with what
            its configuration promises. Without them, L0 on noise, if the configuration states the norm of its
            data. On a misfit a `ReadingWarning` says which other reading fits better.

    Raises:
        RequestError: the folder is neither a run nor of a known format, its files are damaged, or they contradict
            each other.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        narrows.core.check.RequestError: nowhere is not a run: it has no recipe.json. Make one with: narrows fit
    """
    path = Path(path)
    if (path / "recipe.json").is_file() or recognise(path) is None:
        for name, value in (("reading", reading), ("allow_pickle", allow_pickle)):
            if value:
                raise refuse(
                    name, value, "left out for a run of this package", f"{path} is none of another library."
                )
        return runs.load(path, method=method, prior=prior)
    if method is not None or prior is not None:
        raise RequestError(f"{path} is a file of another library: leave out ``method`` and ``prior``.")
    opened = Foreign(path, read(path, reading=reading, allow_pickle=allow_pickle))
    check = opened.check(activations)
    if check is not None and (check.misfit or check.reading):
        warnings.warn(check.says, ReadingWarning, stacklevel=2)
    return opened
