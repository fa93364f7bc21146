"""What is known of the activations that a dictionary was trained on, compared with those at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.activations.hook_points import from_module_path
from narrows.activations.manifest import Manifest
from narrows.activations.provenance import Provenance
from narrows.core.check import RequestError
from narrows.data import Dataset, Scaling
from narrows.runs.recipe import Recipe

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["checked", "compared", "metadata_of", "same", "same_model"]

_TITLES = {
    "model": "model",
    "place": "hook point",
    "target_place": "predicted hook point",
    "tokenizer": "tokenizer",
}


def metadata_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of the data: of its origin, or of the harvest that it was fitted to."""
    if recipe.origin:
        return dict(recipe.origin.get("metadata", {}))
    known = recipe.data.get("spec", {})
    found: dict[str, Any] = {name: known[name] for name in ("model", "tokenizer") if known.get(name)}
    for name, many, option in (("place", "places", "at"), ("target_place", "target_places", "target")):
        listed = known.get(many, recipe.data.get(option))
        if listed:
            found[name] = listed if isinstance(listed, str) else ",".join(map(str, listed))
    if "place" not in found:
        with suppress(RequestError):  # a harvest of one layer need not be asked for it by name
            layers = list(Manifest.read(Path(str(recipe.data.get("what")))).shapes)
            found |= {"place": layers[0]} if len(layers) == 1 else {}
    for name in ("scaling", "target_scaling"):
        form = recipe.data.get(name)
        if form is not None and Scaling.of(form) != Scaling():
            found[name] = dict(form)
    return found


def compared(run: Run, data: Any, force: bool) -> Dataset:
    """The data of an audit of a run, checked if they are not its own: see `checked`."""
    dataset = run.dataset(data)
    if data is not None:
        checked(run.recipe, dataset, force)
    return dataset


def checked(recipe: Recipe, dataset: Any, force: bool = False) -> None:
    """Compare activations at hand with the metadata of a dictionary.

    Args:
        recipe: that of the dictionary, or of a run.
        dataset: the data of its audit; only a harvest is compared.
        force: accept what differs.

    Raises:
        RequestError: model, place or tokenizer differ, or whether contexts begin with the BOS token.
    """
    provenance = getattr(dataset, "provenance", None)
    if not isinstance(provenance, Provenance):
        return
    known, facts = metadata_of(recipe), provenance.facts()
    stated = known.get("model")
    same("model", stated, f"`{facts['model']}`", same_model(stated, facts["model"]), force)
    layers = provenance.manifest.header["layers"]
    for name, many in (("place", "places"), ("target_place", "target_places")):
        given = facts.get(many, [])
        names = [{one, _module(layers.get(one, {}))} for one in given]
        each = str(known.get(name) or "").split(",")
        fits = len(each) == len(names) and all(one in both for one, both in zip(each, names, strict=True))
        if given:
            same(name, known.get(name), f"`{','.join(given)}`", fits, force)
    stated, given = str(known.get("tokenizer") or ""), facts.get("tokenizer", "")
    if stated.startswith("sha256:") and given:
        same("tokenizer", stated, f"`{given}`", stated == given, force)
    stated, given = known.get("bos"), _begun(provenance)
    if isinstance(stated, bool) and given is not None and stated != given and not force:
        ours, theirs = ("begin" if bos else "do not begin" for bos in (stated, given))
        raise RequestError(
            f"This dictionary was trained on contexts that {ours} with a BOS token, as its metadata say; those of "
            f"{provenance.folder} {theirs} with one. Audit it there all the same: ``force=True``"
        )


def _begun(provenance: Provenance) -> bool | None:
    """Whether the contexts of a harvest begin with a special token; None if that is not known."""
    contexts = provenance.manifest.header.get("contexts", {})
    if isinstance(contexts.get("bos"), bool):
        return bool(contexts["bos"])
    special = contexts.get("special_tokens")
    if not special or not len(provenance):
        return None
    with suppress(RequestError):  # not made from text
        return int(provenance.context_of(0)[0][0]) in special
    return None


def _module(layer: Mapping[str, Any]) -> str:
    """Our name of the module whose output a layer of a harvest is."""
    return from_module_path(str(layer.get("module", ""))) if layer.get("side", "output") == "output" else ""


def same(what: str, stated: Any, given: str, fits: bool, force: bool) -> None:
    """Refuse what differs from the metadata; what they do not state is accepted."""
    if stated and not fits and not force:
        raise RequestError(
            f"This dictionary was trained on the {_TITLES[what]} `{stated}`, as its metadata say, not on {given}. "
            "Audit it there all the same: ``force=True``"
        )


def same_model(stated: Any, given: str) -> bool:
    """Whether two names may mean the same model: one contains the other, apart from folders and punctuation.

    Example:
        >>> same_model("gpt2-small", "/models/gpt2"), same_model("google/gemma-2-2b", "pythia-70m")
        (True, False)
    """
    one, two = (re.sub(r"[^a-z0-9]", "", Path(name).name.lower()) for name in (str(stated or ""), given))
    return bool(one and two) and (one in two or two in one)
