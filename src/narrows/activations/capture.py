"""Note what flows through places of a model: plain hooks, and the forward pass stops at the last place wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from narrows.activations.hook_points import HookPoint
from narrows.core.check import RequestError, WorkError, refuse

__all__ = ["call", "capture", "capture_with_gradients", "probe"]


class _AllSeen(Exception):
    """Every place was seen: the rest of the forward pass would be wasted."""


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with its inputs: a mapping as keywords, a tuple by place, anything else as the only one."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


@torch.no_grad()
def capture(model: nn.Module, inputs: Any, places: Sequence[HookPoint]) -> dict[str, Tensor]:
    """Run a model once and note its activations at some places.

    The forward pass stops as soon as all have been seen. What is noted are the model's own tensors, to the last bit;
    where the model later writes into one of them, it runs again and notes a copy. Of a module that runs several
    times, the first time counts; of a tuple, the first tensor.

    Args:
        model: any module, in the mode (`eval`) that is wanted.
        inputs: see `call`.
        places: from `narrows.activations.hook_points.resolve`.

    Returns:
        By the place's name, the tensor (batch, ...), on the model's device; of ``attn_heads`` cut into
        (batch, position, heads, head width).

    Raises:
        WorkError: the model has run without passing through a place.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> seen = capture(net, torch.ones(4, 3), [HookPoint("in", "1", "input"), HookPoint("out", "1")])
        >>> bool((seen["out"] == seen["in"].relu()).all())
        True
    """
    versions: dict[int, int] = {}

    def noted(value: Tensor) -> Tensor:
        versions[id(value)] = value._version
        return value

    seen = _run(model, inputs, places, noted)
    if any(
        value._version != versions[id(value)] for value in seen.values()
    ):  # written into since it was noted
        seen = _run(model, inputs, places, torch.clone)
    return {place.name: _cut(seen[place.name], place) for place in places}


def _run(
    model: nn.Module,
    inputs: Any,
    places: Sequence[HookPoint],
    keep: Callable[[Tensor], Tensor],
    stop: bool = True,
) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def note(place: HookPoint, value: Any) -> None:
        if place.name not in seen:
            seen[place.name] = keep(_tensor(value, place))
            if stop and len(seen) == len(places):
                raise _AllSeen

    try:
        with ExitStack() as stack:
            for place in places:
                stack.callback(_hook(model.get_submodule(place.path), place, note).remove)
            call(model, inputs)
    except _AllSeen:
        pass
    for place in places:
        if place.name not in seen:
            raise WorkError(f"The model ran, but never through `{place.path}`: `{place.name}` holds nothing.")
    return seen


def _hook(module: nn.Module, place: HookPoint, note: Callable[[HookPoint, Any], None]) -> Any:
    if place.side == "output":
        return module.register_forward_hook(lambda module, inputs, output: note(place, output))
    return module.register_forward_pre_hook(
        lambda module, args, kwargs: note(place, args or tuple(kwargs.values())), with_kwargs=True
    )


def _tensor(value: Any, place: HookPoint) -> Tensor:
    """The first tensor of what a module takes or gives."""
    if isinstance(value, Tensor):
        return value
    items = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    )
    for item in items:
        if isinstance(item, Tensor) and item.is_floating_point():
            return item
    raise RequestError(
        f"The {place.side} of `{place.path}` holds no tensor, but {type(value).__name__}. Choose another layer."
    )


def _cut(value: Tensor, place: HookPoint) -> Tensor:
    """Attention heads as an axis of their own."""
    return value.unflatten(-1, (place.heads, -1)) if place.heads else value


def capture_with_gradients(
    model: nn.Module, tokens: Tensor, places: Sequence[HookPoint], mask: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    r"""Activations of a causal language model, and the gradient of its loss with respect to each.

    .. math:: g = \frac{\partial}{\partial a} \sum_t -\log p(x_{t+1} \mid x_{\le t})

    The loss is summed over the next tokens of a context, so that a row's gradient does not depend on what else is
    in the batch or how large it is.

    Args:
        model: a causal language model whose output has `logits`.
        tokens: (batch, positions), whole numbers.
        places: from `narrows.activations.hook_points.resolve`.
        mask: (batch, positions), 1 where there is a token and 0 where there is padding, at the end.

    Returns:
        Activations and gradients by the place's name, (batch, positions, ...), both detached.

    Raises:
        RequestError: the model puts out no logits.
    """
    inputs: dict[str, Tensor] = {"input_ids": tokens} | ({} if mask is None else {"attention_mask": mask})
    output: list[Any] = []

    def tracked(value: Tensor) -> Tensor:
        return value if value.requires_grad else value.requires_grad_()  # where the weights before are frozen

    with torch.enable_grad(), ExitStack() as stack:
        handle = model.register_forward_hook(lambda module, args, out: output.append(out))
        stack.callback(handle.remove)
        seen = _run(model, inputs, places, tracked, stop=False)
        logits = getattr(output[0], "logits", None)
        if logits is None:
            raise refuse(
                "gradients", True, "left out for a model without a next-token loss", "Take a causal model."
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weight = torch.ones_like(tokens) if mask is None else mask
        costs = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        loss = (costs * weight[:, 1:].flatten()).sum()
        found = torch.autograd.grad(loss, list(seen.values()), allow_unused=True)
    slopes = {
        name: torch.zeros_like(value) if slope is None else slope
        for (name, value), slope in zip(seen.items(), found, strict=True)
    }
    by_name = {place.name: place for place in places}
    cut = [{name: _cut(t.detach(), by_name[name]) for name, t in part.items()} for part in (seen, slopes)]
    return cut[0], cut[1]


def probe(model: nn.Module, inputs: Any, places: Sequence[HookPoint]) -> list[HookPoint]:
    """The places with the shape of a row, from one run of the model on a small input.

    Args:
        model: any module.
        inputs: see `call`.
        places: from `narrows.activations.hook_points.resolve`.
    """
    seen = capture(model, inputs, places)
    return [replace(place, shape=tuple(rows(seen[place.name], place).shape[2:])) for place in places]


def rows(value: Tensor, place: HookPoint) -> Tensor:
    """Activations as (batch, positions, ...): a vector has one position, a map (channels, height, width) its pixels.

    Args:
        value: what `capture` noted.
        place: where.
    """
    if value.dim() == 2:
        return value[:, None]
    if value.dim() == 4 and not place.heads:
        return value.flatten(2).transpose(1, 2)
    if value.dim() == 3 or place.heads:
        return value
    raise RequestError(
        f"`{place.name}` gives a tensor of shape {tuple(value.shape)}; it must be (batch, width), (batch, position, "
        "width) or (batch, channels, height, width). Choose another layer."
    )
