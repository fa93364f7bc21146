"""Recipes of 0.1: options that were spread over a builder's arguments, as the parts that they spell today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from narrows.core import Spec

__all__ = ["renamed", "upgraded"]

T = TypeVar("T")

_DEAD = ("dead", "aux_k", "aux_weight", "dead_after", "underused")
_TAKES = {
    "auxk": {"aux_k": "k", "aux_weight": "weight", "dead_after": "dead_after"},
    "resample": {"dead_after": "dead_after"},
    "ghost": {"aux_weight": "weight", "dead_after": "dead_after"},
    "preact": {"aux_weight": "weight", "dead_after": "dead_after"},
    "zipf": {"aux_k": "k", "aux_weight": "weight", "dead_after": "window", "underused": "share"},
}
"""What a way to deal with dead latents takes: the old option -> what it is spelled as."""
_NETS = (
    ("net", {"width": "width", "depth": "depth", "heads": "heads"}, "vit:depth=4"),
    (
        "decoder",
        {"decoder_width": "width", "decoder_depth": "depth", "decoder_heads": "heads"},
        "vit:width=32,depth=1",
    ),
)
_WEIGHTS = {f"bottleneck.{name}": f"bottleneck.book.{name}" for name in ("codebook", "counts", "sums")}
_LIKELIHOODS = {"gaussian-fixed": "gaussian:fixed", "gaussian-learned": "gaussian:learned"}


def upgraded(
    method: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any], spec: Spec
) -> dict[str, Any]:
    """Arguments of a recipe with today's names.

    Args:
        method: of the recipe.
        arguments: as the recipe has them; those of today stay as they are.
        defaults: of the builder's arguments today.
        spec: what one example looks like.

    Example:
        >>> upgraded("vae", {"latent": 2, "hidden": (8,)}, {"net": "auto"}, Spec((4, 4)))
        {'latent': 2, 'net': 'mlp:8'}
    """
    found = dict(arguments)
    if method == "mae":
        for name, takes, default in _NETS:
            _vit(found, name, takes, default)
    _net(found, method, spec)
    if "dead" in defaults:
        _dead(found, str(defaults["dead"]))
    for old, name in (("target_l0", "l0"), ("target_fvu", "fvu")):
        wanted = found.pop(old, 0)
        if wanted:
            found["price_target"] = f"{name}={wanted}"
    if method == "mutual-choice-sae":
        law = {"exponent": found.pop("zipf", 1.0), "offset": found.pop("zipf_offset", 0.0)}
        law = {name: value for name, value in law.items() if value != (name == "exponent")}
        if law and found.get("dead") != "none":
            found["dead"] = _spelled(*_split(found.get("dead", "zipf")), law)
    if method == "relu-sae" and "norm" in found:
        found["unit_norm"] = found.pop("norm") == "unit"
    if method == "cvae" and found.get("prior") in ("standard", "learned"):
        found["learned_prior"] = found.pop("prior") == "learned"
    if method in ("vq-vae", "fsq"):
        _prior(found)
    if found.get("likelihood") in _LIKELIHOODS:
        found["likelihood"] = _LIKELIHOODS[found["likelihood"]]
    return found


def renamed(weights: Mapping[str, T]) -> dict[str, T]:
    """Weights of an earlier release by today's names.

    Example:
        >>> renamed({"objective.revival.variance": 1.0, "decoder.bias": 0.0})
        {'objective.dead.variance': 1.0, 'decoder.bias': 0.0}
    """
    return {
        _WEIGHTS.get(n, n.replace("objective.revival.", "objective.dead.")): w for n, w in weights.items()
    }


def _net(found: dict[str, Any], method: str, spec: Spec) -> None:
    """Put the widths of hidden layers, or the channels of a net to a grid, into the net's text."""
    hidden, channels = tuple(found.pop("hidden", ())), found.pop("channels", 0)
    net, vector = found.get("net", "auto"), len(spec.shape) == 1
    if channels:
        kind = net if net != "auto" else "mlp" if vector else "conv"
        if kind in ("conv", "resnet", "vit"):
            found["net"] = f"{kind}:width={channels}"
    if hidden:
        image = len(spec.shape) == 3 and min(spec.shape[1:]) >= 16
        plain = "skip" if vector and method in ("ae", "vae") else "mlp"
        kind = net if net != "auto" else "conv" if image else plain
        widths = f"width={hidden[0]},depth={len(hidden)}" if kind == "vit" else ",".join(map(str, hidden))
        found["net"] = f"{kind}:{widths}"


def _vit(found: dict[str, Any], name: str, takes: Mapping[str, str], default: str) -> None:
    """Put the sizes of a transformer into a net's text."""
    said = {takes[old]: found.pop(old) for old in takes if old in found}
    if said:
        kind, options = _split(default)
        found[name] = _spelled(kind, options, said)


def _prior(found: dict[str, Any]) -> None:
    """Put what was said of a second stage into its text; how it draws is said when sampling today."""
    for drawing in ("temperature", "top_k"):
        found.pop(drawing, None)
    labels, width, depth = (found.pop(f"prior_{name}", 0) for name in ("labels", "width", "depth"))
    said = {"labels": "yes" if labels else "", "width": width, "depth": depth}
    options = {name: value for name, value in said.items() if value}
    if found.get("prior", "autoregressive") == "autoregressive" and (options or "prior" in found):
        found["prior"] = _spelled("ar", {}, options)


def _dead(found: dict[str, Any], default: str) -> None:
    """Put what was said of dead latents into one text."""
    if not found.get("dead", "auto"):
        found["dead"] = "auto"
    if not {*_DEAD[1:]} & {*found}:
        return
    said = {old: found.pop(old) for old in _DEAD if old in found}
    kind = said.pop("dead", "") or default
    if kind == "auto":
        counted = found.get("activation", "topk") in ("topk", "batchtopk")
        kind = "auxk" if counted and said else "auto"
    if kind != "resample" and said.get("aux_weight") == 0:
        kind = "none"
    takes = _TAKES.get(kind, {})
    options = {takes[old]: value for old, value in said.items() if old in takes and value != 0}
    if kind != default or options:
        found["dead"] = _spelled(kind, {}, options)


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """A part's name, and its options by name."""
    kind, _, rest = text.partition(":")
    return kind, dict(piece.split("=", 1) for piece in rest.split(",") if piece)


def _spelled(kind: str, options: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    """The text of a part."""
    said = ",".join(f"{name}={value}" for name, value in {**options, **more}.items())
    return f"{kind}:{said}" if said else kind
