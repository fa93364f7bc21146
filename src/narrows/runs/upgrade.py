"""Conversion of recipes and weights of earlier versions: renamed options and parts, options that moved into a text."""

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
"""Per strategy for dead latents: old option and its name in the text."""
_NETS = (
    ("net", {"width": "width", "depth": "depth", "heads": "heads"}, "vit:depth=4"),
    (
        "decoder",
        {"decoder_width": "width", "decoder_depth": "depth", "decoder_heads": "heads"},
        "vit:width=32,depth=1",
    ),
)
_WEIGHTS = {f"bottleneck.{name}": f"bottleneck.book.{name}" for name in ("codebook", "counts", "sums")}
"""Parts of a vector quantizer: old name and present one."""
_MOVED = {"likelihood.tenth_log_variance": "likelihood.heads.0.tenth_log_variance"}
"""Parts of a likelihood of tables: old name and present one."""
_CAUSAL = {part: f"net.{part}" for part in ("start", "place", "tell", "embed", "blocks")}
_STACKED = {
    **{part: f"net.{part}" for part in ("start", "place", "tell")},
    **{part: f"head.{part}" for part in ("level", "classify", "bias")},
    "embed": "net.embed.weight",
    "body": "net.blocks",
    "head": "head.blocks",
}
"""Parts of causal priors over indices, and over stacks of them: old name and present one."""
_LIKELIHOODS = {"gaussian-fixed": "gaussian:fixed", "gaussian-learned": "gaussian:learned"}


def upgraded(
    method: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any], spec: Spec
) -> dict[str, Any]:
    """Arguments of a recipe under current names.

    Args:
        method: the method of the recipe.
        arguments: the arguments of the recipe; current names are unchanged.
        defaults: current defaults of the builder's arguments.
        spec: shape and type of one example.

    Example:
        >>> upgraded("vae", {"latent": 2, "hidden": (8,)}, {"net": "auto"}, Spec((4, 4)))
        {'latent': 2, 'net': 'mlp:8'}
    """
    new = dict(arguments)
    if method == "mae":
        for name, takes, default in _NETS:
            _vit(new, name, takes, default)
    _net(new, method, spec)
    if "dead" in defaults:
        _dead(new, str(defaults["dead"]))
    for old, name in (("target_l0", "l0"), ("target_fvu", "fvu")):
        target = new.pop(old, 0)
        if target:
            new["price_target"] = f"{name}={target}"
    if method == "mutual-choice-sae":
        zipf = {"exponent": new.pop("zipf", 1.0), "offset": new.pop("zipf_offset", 0.0)}
        zipf = {name: value for name, value in zipf.items() if value != (name == "exponent")}
        if zipf and new.get("dead") != "none":
            new["dead"] = _text(*_split(new.get("dead", "zipf")), zipf)
    if method == "relu-sae" and "norm" in new:
        new["unit_norm"] = new.pop("norm") == "unit"
    if method == "cvae" and new.get("prior") in ("standard", "learned"):
        new["learned_prior"] = new.pop("prior") == "learned"
    if method in ("vq-vae", "fsq"):
        _prior(new)
    if method == "missing-iwae" and all(part.column is None for part in spec.parts.values()):
        new.setdefault("numbers", "gaussian")
    if new.get("likelihood") in _LIKELIHOODS:
        new["likelihood"] = _LIKELIHOODS[new["likelihood"]]
    return new


def renamed(weights: Mapping[str, T]) -> dict[str, T]:
    """Weights of earlier versions under current names.

    Example:
        >>> renamed({"objective.revival.variance": 1.0, "decoder.bias": 0.0})
        {'objective.dead.variance': 1.0, 'decoder.bias': 0.0}
    """
    moved = {**_MOVED, **(_WEIGHTS if "bottleneck.counts" in weights else {})}
    new = {moved.get(n, n.replace("objective.revival.", "objective.dead.")): w for n, w in weights.items()}
    if "prior.start" not in new:
        return new
    parts = _STACKED if "prior.classify" in new else _CAUSAL
    return {_moved(name, parts): w for name, w in new.items()}


def _moved(name: str, parts: Mapping[str, str]) -> str:
    """The name of a prior's weight, whose part may have moved: ``prior.PART.REST``."""
    owner, _, rest = name.partition(".")
    part, dot, rest = rest.partition(".")
    return f"{owner}.{parts[part]}{dot}{rest}" if owner == "prior" and part in parts else name


def _net(new: dict[str, Any], method: str, spec: Spec) -> None:
    """Move the widths of hidden layers, or the channels of a convolutional net, into the net's text."""
    hidden, channels = tuple(new.pop("hidden", ())), new.pop("channels", 0)
    net, vector = new.get("net", "auto"), len(spec.shape) == 1
    if channels:
        kind = net if net != "auto" else "mlp" if vector else "conv"
        if kind in ("conv", "resnet", "vit"):
            new["net"] = f"{kind}:width={channels}"
    if hidden:
        image = len(spec.shape) == 3 and min(spec.shape[1:]) >= 16
        plain = "skip" if vector and method in ("ae", "vae") else "mlp"
        kind = net if net != "auto" else "conv" if image else plain
        widths = f"width={hidden[0]},depth={len(hidden)}" if kind == "vit" else ",".join(map(str, hidden))
        new["net"] = f"{kind}:{widths}"


def _vit(new: dict[str, Any], name: str, takes: Mapping[str, str], default: str) -> None:
    """Move the sizes of a transformer into a net's text."""
    given = {takes[old]: new.pop(old) for old in takes if old in new}
    if given:
        kind, options = _split(default)
        new[name] = _text(kind, options, given)


def _prior(new: dict[str, Any]) -> None:
    """Move the options of a second stage into its text; sampling options are no longer part of it."""
    for option in ("temperature", "top_k"):
        new.pop(option, None)
    labels, width, depth = (new.pop(f"prior_{name}", 0) for name in ("labels", "width", "depth"))
    given = {"labels": "yes" if labels else "", "width": width, "depth": depth}
    options = {name: value for name, value in given.items() if value}
    if new.get("prior", "autoregressive") == "autoregressive" and (options or "prior" in new):
        new["prior"] = _text("autoregressive", {}, options)


def _dead(new: dict[str, Any], default: str) -> None:
    """Move the options for dead latents into one text."""
    if not new.get("dead", "auto"):
        new["dead"] = "auto"
    if not {*_DEAD[1:]} & {*new}:
        return
    given = {old: new.pop(old) for old in _DEAD if old in new}
    kind = given.pop("dead", "") or default
    if kind == "auto":
        counted = new.get("activation", "topk") in ("topk", "batchtopk")
        kind = "auxk" if counted and given else "auto"
    if kind != "resample" and given.get("aux_weight") == 0:
        kind = "none"
    takes = _TAKES.get(kind, {})
    options = {takes[old]: value for old, value in given.items() if old in takes and value != 0}
    if kind != default or options:
        new["dead"] = _text(kind, {}, options)


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a text such as ``auxk:k=32``."""
    kind, _, rest = text.partition(":")
    return kind, dict(piece.split("=", 1) for piece in rest.split(",") if piece)


def _text(kind: str, options: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    """The inverse of `_split`, with further options."""
    given = ",".join(f"{name}={value}" for name, value in {**options, **more}.items())
    return f"{kind}:{given}" if given else kind
