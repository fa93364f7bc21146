"""Capture activations at hook points of a model; the forward pass stops at the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from narrows.activations.hook_points import HookPoint
from narrows.core.check import RequestError, WorkError, refuse

__all__ = ["call", "capture", "capture_with_gradients", "probe", "rows", "split_heads"]


class _AllCaptured(Exception):
    """Every hook point was captured: the rest of the forward pass is not needed."""


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with its inputs: a mapping as keywords, a tuple by position, anything else as the only argument."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


@torch.no_grad()
def capture(model: nn.Module, inputs: Any, hook_points: Sequence[HookPoint]) -> dict[str, Tensor]:
    """Run a model once and capture its activations at some hook points.

    The forward pass stops as soon as all are captured. The result holds the model's own tensors, bit for bit. If the
    model modifies one of them in place later, it runs a second time and the tensors are copied. If a module runs
    several times, its first call counts; if it returns a tuple, the first tensor counts.

    Args:
        model: any module, in the mode in which it is to run (`eval`).
        inputs: see `call`.
        hook_points: from `narrows.activations.hook_points.resolve`.

    Returns:
        The tensor (batch, ...) of each hook point by its name, on the model's device; ``attn_heads`` is split into
        (batch, position, heads, head width).

    Raises:
        WorkError: the model ran without reaching a hook point.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> captured = capture(net, torch.ones(4, 3), [HookPoint("in", "1", "input"), HookPoint("out", "1")])
        >>> bool((captured["out"] == captured["in"].relu()).all())
        True
    """
    versions: dict[int, int] = {}

    def noted(value: Tensor) -> Tensor:
        versions[id(value)] = value._version
        return value

    captured = _run(model, inputs, hook_points, noted)
    if any(
        value._version != versions[id(value)] for value in captured.values()
    ):  # modified in place since it was captured
        captured = _run(model, inputs, hook_points, torch.clone)
    return {hook_point.name: split_heads(captured[hook_point.name], hook_point) for hook_point in hook_points}


def _run(
    model: nn.Module,
    inputs: Any,
    hook_points: Sequence[HookPoint],
    keep: Callable[[Tensor], Tensor],
    stop: bool = True,
) -> dict[str, Tensor]:
    captured: dict[str, Tensor] = {}

    def note(hook_point: HookPoint, value: Any) -> None:
        if hook_point.name not in captured:
            captured[hook_point.name] = keep(_tensor(value, hook_point))
            if stop and len(captured) == len(hook_points):
                raise _AllCaptured

    try:
        with ExitStack() as stack:
            for hook_point in hook_points:
                stack.callback(_hook(model.get_submodule(hook_point.path), hook_point, note).remove)
            call(model, inputs)
    except _AllCaptured:
        pass
    for hook_point in hook_points:
        if hook_point.name not in captured:
            raise WorkError(
                f"The model ran, but never through `{hook_point.path}`: `{hook_point.name}` holds nothing."
            )
    return captured


def _hook(module: nn.Module, hook_point: HookPoint, note: Callable[[HookPoint, Any], None]) -> Any:
    if hook_point.side == "output":
        return module.register_forward_hook(lambda module, inputs, output: note(hook_point, output))
    return module.register_forward_pre_hook(
        lambda module, args, kwargs: note(hook_point, args or tuple(kwargs.values())), with_kwargs=True
    )


def _tensor(value: Any, hook_point: HookPoint) -> Tensor:
    """The first tensor of a module's inputs or outputs."""
    if isinstance(value, Tensor):
        return value
    items = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    )
    for item in items:
        if isinstance(item, Tensor) and item.is_floating_point():
            return item
    raise RequestError(
        f"The {hook_point.side} of `{hook_point.path}` holds no tensor, but {type(value).__name__}. "
        "Choose another layer."
    )


def split_heads(value: Tensor, hook_point: HookPoint) -> Tensor:
    """Activations with the attention heads as a separate axis, where the hook point has heads.

    Args:
        value: the module's tensor, (..., heads * head width).
        hook_point: the hook point that it was captured at.
    """
    return value.unflatten(-1, (hook_point.heads, -1)) if hook_point.heads else value


def capture_with_gradients(
    model: nn.Module, tokens: Tensor, hook_points: Sequence[HookPoint], mask: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    r"""Activations of a causal language model, and the gradient of its loss with respect to each.

    .. math:: g = \frac{\partial}{\partial a} \sum_t -\log p(x_{t+1} \mid x_{\le t})

    The loss is summed over the next tokens of a context, so that a row's gradient does not depend on the rest of the
    batch or on its size.

    Args:
        model: a causal language model whose output has `logits`.
        tokens: (batch, positions), whole numbers.
        hook_points: from `narrows.activations.hook_points.resolve`.
        mask: (batch, positions), 1 for tokens and 0 for the padding at the end.

    Returns:
        Activations and gradients by the name of the hook point, (batch, positions, ...), both detached.

    Raises:
        RequestError: the model's output has no logits.
    """
    inputs: dict[str, Tensor] = {"input_ids": tokens} | ({} if mask is None else {"attention_mask": mask})
    output: list[Any] = []

    def tracked(value: Tensor) -> Tensor:
        return value if value.requires_grad else value.requires_grad_()  # the weights before it may be frozen

    with torch.enable_grad(), ExitStack() as stack:
        handle = model.register_forward_hook(lambda module, args, out: output.append(out))
        stack.callback(handle.remove)
        captured = _run(model, inputs, hook_points, tracked, stop=False)
        logits = getattr(output[0], "logits", None)
        if logits is None:
            raise refuse(
                "gradients", True, "left out for a model without a next-token loss", "Use a causal model."
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weight = torch.ones_like(tokens) if mask is None else mask
        costs = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        loss = (costs * weight[:, 1:].flatten()).sum()
        found = torch.autograd.grad(loss, list(captured.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(captured.items(), found, strict=True)
    }
    by_name = {hook_point.name: hook_point for hook_point in hook_points}
    cut = [
        {name: split_heads(t.detach(), by_name[name]) for name, t in part.items()}
        for part in (captured, gradients)
    ]
    return cut[0], cut[1]


def probe(model: nn.Module, inputs: Any, hook_points: Sequence[HookPoint]) -> list[HookPoint]:
    """The hook points with the shape of a row, from one run of the model on a small input.

    Args:
        model: any module.
        inputs: see `call`.
        hook_points: from `narrows.activations.hook_points.resolve`.
    """
    captured = capture(model, inputs, hook_points)
    return [
        replace(hook_point, shape=tuple(rows(captured[hook_point.name], hook_point).shape[2:]))
        for hook_point in hook_points
    ]


def rows(value: Tensor, hook_point: HookPoint) -> Tensor:
    """Activations as (batch, positions, ...): a vector has one position, a map (channels, height, width) its pixels.

    Args:
        value: a captured tensor.
        hook_point: the hook point that it was captured at.
    """
    if value.dim() == 2:
        return value[:, None]
    if value.dim() == 4 and not hook_point.heads:
        return value.flatten(2).transpose(1, 2)
    if value.dim() == 3 or hook_point.heads:
        return value
    raise RequestError(
        f"`{hook_point.name}` gives a tensor of shape {tuple(value.shape)}; it must be (batch, width), "
        "(batch, position, width) or (batch, channels, height, width). Choose another layer."
    )
