"""Splicing: replace the activation at one hook point of a frozen language model, and measure the cost in nats.

    logits = spliced(model, tokens, "resid.2", replace)      differentiable in what `replace` gives
    costs = measure(model, tokens, "resid.2", replace)       cross-entropies, KL, loss recovered
    before = baseline(model, tokens, "resid.2")              once, where many replacements are compared

A hook point is a `HookPoint`, or a name that `hook_points.resolve` accepts: ``resid.2``, ``mlp.2``, a module's path,
``PATH:input``. If a module returns a tuple, its first element is the activation. Attention heads are a separate axis,
as in `capture`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.activations.capture import split_heads
from narrows.activations.hook_points import HookPoint, resolve
from narrows.core.check import refuse

__all__ = [
    "Baseline",
    "Costs",
    "Replace",
    "baseline",
    "cross_entropy",
    "divergence",
    "join",
    "measure",
    "spliced",
    "spliced_and_captured",
    "stack",
]

_COSTS = ("original", "spliced", "zero", "mean", "kl", "weight")
"""The fields of `Costs`, in order."""

Replace: TypeAlias = Callable[[Tensor], Tensor]
"""From an activation (B, T, D) to its replacement."""


def spliced(
    model: nn.Module, inputs: Tensor | Mapping[str, Any], hook_point: str | HookPoint, replace: Replace
) -> Tensor:
    """The logits of a model in which the activation at one hook point is replaced.

    The model itself is not modified. Gradients flow through the replacement and the later layers (set
    ``requires_grad_(False)`` on the model, or its weights get gradients too).

    Args:
        model: a causal language model: called with token ids, it returns logits or an object with ``logits``.
        inputs: token ids (B, T), or the model's keyword arguments (``input_ids``, ``attention_mask`` ...).
        hook_point: where the activation is replaced.
        replace: from the activation (B, T, D) to its replacement, of the same shape.

    Returns:
        logits, (B, T, V).

    Raises:
        RequestError: no such hook point, a replacement of another shape, or a model without logits.

    Example:
        >>> lm = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7))
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> bool((spliced(lm, tokens, "1", lambda a: a) == lm(tokens)).all())
        True
    """
    return spliced_and_captured(model, inputs, hook_point, replace)[0]


def spliced_and_captured(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    hook_point: str | HookPoint,
    replace: Replace | None,
    observed: Sequence[str | HookPoint] = (),
) -> tuple[Tensor, list[Tensor]]:
    """The logits of a spliced model, and the activations at further hook points of the same pass, differentiable.

    Args:
        model: a causal language model.
        inputs: token ids (B, T), or the model's keyword arguments.
        hook_point: where the activation is replaced.
        replace: from the activation to its replacement; None replaces nothing.
        observed: the hook points whose activations are returned; at `hook_point` itself, the replacement.

    Returns:
        logits (B, T, V), and the activation at each of the `observed` hook points.
    """
    captured: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        if replace is not None:
            hooks.enter_context(_replaced(model, _hook_point(model, hook_point), replace))
        for i, other in enumerate(observed):
            hooks.enter_context(_noted(model, _hook_point(model, other), captured, i))
        out = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if logits is None:
        raise refuse("model", type(model).__name__, "a causal language model, with logits", "It has none.")
    return logits, [captured[i] for i in range(len(observed))]


def cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    """The cross-entropy of each next token, in nats: (B, T, V) logits and (B, T) tokens to (B, T - 1)."""
    following = tokens.roll(
        -1, 1
    )  # the last position is dropped from the result: slices of logits are copies
    costs = F.cross_entropy(_wide(logits).flatten(0, 1), following.flatten(), reduction="none")
    return costs.view(tokens.shape)[:, :-1]


def divergence(original: Tensor, other: Tensor) -> Tensor:
    r"""KL(original || other) of each prediction, :math:`\sum_v p_v (\log p_v - \log q_v)`, in nats.

    Args:
        original: logits of p, (..., V).
        other: logits of q, of the same shape; gradients flow to both.

    Example:
        >>> round(float(divergence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 9.0]).log_softmax(0))), 3)
        3.807
    """
    p, q = _wide(original).log_softmax(-1), _wide(other).log_softmax(-1)
    return F.kl_div(q, p, reduction="none", log_target=True).sum(-1)


@dataclass(frozen=True)
class Baseline:
    """The losses that do not depend on the replacement: of the unmodified model, and under zero and mean ablation.

    Args:
        logits: of the unmodified model, (B, T, V).
        original: its cross-entropy of each next token, (B, T - 1), nats.
        zero: the same with the activation set to 0.
        mean: the same with the activation set to its mean over examples and positions.
        weight: the weight of each prediction, (B, T - 1).
    """

    logits: Tensor
    original: Tensor
    zero: Tensor
    mean: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Costs:
    r"""The losses of a spliced language model for each prediction, in nats; all tensors have one shape.

    Loss recovered is :math:`(CE_{zero} - CE_{spliced}) / (CE_{zero} - CE_{original})`: 1 if the replacement costs
    nothing, 0 if it is as bad as zero ablation. With mean ablation in its place it is `recovered_from_mean`.

    Args:
        original: cross-entropy of the unmodified model.
        spliced: cross-entropy of the spliced model.
        zero: cross-entropy under zero ablation.
        mean: cross-entropy under mean ablation.
        kl: KL(original || spliced).
        weight: the weight of each prediction.
    """

    original: Tensor
    spliced: Tensor
    zero: Tensor
    mean: Tensor
    kl: Tensor
    weight: Tensor

    def __getitem__(self, index: Any) -> Costs:
        """The costs of some of the predictions."""
        return Costs(*(getattr(self, name)[index] for name in _COSTS))

    def average(self, name: str) -> float:
        """The weighted mean of one of the tensors, by its name."""
        weight = self.weight.double()
        return float((getattr(self, name).double() * weight).sum() / weight.sum())

    @property
    def recovered(self) -> float:
        """Loss recovered, against zero ablation; NaN if zero ablation costs nothing."""
        return self._recovered("zero")

    @property
    def recovered_from_mean(self) -> float:
        """Loss recovered, against mean ablation."""
        return self._recovered("mean")

    def means(self) -> dict[str, float]:
        """All averages by name: ``ce/original``, ``ce/spliced``, ``ce/zero``, ``ce/mean``, ``kl``, ``recovered`` ..."""
        found = {f"ce/{name}": self.average(name) for name in ("original", "spliced", "zero", "mean")}
        shares = {"recovered": self.recovered, "recovered_from_mean": self.recovered_from_mean}
        return {**found, "kl": self.average("kl"), **shares}

    def _recovered(self, ablation: str) -> float:
        worst, best = self.average(ablation), self.average("original")
        if worst == best:
            return math.nan
        return (worst - self.average("spliced")) / (worst - best) + 0.0  # no negative zero


@torch.no_grad()
def baseline(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    hook_point: str | HookPoint,
    *,
    mean: Tensor | None = None,
    weight: Tensor | None = None,
) -> Baseline:
    """Three passes: the unmodified model, zero ablation and mean ablation at a hook point.

    Args:
        model: a causal language model, in ``eval()``.
        inputs: token ids (B, T), or the model's keyword arguments.
        hook_point: where the activation is ablated.
        mean: the mean activation, (D,); None takes the weighted mean over these inputs.
        weight: the weight of each token, (B, T): a prediction has the weight of the token that it predicts. None takes
            the attention mask if there is one, else 1.
    """
    tokens = _tokens(inputs)
    if weight is None:
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        weight = torch.ones_like(tokens) if mask is None else mask
    logits, (activation,) = spliced_and_captured(model, inputs, hook_point, None, [hook_point])
    if mean is None:
        counts = weight.to(activation.dtype)
        mean = torch.einsum("bt...,bt->...", activation, counts) / counts.sum()
    constant = mean.to(activation)
    zero = spliced(model, inputs, hook_point, torch.zeros_like)
    flat = spliced(model, inputs, hook_point, lambda a: constant.expand_as(a))
    original, zeroed, level = (cross_entropy(one, tokens) for one in (logits, zero, flat))
    return Baseline(logits, original, zeroed, level, weight[:, 1:])


@torch.no_grad()
def measure(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    hook_point: str | HookPoint,
    replace: Replace,
    *,
    mean: Tensor | None = None,
    weight: Tensor | None = None,
    before: Baseline | None = None,
) -> Costs:
    """Measure what replacing the activation at a hook point costs a language model.

    Args:
        model: a causal language model, in ``eval()``.
        inputs: token ids (B, T), or the model's keyword arguments.
        hook_point: where the activation is replaced.
        replace: from the activation (B, T, D) to its replacement.
        mean: the mean activation, (D,), for the mean ablation; None takes that of these inputs.
        weight: the weight of each token, (B, T); see `baseline`.
        before: the `baseline` of the same inputs and hook point, if known: it saves three of four passes.

    Returns:
        `Costs` for each prediction, (B, T - 1).

    Example:
        >>> lm = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7))
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> measure(lm, tokens, "1", lambda a: a).recovered, measure(lm, tokens, "1", torch.zeros_like).recovered
        (1.0, 0.0)
    """
    if before is None:
        before = baseline(model, inputs, hook_point, mean=mean, weight=weight)
    logits = spliced(model, inputs, hook_point, replace)
    return Costs(
        original=before.original,
        spliced=cross_entropy(logits, _tokens(inputs)),
        zero=before.zero,
        mean=before.mean,
        kl=_divergences(before.logits, logits),
        weight=before.weight,
    )


def _divergences(original: Tensor, other: Tensor) -> Tensor:
    """`divergence` of the next tokens, (B, T - 1); a context at a time, whose logits stay in the cache."""
    return torch.stack([divergence(p[:-1], q[:-1]) for p, q in zip(original, other, strict=True)])


def join(parts: Sequence[Costs]) -> Costs:
    """The costs of several batches, flattened and joined; their lengths may differ."""
    return Costs(*(torch.cat([getattr(part, name).flatten() for part in parts]) for name in _COSTS))


def stack(parts: Sequence[Costs]) -> Costs:
    """The costs of several batches (B, T - 1) with one row for each context; shorter ones get weight 0 at the end."""
    longest = max(part.kl.shape[1] for part in parts)
    return Costs(
        *(
            torch.cat([F.pad(getattr(part, name), (0, longest - part.kl.shape[1])) for part in parts])
            for name in _COSTS
        )
    )


def _hook_point(model: nn.Module, hook_point: str | HookPoint) -> HookPoint:
    """The hook point of a name, which must match exactly one."""
    if isinstance(hook_point, HookPoint):
        return hook_point
    found = resolve(model, hook_point)
    if len(found) != 1:
        raise refuse("hook_point", hook_point, "one hook point", f"It matches {len(found)}.")
    return found[0]


@contextmanager
def _replaced(model: nn.Module, hook_point: HookPoint, replace: Replace) -> Iterator[None]:
    """Replace the activation at a hook point inside the context."""

    def swap(old: Tensor) -> Tensor:
        activation = split_heads(old, hook_point)
        new = replace(activation)
        if new.shape != activation.shape:
            raise refuse(
                "replace", tuple(new.shape), f"a function that keeps the shape {tuple(activation.shape)}"
            )
        return new.reshape(old.shape)

    with _hooked(model, hook_point, swap):
        yield


@contextmanager
def _noted(model: nn.Module, hook_point: HookPoint, captured: dict[int, Tensor], key: int) -> Iterator[None]:
    """Capture the activation at a hook point inside the context, under a key."""

    def note(value: Tensor) -> Tensor:
        captured[key] = split_heads(value, hook_point)
        return value

    with _hooked(model, hook_point, note):
        yield


@contextmanager
def _hooked(model: nn.Module, hook_point: HookPoint, change: Replace) -> Iterator[None]:
    """Apply `change` to the first input or output of a module inside the context."""

    def after(_: nn.Module, inputs: Any, out: Any) -> Any:
        return change(out) if isinstance(out, Tensor) else (change(out[0]), *out[1:])

    def before(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), named
        first = next(iter(named))
        return args, {**named, first: change(named[first])}

    module = model.get_submodule(hook_point.path)
    if hook_point.side == "output":
        handle = module.register_forward_hook(after)
    else:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _wide(logits: Tensor) -> Tensor:
    """Logits in float32 or float64: half precision is too coarse for logarithms of probabilities."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _tokens(inputs: Tensor | Mapping[str, Any]) -> Tensor:
    tokens: Tensor = inputs["input_ids"] if isinstance(inputs, Mapping) else inputs
    return tokens
