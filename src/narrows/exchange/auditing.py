"""Activations on which a dictionary without data of its own is audited: harvested from its model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrows import data as nd
from narrows.core.check import RequestError
from narrows.data import Dataset
from narrows.runs.harvesting.driver import harvest
from narrows.runs.run import Run

__all__ = ["checked", "harvested"]

_PER_CONTEXT = 128


def harvested(
    run: Run,
    model: str,
    place: str = "",
    *,
    target: str = "",
    text: str = "bundled",
    tokens: int = 20_000,
    folder: Path,
    force: bool = False,
    progress: Any = False,
) -> Dataset:
    """Harvest activations of a model, and open them as data of a run.

    Args:
        run: the run, such as a dictionary of another library.
        model: the model: a folder, or a name.
        place: the hook point; that of the metadata if empty.
        target: of a transcoder, the hook point that it predicts; that of the metadata if empty.
        text: what the model reads, as for `harvest`.
        tokens: largest number of tokens.
        folder: the folder of the activations.
        force: also accept a model or a place that differs from the metadata.
        progress: a progress bar, or whether to show one.

    Raises:
        RequestError: model or place differ from the metadata, or the activations have another width.
    """
    known: Mapping[str, Any] = run.recipe.origin.get("metadata", {})
    place, target = place or str(known.get("place", "")), target or str(known.get("target_place", ""))
    if not place:
        hook = f" It states `{known['hook']}`, which has no name here." if known.get("hook") else ""
        raise RequestError(
            f"The hook point of this dictionary is not known.{hook} Name it: ``place='resid.3'``"
        )
    transcoder = run.recipe.spec.target is not None
    if transcoder and not target:
        raise RequestError("A transcoder predicts another hook point. Name it: ``target='mlp.3'``")
    checked(
        known, {"model": model, "place": place, **({"target_place": target} if transcoder else {})}, force
    )
    places = [place, target] if transcoder else [place]
    context = known.get("context")
    bos = known.get("bos")
    made = harvest(
        model,
        text,
        places,
        folder,
        tokens=tokens,
        context=min(context, _PER_CONTEXT) if isinstance(context, int) and context > 1 else None,
        bos=bos if isinstance(bos, bool) else None,
        progress=progress,
    )
    names = list(made.shapes)
    _same_width(run, made.shapes[names[0]].shape, model, place)
    options: dict[str, Any] = {"at": names[0], **({"target": names[1]} if transcoder else {})}
    return nd.like(run.recipe.data, str(made.folder), **options)


def checked(known: Mapping[str, Any], given: Mapping[str, str], force: bool) -> None:
    """Compare a model and a place with the metadata of a dictionary.

    Args:
        known: the metadata.
        given: the model and the places by the names of the metadata.
        force: accept what differs.

    Raises:
        RequestError: they differ, and `force` is not given.
    """
    for name, value in given.items():
        stated = str(known.get(name) or "")
        fits = _same_model(stated, value) if name == "model" else stated == value
        if stated and not fits and not force:
            what = {"model": "model", "place": "hook point", "target_place": "predicted hook point"}[name]
            raise RequestError(
                f"This dictionary was trained on the {what} `{stated}`, as its metadata say, not on `{value}`. "
                "Audit it there all the same: ``force=True``"
            )


def _same_model(stated: str, given: str) -> bool:
    """Whether two names may mean the same model: one contains the other, apart from folders and punctuation.

    Example:
        >>> _same_model("gpt2-small", "/models/gpt2"), _same_model("google/gemma-2-2b", "pythia-70m")
        (True, False)
    """
    one, two = (re.sub(r"[^a-z0-9]", "", Path(name).name.lower()) for name in (stated, given))
    return bool(one and two) and (one in two or two in one)


def _same_width(run: Run, shape: tuple[int, ...], model: str, place: str) -> None:
    size = 1
    for n in shape:
        size *= n
    if size != run.recipe.spec.size:
        raise RequestError(
            f"This dictionary reads activations of width {run.recipe.spec.size}, but `{place}` of {model} has "
            f"width {size}: it was trained on another model or place."
        )
