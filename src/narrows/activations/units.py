"""Units of work: consecutive contexts, and the rows of activations of a model for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from narrows.activations.capture import capture, capture_with_gradients, rows
from narrows.activations.contexts import ContextOptions, Contexts, kept
from narrows.activations.hook_points import HookPoint
from narrows.activations.models import Model
from narrows.core.check import RequestError, WorkError

__all__ = [
    "Inputs",
    "Plan",
    "Text",
    "Work",
    "batches",
    "compute",
    "unit_rows",
]


@dataclass(frozen=True)
class Plan:
    """How contexts are divided.

    Args:
        unit: contexts in a unit, which becomes one shard.
        batch: contexts in one run of the model; another number may change the last bits.
        gradients: whether the gradients of the loss are stored too.
        dtype: the type in which activations are stored.
    """

    unit: int
    batch: int
    gradients: bool = False
    dtype: str = "float32"


class Work(Protocol):
    """The inputs of a model, context by context."""

    def __len__(self) -> int:
        """The number of contexts."""

    def sizes(self, first: int, last: int) -> np.ndarray:
        """The number of positions of each context."""

    def keep(self, first: int, last: int) -> np.ndarray:
        """For each position of each context, whether it is kept."""

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, Tensor | None]:
        """The model's inputs for some contexts, and the mask if they differ in length."""

    def context_tensors(self, first: int, last: int) -> dict[str, Tensor]:
        """The tensors of the contexts that are stored with the activations."""


@dataclass(frozen=True)
class Text:
    """Contexts of token ids; shorter contexts of a batch are padded at the end."""

    contexts: Contexts

    def __len__(self) -> int:
        return len(self.contexts)

    def sizes(self, first: int, last: int) -> np.ndarray:
        """The number of tokens of each context."""
        return self.contexts.span(first, last)[1]

    def keep(self, first: int, last: int) -> np.ndarray:
        """For each token, whether its position is kept."""
        return self.contexts.keep(first, last)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[dict[str, Tensor], Tensor | None]:
        """Token ids (contexts, positions), with a mask only if some are padded."""
        spans = [self.contexts.span(int(at), int(at) + 1)[0] for at in which]
        longest = max(map(len, spans))
        ids = np.zeros((len(spans), longest), np.int64)
        mask = np.zeros((len(spans), longest), np.int64)
        for at, span in enumerate(spans):
            ids[at, : len(span)], mask[at, : len(span)] = span, 1
        inputs = {"input_ids": torch.from_numpy(ids).to(device)}
        if mask.all():
            return inputs, None
        inputs["attention_mask"] = torch.from_numpy(mask).to(device)
        return inputs, inputs["attention_mask"]

    def context_tensors(self, first: int, last: int) -> dict[str, Tensor]:
        """The tokens of the whole contexts, special tokens included, and their lengths."""
        tokens, sizes = self.contexts.span(first, last)
        return {
            "context_tokens": torch.from_numpy(tokens.astype(np.int32)),
            "context_sizes": torch.from_numpy(sizes.astype(np.int32)),
        }


@dataclass(frozen=True)
class Inputs:
    """Ready-made inputs: a tensor (N, ...) or a mapping of them by keyword.

    Args:
        tensors: the inputs by keyword; a single positional input has the name "".
        positions: the number of positions of an example at the hook points.
        options: whose `positions` are kept.
    """

    tensors: Mapping[str, Tensor]
    positions: int = 1
    options: ContextOptions = field(default_factory=ContextOptions)

    def __len__(self) -> int:
        return min(len(tensor) for tensor in self.tensors.values())

    def sizes(self, first: int, last: int) -> np.ndarray:
        """The number of positions, the same for every example."""
        return np.full(last - first, self.positions, np.int64)

    def keep(self, first: int, last: int) -> np.ndarray:
        """For each position, whether it is kept."""
        return kept(np.ones((last - first) * self.positions, bool), self.sizes(first, last), self.options)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, None]:
        """The inputs of some examples."""
        some = {name: tensor[torch.from_numpy(which)].to(device) for name, tensor in self.tensors.items()}
        return some.get("", some), None

    def context_tensors(self, first: int, last: int) -> dict[str, Tensor]:
        """None: these inputs are not text."""
        return {}


def batches(work: Work, first: int, last: int, size: int) -> Iterator[np.ndarray]:
    """The contexts `first` to `last` - 1 in batches of similar length, the longest first, else in their order."""
    order = first + np.argsort(-work.sizes(first, last), kind="stable")
    yield from (order[at : at + size] for at in range(0, len(order), size))


def compute(
    model: Model,
    hook_points: Sequence[HookPoint],
    work: Work,
    plan: Plan,
    unit: int,
    report: Callable[[int], None] = lambda rows: None,
) -> dict[str, Tensor]:
    """Compute the rows of one unit.

    Args:
        model: in eval mode.
        hook_points: with their shapes.
        work: the model's inputs.
        plan: how they are divided.
        unit: the number of the unit; it holds the contexts from `unit * plan.unit` on.
        report: called after each run of the model with its number of rows.

    Returns:
        By the name of the hook point its activations (rows, ...), with ``.grad`` their gradients; `positions` (rows,),
        `context_rows` (contexts,), and for text `context_tokens` and `context_sizes`.

    Raises:
        WorkError: an activation is not finite.
    """
    first, last = unit * plan.unit, min((unit + 1) * plan.unit, len(work))
    keep, sizes = work.keep(first, last), work.sizes(first, last)
    starts = np.cumsum(sizes) - sizes
    context_rows = np.add.reduceat(keep, starts, dtype=np.int64)
    row_starts = np.cumsum(context_rows) - context_rows
    out = _empty_rows(hook_points, plan, int(keep.sum()))
    for which in batches(work, first, last, plan.batch):
        captured, width = _activations(model, hook_points, work, which, plan)
        local = which - first
        took = [np.flatnonzero(keep[starts[i] : starts[i] + sizes[i]]) for i in local]
        source = np.concatenate([at * width + some for at, some in enumerate(took)])
        target = np.concatenate([row_starts[i] + np.arange(len(some)) for i, some in zip(local, took)])
        for name, value in captured.items():
            _finite(_put(out[name], value.flatten(0, 1), source, target), name, model, which, source // width)
        report(len(target))
    return out | layout(work, first, last)


def layout(work: Work, first: int, last: int) -> dict[str, Tensor]:
    """The positions and contexts of rows, without running the model.

    Args:
        work: the model's inputs.
        first: the first context.
        last: the last context plus 1.

    Returns:
        `positions` (rows,), `context_rows` (contexts,), and for text `context_tokens` and `context_sizes`.
    """
    keep, sizes = work.keep(first, last), work.sizes(first, last)
    starts = np.cumsum(sizes) - sizes
    position = np.arange(len(keep)) - np.repeat(starts, sizes)
    return {
        "positions": torch.from_numpy(position[keep].astype(np.int32)),
        "context_rows": torch.from_numpy(np.add.reduceat(keep, starts, dtype=np.int32)),
        **work.context_tensors(first, last),
    }


def _empty_rows(hook_points: Sequence[HookPoint], plan: Plan, count: int) -> dict[str, Tensor]:
    """Uninitialised rows for every hook point."""
    ends = ("", ".grad") if plan.gradients else ("",)
    return {
        hook_point.name + end: torch.empty(count, *(hook_point.shape or ()), dtype=getattr(torch, plan.dtype))
        for hook_point in hook_points
        for end in ends
    }


def _activations(
    model: Model, hook_points: Sequence[HookPoint], work: Work, which: np.ndarray, plan: Plan
) -> tuple[dict[str, Tensor], int]:
    """Activations (contexts, positions, ...) of one batch, and their number of positions."""
    inputs, mask = work.inputs(which, model.device)
    if plan.gradients:
        captured, gradients = capture_with_gradients(model.module, inputs["input_ids"], hook_points, mask)
        captured |= {f"{name}.grad": gradient for name, gradient in gradients.items()}
    else:
        captured = capture(model.module, inputs, hook_points)
    width = int(work.sizes(int(which[0]), int(which[0]) + 1)[0]) if mask is None else mask.shape[1]
    by_name = {hook_point.name: hook_point for hook_point in hook_points}
    for name in captured:
        hook_point = by_name[name if name in by_name else name.removesuffix(".grad")]
        value = captured[name]
        if (
            value.dim() == 2 and len(value) == len(which) * width
        ):  # some models flatten batch and positions (OPT)
            value = value.unflatten(0, (len(which), width))
        captured[name] = rows(value, hook_point)
        if captured[name].shape[:2] != (len(which), width):
            raise RequestError(
                f"`{hook_point.name}` gives {tuple(captured[name].shape[:2])} rows (examples, positions), where "
                f"{len(which), width} are expected. Harvest layers of different lengths, such as "
                "pooled ones, into separate folders."
            )
    return captured, width


def _put(out: Tensor, flat: Tensor, source: np.ndarray, target: np.ndarray) -> Tensor:
    """Copy the rows `source` of `flat` to the rows `target` of `out`, and return them."""
    rows_wanted = torch.from_numpy(source).to(flat.device)
    first = int(target[0]) if len(target) else 0
    if not (np.diff(target) == 1).all():
        some = flat.index_select(0, rows_wanted).to("cpu", out.dtype)
        out[torch.from_numpy(target)] = some
        return some
    rows_out = out[first : first + len(target)]
    if len(source) == len(flat):
        rows_out.copy_(flat)
    elif flat.dtype == out.dtype and flat.device == out.device:
        torch.index_select(flat, 0, rows_wanted, out=rows_out)
    else:
        rows_out.copy_(flat.index_select(0, rows_wanted))
    return rows_out


def _finite(some: Tensor, name: str, model: Model, which: np.ndarray, context: np.ndarray) -> None:
    if bool(torch.isfinite(some.sum())):
        return
    bad = (~torch.isfinite(some.flatten(1))).any(1).nonzero()
    if len(bad):
        fix = " float16 ends at 65,504: store bfloat16." if some.dtype == torch.float16 else ""
        raise WorkError(
            f"{model.name} gives NaN or infinite numbers at `{name}` in context {which[context[int(bad[0])]]}.{fix} "
            "Earlier units are kept."
        )


def unit_rows(work: Work, unit: int) -> list[int]:
    """The number of rows of each unit.

    Args:
        work: the model's inputs.
        unit: contexts in a unit.
    """
    starts = range(0, len(work), unit)
    return [int(work.keep(start, min(start + unit, len(work))).sum()) for start in starts]
