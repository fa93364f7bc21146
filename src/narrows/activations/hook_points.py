"""Hook points of a model: module paths, globs and short names, found from the model's structure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from narrows.core.check import UnknownNameError, nearest

__all__ = ["HookPoint", "blocks", "from_module_path", "resolve", "short_names"]

_BODIES = {
    "mlp": (
        "mlp",
        "feed_forward",
        "ffn",
        "ff",
        "block_sparse_moe",
        "output.dense",
        "layer.1.DenseReluDense",
        "fc2",
    ),
    "mlp_in": (
        *("mlp", "feed_forward", "ffn", "ff", "block_sparse_moe"),
        *("intermediate", "layer.1.DenseReluDense", "fc1"),
    ),
    "attn": (
        *(
            "self_attn",
            "attn",
            "self_attention",
            "attention.output.dense",
            "attention",
            "self_attention_block",
        ),
        "layer.0.SelfAttention",
    ),
    "attn_heads": (
        *(
            "self_attn.o_proj",
            "self_attn.out_proj",
            "self_attn.dense",
            "attn.c_proj",
            "attn.o_proj",
            "attn.out_proj",
        ),
        *(
            "attn.proj",
            "attention.output.dense",
            "attention.o_proj",
            "attention.out_proj",
            "attention.dense",
            "attention.out_lin",
        ),
        *("self_attention.dense", "layer.0.SelfAttention.o"),
    ),
}
"""Paths of a block's modules, in the order in which they are tried. The module is the one whose output is *added* to
the residual stream. In BERT, whose blocks add inside `output`, this is the linear map before the addition."""

_AFTER = {
    "post_feedforward_layernorm": {"mlp": "post_feedforward_layernorm", "attn": "post_attention_layernorm"},
    "post_mlp_layernorm": {"mlp": "post_mlp_layernorm", "attn": "post_self_attn_layernorm"},
}
"""Blocks that normalise a module's output before they add it (Gemma 2, OLMo 2, GLM 4): the hook point is the norm."""

_INPUTS = ("mlp_in", "attn_heads")


@dataclass(frozen=True)
class HookPoint:
    """The input or output of one module of a model.

    Args:
        name: the name under which activations are stored.
        path: the module's path in the model.
        side: ``output`` or ``input`` of that module.
        heads: the number of attention heads into which the last axis is split; 0 for none.
        shape: the shape of one row, if known (see `narrows.activations.capture.probe`).
    """

    name: str
    path: str
    side: str = "output"
    heads: int = 0
    shape: tuple[int, ...] | None = None


def blocks(model: nn.Module) -> str | None:
    """The path of a model's stack of blocks: the longest list of modules of one class that is in no other list.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.GRUCell(2, 2) for _ in range(3)]))
        >>> blocks(net)
        '1'
    """
    found = max(_stacks(model, ""), default=None, key=lambda pair: pair[1])
    return None if found is None else found[0]


def _stacks(module: nn.Module, path: str) -> Iterator[tuple[str, int]]:
    """Paths and lengths of the outermost lists of modules of one class."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        items = list(child.children()) if isinstance(child, (nn.ModuleList, nn.Sequential)) else []
        alike = len({type(item) for item in items}) == 1
        if alike and (isinstance(child, nn.ModuleList) or any(True for _ in items[0].children())):
            yield inner, len(items)
        else:
            yield from _stacks(child, inner)


def short_names(model: nn.Module) -> dict[str, HookPoint]:
    """The hook points of a model that have short names, in the order of its blocks.

    ``embed`` is the input of the first block and ``resid.i`` the output of block i. ``attn.i`` and ``mlp.i`` are what
    its attention and its MLP add to the residual stream, ``mlp_in.i`` is the input of the MLP, and ``attn_heads.i``
    the output of each attention head before the output projection, (heads, head width).

    Args:
        model: any module; one without a stack of blocks has no short names.
    """
    stack = blocks(model)
    if stack is None:
        return {}
    found = {"embed": HookPoint("embed", f"{stack}.0", "input")}
    for index, block in model.get_submodule(stack).named_children():
        path = f"{stack}.{index}"
        found[f"resid.{index}"] = HookPoint(f"resid.{index}", path)
        after = next((norms for mark, norms in _AFTER.items() if _has(block, mark)), {})
        for kind, bodies in _BODIES.items():
            candidates = (after[kind], *bodies) if kind in after else bodies
            part = next((c for c in candidates if _has(block, c)), None)
            heads = _heads(model, block, part) if kind == "attn_heads" and part else 0
            if part is not None and (heads or kind != "attn_heads"):
                side = "input" if kind in _INPUTS else "output"
                found[f"{kind}.{index}"] = HookPoint(f"{kind}.{index}", f"{path}.{part}", side, heads)
    return found


def resolve(model: nn.Module, patterns: str | Sequence[str]) -> list[HookPoint]:
    """The hook points that names and globs stand for.

    Args:
        model: any module.
        patterns: short names (see `short_names`), paths of modules, or globs of either, in which ``*`` matches within
            a component of the path and ``**`` across components. A path that ends in ``:input`` is the input of that
            module. One text may hold several patterns, separated by commas.

    Returns:
        Each hook point once: in the order of the patterns, and for a glob in the order of the model.

    Raises:
        UnknownNameError: a pattern matches nothing; the message gives the nearest name.

    Example:
        >>> net = nn.ModuleDict({"layers": nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(3)])})
        >>> [point.path for point in resolve(net, "resid.1,layers.*.0:input")]
        ['layers.1', 'layers.0.0', 'layers.1.0', 'layers.2.0']
    """
    short = short_names(model)
    paths = [path for path, _ in model.named_modules() if path]
    found: dict[str, HookPoint] = {}
    for pattern in _split(patterns):
        path, colon, side = pattern.partition(":")
        fits = re.compile(_expression(path))
        matched = [] if colon else [hook_point for name, hook_point in short.items() if fits.fullmatch(name)]
        if not matched and side in ("", "input", "output"):
            matched = [HookPoint(p + colon + side, p, side or "output") for p in paths if fits.fullmatch(p)]
        if not matched:
            raise _unknown(pattern, [*short, *paths])
        found.update((hook_point.name, hook_point) for hook_point in matched)
    return list(found.values())


def _split(patterns: str | Sequence[str]) -> list[str]:
    """Single patterns, without commas and spaces."""
    texts: Iterable[str] = [patterns] if isinstance(patterns, str) else patterns
    split = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if not split:
        raise UnknownNameError(
            "``at`` names no layer. Give one, such as resid.3, or several separated by commas."
        )
    return split


def _expression(pattern: str) -> str:
    """A glob over dotted paths as a regular expression."""
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)


def _unknown(pattern: str, known: list[str]) -> UnknownNameError:
    near = nearest(pattern, known) if known else "It has no named modules."
    few = _summary(known)
    return UnknownNameError(
        f"No layer of the model matches `{pattern}`. {near}{few if few not in near else ''}"
    )


def _summary(known: list[str]) -> str:
    """The short names, as ranges of block numbers."""
    ranges: dict[str, list[int]] = {}
    for name in known:
        kind, dot, index = name.partition(".")
        if dot and index.isdigit() and kind in ("resid", *_BODIES):
            ranges.setdefault(kind, []).append(int(index))
    listed = [f"{kind}.{min(at)} to {kind}.{max(at)}" for kind, at in ranges.items()]
    return f" It has {', '.join(listed)}, and module paths." if listed else ""


def _has(block: nn.Module, path: str) -> bool:
    try:
        block.get_submodule(path)
    except AttributeError:
        return False
    return True


def _heads(model: nn.Module, block: nn.Module, projection: str) -> int:
    """The number of attention heads of a block, from its attention module or the model's configuration."""
    attention: Any = block.get_submodule(projection.rpartition(".")[0]) if "." in projection else block
    config = getattr(model, "config", None)
    for holder in (attention, getattr(attention, "self", None), config, getattr(config, "text_config", None)):
        for name in ("num_attention_heads", "num_heads", "n_head", "n_heads"):
            heads = getattr(holder, name, None)
            if isinstance(heads, int) and heads > 0:
                return heads
    return 0


def from_module_path(path: str) -> str:
    """Our name of a module whose output was read, from its path; empty if we have none.

    Example:
        >>> from_module_path("layers.3"), from_module_path("model.layers.3.mlp"), from_module_path("h.0.attn")
        ('resid.3', 'mlp.3', 'attn.0')
    """
    found = re.fullmatch(r"(?:.+\.)?(?:layers|h|blocks|layer)\.(\d+)(?:\.(.+))?", path)
    if found is None:
        return ""
    part = {None: "resid", "mlp": "mlp", "self_attn": "attn", "attn": "attn", "attention": "attn"}.get(
        found[2]
    )
    return f"{part}.{found[1]}" if part else ""
