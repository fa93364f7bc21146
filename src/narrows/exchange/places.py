"""Names of hook points in other libraries, and ours."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["from_transformer_lens", "layer_of", "to_transformer_lens"]

_LENS = {
    "hook_resid_post": "resid",
    "hook_mlp_out": "mlp",
    "hook_attn_out": "attn",
    "attn.hook_z": "attn_heads",
}
"""Hooks of a TransformerLens block, and our names. `hook_mlp_in`, `hook_resid_mid` and `ln2.hook_normalized` have no
equal: our `mlp_in` is after the norm and its gain."""


def from_transformer_lens(hook: Any) -> str:
    """Our name of a hook point of TransformerLens; empty if we have none.

    Example:
        >>> from_transformer_lens("blocks.3.hook_resid_post"), from_transformer_lens("blocks.3.hook_resid_pre")
        ('resid.3', 'resid.2')
        >>> from_transformer_lens("blocks.0.hook_resid_pre"), from_transformer_lens("hook_embed")
        ('embed', '')
    """
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook if isinstance(hook, str) else "")
    if found is None:
        return ""
    layer, name = int(found[1]), found[2]
    if name == "hook_resid_pre":
        return f"resid.{layer - 1}" if layer else "embed"
    return f"{_LENS[name]}.{layer}" if name in _LENS else ""


def to_transformer_lens(place: str) -> str:
    """The hook point of TransformerLens of our name; empty if it has none.

    Example:
        >>> to_transformer_lens("resid.3"), to_transformer_lens("embed"), to_transformer_lens("mlp_in.3")
        ('blocks.3.hook_resid_post', 'blocks.0.hook_resid_pre', '')
    """
    if place == "embed":
        return "blocks.0.hook_resid_pre"
    kind, _, layer = place.partition(".")
    hook = next((hook for hook, ours in _LENS.items() if ours == kind), "")
    return f"blocks.{layer}.{hook}" if hook and layer.isdigit() else ""


def layer_of(place: str) -> int | None:
    """The number of the block of one of our places, or None.

    Example:
        >>> layer_of("resid.3"), layer_of("embed")
        (3, None)
    """
    layer = place.rpartition(".")[2]
    return int(layer) if layer.isdigit() else None
