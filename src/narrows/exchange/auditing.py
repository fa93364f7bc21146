"""Activations on which a dictionary without data of its own is audited: harvested from its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from narrows import data as nd
from narrows.activations.capture import probe
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.models import Model, load, load_tokenizer
from narrows.activations.provenance import FACTS
from narrows.core.check import NarrowsError, RequestError
from narrows.data import Dataset
from narrows.runs.harvesting.driver import harvest
from narrows.runs.provenance import metadata_of, same, same_model
from narrows.runs.run import Run

__all__ = ["harvested"]

_PER_CONTEXT = 128


def harvested(
    run: Run,
    model: str,
    place: str = "",
    *,
    target_place: str = "",
    text: str = "bundled",
    tokens: int = 20_000,
    folder: Path,
    force: bool = False,
    progress: Any = False,
) -> Dataset:
    """Harvest activations of a model, and open them as data of a run.

    The model is compared with the metadata, and the width of its activations with the dictionary's, before it reads
    any text.

    Args:
        run: the run, such as a dictionary of another library.
        model: the model: a folder, or a name.
        place: the hook point; that of the metadata if empty. Of a dictionary of several layers, a pattern, or several.
        target_place: of a transcoder, the hook point that it predicts; that of the metadata if empty.
        text: what the model reads, as for `harvest`.
        tokens: largest number of tokens.
        folder: the folder of the activations.
        force: also accept a model, a place or a tokenizer that differs from the metadata.
        progress: a progress bar, or whether to show one.

    Raises:
        RequestError: model, place or tokenizer differ from the metadata, or the activations have another width.
    """
    known = metadata_of(run.recipe)
    flat = len(run.recipe.spec.shape) == 1
    places = _places(run, known, place, target_place)
    same("model", known.get("model"), f"`{model}`", same_model(known.get("model"), model), force)
    language = load(model)
    points = {name: _points(language, value, flat) for name, value in places.items()}
    for name, value in places.items():
        fits = _same_points(language, known.get(name), points[name])
        same(name, known.get(name), f"`{value}`", fits, force)
    bos = _framed(known, language, model, force)
    _same_width(run, language, points, model)
    context = known.get("context")
    made = harvest(
        language,
        text,
        [point.name for found in points.values() for point in found],
        folder,
        tokens=tokens,
        context=min(context, _PER_CONTEXT) if isinstance(context, int) and context > 1 else None,
        bos=bos,
        progress=progress,
    )
    options: dict[str, Any] = {} if flat else {"layout": "stack"}
    for name, found in points.items():
        options["at" if name == "place" else "target"] = [point.name for point in found]
    described = {**run.recipe.data, "spec": _without_facts(run.recipe.data["spec"])}
    return nd.like(described, str(made.folder), **options)


def _places(run: Run, known: Mapping[str, Any], place: str, target_place: str) -> dict[str, str]:
    """The names of the hook points: those given, or those of the metadata.

    Raises:
        RequestError: neither names one.
    """
    place = place or str(known.get("place", ""))
    if not place:
        hook = f" It states `{known['hook']}`, which has no name here." if known.get("hook") else ""
        raise RequestError(
            f"The hook point of this dictionary is not known.{hook} Name it: ``place='resid.3'``"
        )
    if run.recipe.spec.target is None:
        return {"place": place}
    target_place = target_place or str(known.get("target_place", ""))
    if not target_place:
        raise RequestError("A transcoder predicts another hook point. Name it: ``target_place='mlp.3'``")
    return {"place": place, "target_place": target_place}


def _points(language: Model, names: str, flat: bool) -> list[HookPoint]:
    """The hook points of names; `flat` joins the attention heads, as dictionaries of one vector read them."""
    found = resolve(language.module, names)
    return [HookPoint(f"{p.path}:{p.side}", p.path, p.side) if flat and p.heads else p for p in found]


def _same_points(language: Model, stated: Any, given: Sequence[HookPoint]) -> bool:
    """Whether the stated names mean the given hook points of a model."""
    with suppress(RequestError):
        found = resolve(language.module, str(stated))
        return [(p.path, p.side) for p in found] == [(p.path, p.side) for p in given]
    return False


def _framed(known: Mapping[str, Any], language: Model, model: str, force: bool) -> bool | None:
    """Compare the tokenizers, and return whether contexts begin with the BOS token; None if that is not stated.

    Raises:
        RequestError: the metadata name another tokenizer, or a BOS token that the model's tokenizer does not have.
    """
    stated = str(known.get("tokenizer") or "")
    if stated:
        same("tokenizer", stated, f"that of {model}", _same_tokenizer(stated, language), force)
    bos = known.get("bos")
    tokenizer = language.tokenizer
    missing = tokenizer is not None and tokenizer.bos_token_id is None and tokenizer.cls_token_id is None
    if bos is True and missing:
        if not force:
            raise RequestError(
                "This dictionary was trained on contexts that begin with a BOS token, as its metadata say, and the "
                f"tokenizer of {model} has none: it is another one. Audit it there all the same: ``force=True``"
            )
        return None
    return bos if isinstance(bos, bool) else None


def _same_tokenizer(stated: str, language: Model) -> bool:
    """Whether a digest or a name means the tokenizer of a model; names are compared by vocabulary if they are here."""
    if stated.startswith("sha256:"):
        return stated == language.tokens
    with suppress(NarrowsError):
        found = Model(language.module, load_tokenizer(stated, fetch=False), "", stated, "")
        if found.tokens:
            return found.tokens == language.tokens
    names = (language.name, language.source, str(getattr(language.tokenizer, "name_or_path", "")))
    return any(same_model(stated, name) for name in names)


@torch.no_grad()
def _same_width(run: Run, language: Model, points: Mapping[str, list[HookPoint]], model: str) -> None:
    """Compare the shapes of activations of a few tokens with the shapes that a dictionary reads and predicts."""
    if language.tokenizer is None:
        return  # `harvest` says that it cannot read text
    tokens = torch.zeros(1, 4, dtype=torch.long, device=language.device)
    spec = run.recipe.spec
    for name, shape, verb in (("place", spec.shape, "reads"), ("target_place", spec.target, "predicts")):
        if name not in points or shape is None or len(shape) > 2:
            continue
        layers, width = (1, shape[0]) if len(shape) == 1 else shape
        found = probe(language.module, {"input_ids": tokens}, points[name])
        if len(found) != layers:
            raise RequestError(
                f"This dictionary {verb} {layers} layer{'s' * (layers != 1)}, and {len(found)} of {model} "
                f"{'are' if len(found) != 1 else 'is'} given. Name as many: ``{name}={found[0].name!r}``"
            )
        for point in found:
            size = torch.Size(point.shape or ()).numel()
            if size != width:
                raise RequestError(
                    f"This dictionary {verb} activations of width {width}, but `{point.name}` of {model} has width "
                    f"{size}: it was trained on another model or place."
                )


def _without_facts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A description of data that any model's activations fit, since they were compared already."""
    return {name: value for name, value in spec.items() if name not in FACTS}
