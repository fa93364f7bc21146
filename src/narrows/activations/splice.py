"""Splicing: a frozen language model with one place's output replaced, and what that costs it, in nats.

    logits = spliced(model, tokens, "resid.2", replace)      differentiable in what `replace` gives
    costs = measure(model, tokens, "resid.2", replace)       cross-entropies, KL, loss recovered
    before = baseline(model, tokens, "resid.2")              once, where many replacements are compared

A hook point is a `HookPoint`, or a name that `hook_points.resolve` knows: ``resid.2``, ``mlp.2``, a module's path,
``PATH:input``.
Of a tuple the first member is the activation; attention heads come as an axis of their own, as in `capture`.
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
    "spliced_and_seen",
]

Replace: TypeAlias = Callable[[Tensor], Tensor]
"""From an activation (B, T, D) to what stands in its place."""


def spliced(
    model: nn.Module, inputs: Tensor | Mapping[str, Any], place: str | HookPoint, replace: Replace
) -> Tensor:
    """The logits of a model in which one place's output is replaced.

    Nothing in the model changes, and gradients flow through what `replace` gives and on through the later layers
    (give them ``requires_grad_(False)``, or their weights get gradients too).

    Args:
        model: a causal language model: called with token ids, it gives logits or something with ``logits``.
        inputs: token ids (B, T), or the model's keyword arguments (``input_ids``, ``attention_mask`` ...).
        place: whose output is replaced.
        replace: from the activation (B, T, D) to its replacement, of the same shape.

    Returns:
        logits, (B, T, V).

    Raises:
        RequestError: no such place, a replacement of another shape, or a model without logits.

    Example:
        >>> lm = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7))
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> bool((spliced(lm, tokens, "1", lambda a: a) == lm(tokens)).all())
        True
    """
    return spliced_and_seen(model, inputs, place, replace)[0]


def spliced_and_seen(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    place: str | HookPoint,
    replace: Replace | None,
    look: Sequence[str | HookPoint] = (),
) -> tuple[Tensor, list[Tensor]]:
    """The logits of a spliced model, and what further places put out in the same pass, differentiable.

    Args:
        model: a causal language model.
        inputs: token ids (B, T), or the model's keyword arguments.
        place: whose output is replaced.
        replace: from the activation to its replacement; None leaves it.
        look: the places to look at; at `place` itself the replacement is seen.

    Returns:
        logits (B, T, V), and for each place of `look` its activation.
    """
    seen: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        if replace is not None:
            hooks.enter_context(_replaced(model, _place(model, place), replace))
        for i, other in enumerate(look):
            hooks.enter_context(_noted(model, _place(model, other), seen, i))
        out = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if logits is None:
        raise refuse("model", type(model).__name__, "a causal language model, with logits", "It has none.")
    return logits, [seen[i] for i in range(len(look))]


def cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    """The cross-entropy of each next token, in nats: (B, T, V) logits and (B, T) tokens to (B, T - 1)."""
    return F.cross_entropy(_wide(logits[:, :-1]).mT, tokens[:, 1:], reduction="none")


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
    """What does not depend on the replacement: how well the model does untouched, and with a place blotted out.

    Args:
        logits: of the untouched model, (B, T, V).
        original: its cross-entropy of each next token, (B, T - 1), nats.
        zero: the same where the place puts out 0.
        mean: the same where it puts out its mean over examples and positions.
        weight: which predictions count, (B, T - 1).
    """

    logits: Tensor
    original: Tensor
    zero: Tensor
    mean: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Costs:
    r"""What a replacement costs a language model, prediction by prediction, in nats; every tensor of one shape.

    Loss recovered is :math:`(CE_{zero} - CE_{spliced}) / (CE_{zero} - CE_{original})`: 1 where the replacement costs
    nothing, 0 where it is as bad as zeros. Others take the ablation to the mean for the zero: `recovered_from_mean`.

    Args:
        original: cross-entropy of the untouched model.
        spliced: of the spliced one.
        zero: with the place's output at 0.
        mean: with the place's output at its mean.
        kl: KL(original || spliced).
        weight: how much each prediction counts.
    """

    original: Tensor
    spliced: Tensor
    zero: Tensor
    mean: Tensor
    kl: Tensor
    weight: Tensor

    def average(self, name: str) -> float:
        """The weighted mean of one of the tensors by its name."""
        weight = self.weight.double()
        return float((getattr(self, name).double() * weight).sum() / weight.sum())

    @property
    def recovered(self) -> float:
        """Loss recovered, against zeros; not a number where zeros cost nothing."""
        return self._recovered("zero")

    @property
    def recovered_from_mean(self) -> float:
        """Loss recovered, against the mean activation."""
        return self._recovered("mean")

    def means(self) -> dict[str, float]:
        """All of it by name: ``ce/original``, ``ce/spliced``, ``ce/zero``, ``ce/mean``, ``kl``, ``recovered`` ..."""
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
    place: str | HookPoint,
    *,
    mean: Tensor | None = None,
    weight: Tensor | None = None,
) -> Baseline:
    """Three passes: the model untouched, and with a place's output at zero and at its mean.

    Args:
        model: a causal language model, in ``eval()``.
        inputs: token ids (B, T), or the model's keyword arguments.
        place: which place.
        mean: its mean output, (D,); of these inputs' counted positions when None.
        weight: which tokens count, (B, T): a prediction counts as much as the token that it predicts. When None,
            the attention mask where there is one, else all alike.
    """
    tokens = _tokens(inputs)
    if weight is None:
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        weight = torch.ones_like(tokens) if mask is None else mask
    logits, (activation,) = spliced_and_seen(model, inputs, place, None, [place])
    if mean is None:
        counts = weight.to(activation.dtype)
        mean = torch.einsum("bt...,bt->...", activation, counts) / counts.sum()
    constant = mean.to(activation)
    zero = spliced(model, inputs, place, torch.zeros_like)
    flat = spliced(model, inputs, place, lambda a: constant.expand_as(a))
    original, zeroed, level = (cross_entropy(one, tokens) for one in (logits, zero, flat))
    return Baseline(logits, original, zeroed, level, weight[:, 1:])


@torch.no_grad()
def measure(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    place: str | HookPoint,
    replace: Replace,
    *,
    mean: Tensor | None = None,
    weight: Tensor | None = None,
    before: Baseline | None = None,
) -> Costs:
    """What replacing a place's output costs a language model.

    Args:
        model: a causal language model, in ``eval()``.
        inputs: token ids (B, T), or the model's keyword arguments.
        place: whose output is replaced.
        replace: from the activation (B, T, D) to its replacement.
        mean: the mean output of the place, (D,), for the mean ablation; of these inputs when None.
        weight: which tokens count, (B, T); see `baseline`.
        before: the `baseline` of the same inputs and place, where it is known: then one pass is made, not four.

    Returns:
        `Costs` for each prediction, (B, T - 1).

    Example:
        >>> lm = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7))
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> measure(lm, tokens, "1", lambda a: a).recovered, measure(lm, tokens, "1", torch.zeros_like).recovered
        (1.0, 0.0)
    """
    if before is None:
        before = baseline(model, inputs, place, mean=mean, weight=weight)
    logits = spliced(model, inputs, place, replace)
    return Costs(
        original=before.original,
        spliced=cross_entropy(logits, _tokens(inputs)),
        zero=before.zero,
        mean=before.mean,
        kl=divergence(before.logits[:, :-1], logits[:, :-1]),
        weight=before.weight,
    )


def join(parts: Sequence[Costs]) -> Costs:
    """The costs of several batches as one, flattened; their lengths may differ."""
    names = ("original", "spliced", "zero", "mean", "kl", "weight")
    return Costs(*(torch.cat([getattr(part, name).flatten() for part in parts]) for name in names))


def _place(model: nn.Module, place: str | HookPoint) -> HookPoint:
    """The one place that is meant."""
    if isinstance(place, HookPoint):
        return place
    found = resolve(model, place)
    if len(found) != 1:
        raise refuse("place", place, "one place", f"It stands for {len(found)}.")
    return found[0]


@contextmanager
def _replaced(model: nn.Module, place: HookPoint, replace: Replace) -> Iterator[None]:
    """Within, a place holds what `replace` makes of its activation."""

    def swap(old: Tensor) -> Tensor:
        cut = _cut(old, place)
        new = replace(cut)
        if new.shape != cut.shape:
            raise refuse("replace", tuple(new.shape), f"a function that keeps the shape {tuple(cut.shape)}")
        return new.reshape(old.shape)

    with _hooked(model, place, swap):
        yield


@contextmanager
def _noted(model: nn.Module, place: HookPoint, seen: dict[int, Tensor], key: int) -> Iterator[None]:
    """Within, a place's activation is noted under a key."""

    def note(value: Tensor) -> Tensor:
        seen[key] = _cut(value, place)
        return value

    with _hooked(model, place, note):
        yield


@contextmanager
def _hooked(model: nn.Module, place: HookPoint, change: Replace) -> Iterator[None]:
    """Within, the first tensor that a module takes, or puts out, goes through `change`."""

    def after(_: nn.Module, inputs: Any, out: Any) -> Any:
        return change(out) if isinstance(out, Tensor) else (change(out[0]), *out[1:])

    def before(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), named
        first = next(iter(named))
        return args, {**named, first: change(named[first])}

    module = model.get_submodule(place.path)
    if place.side == "output":
        handle = module.register_forward_hook(after)
    else:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _wide(logits: Tensor) -> Tensor:
    """Half precision is too coarse for logarithms of probabilities."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _cut(value: Tensor, place: HookPoint) -> Tensor:
    return value.unflatten(-1, (place.heads, -1)) if place.heads else value


def _tokens(inputs: Tensor | Mapping[str, Any]) -> Tensor:
    tokens: Tensor = inputs["input_ids"] if isinstance(inputs, Mapping) else inputs
    return tokens
