"""Units of work: a stretch of contexts, and the rows of activations that a model gives for them."""

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
        gradients: whether the gradients of the loss are kept too.
        dtype: in which activations are stored.
    """

    unit: int
    batch: int
    gradients: bool = False
    dtype: str = "float32"


class Work(Protocol):
    """What a model is to read, context by context."""

    def __len__(self) -> int:
        """How many contexts there are."""

    def sizes(self, first: int, last: int) -> np.ndarray:
        """How many positions each context has."""

    def keep(self, first: int, last: int) -> np.ndarray:
        """For each position of each context, whether it is kept."""

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, Tensor | None]:
        """What the model reads for some contexts, and its mask where they differ in length."""

    def metrics(self, first: int, last: int) -> dict[str, Tensor]:
        """What is stored beside the activations."""


@dataclass(frozen=True)
class Text:
    """Contexts of token ids; shorter ones are padded at the end."""

    contexts: Contexts

    def __len__(self) -> int:
        return len(self.contexts)

    def sizes(self, first: int, last: int) -> np.ndarray:
        """How many tokens each context has."""
        return self.contexts.span(first, last)[1]

    def keep(self, first: int, last: int) -> np.ndarray:
        """For each token, whether its position is kept."""
        return self.contexts.keep(first, last)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[dict[str, Tensor], Tensor | None]:
        """Token ids (contexts, positions), with a mask only where some are padded."""
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

    def metrics(self, first: int, last: int) -> dict[str, Tensor]:
        """The whole contexts, special tokens included."""
        tokens, sizes = self.contexts.span(first, last)
        return {
            "context_tokens": torch.from_numpy(tokens.astype(np.int32)),
            "context_sizes": torch.from_numpy(sizes.astype(np.int32)),
        }


@dataclass(frozen=True)
class Inputs:
    """Ready-made inputs: a tensor (N, ...) or a mapping of them by keyword.

    Args:
        tensors: the inputs; under the name "" the only one, given by place.
        positions: how many positions an example has at the places of interest.
        cut: which of them are kept.
    """

    tensors: Mapping[str, Tensor]
    positions: int = 1
    cut: ContextOptions = field(default_factory=ContextOptions)

    def __len__(self) -> int:
        return min(len(tensor) for tensor in self.tensors.values())

    def sizes(self, first: int, last: int) -> np.ndarray:
        """As many positions for every example."""
        return np.full(last - first, self.positions, np.int64)

    def keep(self, first: int, last: int) -> np.ndarray:
        """All positions, or those that were asked for."""
        return kept(np.ones((last - first) * self.positions, bool), self.sizes(first, last), self.cut)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, None]:
        """Some of the examples."""
        some = {name: tensor[torch.from_numpy(which)].to(device) for name, tensor in self.tensors.items()}
        return some.get("", some), None

    def metrics(self, first: int, last: int) -> dict[str, Tensor]:
        """Nothing: these are no text."""
        return {}


def batches(work: Work, first: int, last: int, size: int) -> Iterator[np.ndarray]:
    """Contexts from `first` to before `last` in batches of like length, the longest first, else in their order."""
    order = first + np.argsort(-work.sizes(first, last), kind="stable")
    yield from (order[at : at + size] for at in range(0, len(order), size))


def compute(
    model: Model,
    places: Sequence[HookPoint],
    work: Work,
    plan: Plan,
    unit: int,
    tell: Callable[[int], None] = lambda rows: None,
) -> dict[str, Tensor]:
    """The rows of one unit.

    Args:
        model: in eval mode.
        places: with their shapes.
        work: what the model reads.
        plan: how it is divided.
        unit: which; it holds the contexts from `unit * plan.unit` on.
        tell: is told after each run of the model how many rows it gave.

    Returns:
        By the place's name its activations (rows, ...), with ``.grad`` their gradients; `positions` (rows,),
        `context_rows` (contexts,), and for text `context_tokens` and `context_sizes`.

    Raises:
        WorkError: the model gives a number that is not finite.
    """
    first, last = unit * plan.unit, min((unit + 1) * plan.unit, len(work))
    keep, sizes = work.keep(first, last), work.sizes(first, last)
    starts = np.cumsum(sizes) - sizes
    context_rows = np.add.reduceat(keep, starts, dtype=np.int64)
    row_starts = np.cumsum(context_rows) - context_rows
    out = _room(places, plan, int(keep.sum()))
    for which in batches(work, first, last, plan.batch):
        seen, width = _seen(model, places, work, which, plan)
        local = which - first
        took = [np.flatnonzero(keep[starts[i] : starts[i] + sizes[i]]) for i in local]
        source = np.concatenate([at * width + some for at, some in enumerate(took)])
        target = np.concatenate([row_starts[i] + np.arange(len(some)) for i, some in zip(local, took)])
        for name, value in seen.items():
            _finite(_put(out[name], value.flatten(0, 1), source, target), name, model, which, source // width)
        tell(len(target))
    return out | layout(work, first, last)


def layout(work: Work, first: int, last: int) -> dict[str, Tensor]:
    """Where the rows of some contexts are, without running the model.

    Args:
        work: what the model reads.
        first: the first context.
        last: the one after the last.

    Returns:
        `positions` (rows,), `context_rows` (contexts,), and for text `context_tokens` and `context_sizes`.
    """
    keep, sizes = work.keep(first, last), work.sizes(first, last)
    starts = np.cumsum(sizes) - sizes
    position = np.arange(len(keep)) - np.repeat(starts, sizes)
    return {
        "positions": torch.from_numpy(position[keep].astype(np.int32)),
        "context_rows": torch.from_numpy(np.add.reduceat(keep, starts, dtype=np.int32)),
        **work.metrics(first, last),
    }


def _room(places: Sequence[HookPoint], plan: Plan, count: int) -> dict[str, Tensor]:
    """Empty rows for every place."""
    ends = ("", ".grad") if plan.gradients else ("",)
    return {
        place.name + end: torch.empty(count, *(place.shape or ()), dtype=getattr(torch, plan.dtype))
        for place in places
        for end in ends
    }


def _seen(
    model: Model, places: Sequence[HookPoint], work: Work, which: np.ndarray, plan: Plan
) -> tuple[dict[str, Tensor], int]:
    """Activations (contexts, positions, ...) of one batch, and how many positions they have."""
    inputs, mask = work.inputs(which, model.device)
    if plan.gradients:
        seen, slopes = capture_with_gradients(model.module, inputs["input_ids"], places, mask)
        seen |= {f"{name}.grad": slope for name, slope in slopes.items()}
    else:
        seen = capture(model.module, inputs, places)
    width = int(work.sizes(int(which[0]), int(which[0]) + 1)[0]) if mask is None else mask.shape[1]
    by_name = {place.name: place for place in places}
    for name in seen:
        place = by_name[name if name in by_name else name.removesuffix(".grad")]
        value = seen[name]
        if (
            value.dim() == 2 and len(value) == len(which) * width
        ):  # some models lay all positions in one row (OPT)
            value = value.unflatten(0, (len(which), width))
        seen[name] = rows(value, place)
        if seen[name].shape[:2] != (len(which), width):
            raise RequestError(
                f"`{place.name}` gives {tuple(seen[name].shape[:2])} rows (examples, positions), where "
                f"{len(which), width} are expected. Harvest layers of different lengths, such as "
                "pooled ones, into folders of their own."
            )
    return seen, width


def _put(out: Tensor, flat: Tensor, source: np.ndarray, target: np.ndarray) -> Tensor:
    """Write some rows to their places, in one go where those are neighbours; returns what was written."""
    rows_wanted = torch.from_numpy(source).to(flat.device)
    first = int(target[0]) if len(target) else 0
    if not (np.diff(target) == 1).all():
        some = flat.index_select(0, rows_wanted).to("cpu", out.dtype)
        out[torch.from_numpy(target)] = some
        return some
    room = out[first : first + len(target)]
    if len(source) == len(flat):
        room.copy_(flat)
    elif flat.dtype == out.dtype and flat.device == out.device:
        torch.index_select(flat, 0, rows_wanted, out=room)
    else:
        room.copy_(flat.index_select(0, rows_wanted))
    return room


def _finite(some: Tensor, name: str, model: Model, which: np.ndarray, context: np.ndarray) -> None:
    if bool(torch.isfinite(some.sum())):
        return
    bad = (~torch.isfinite(some.flatten(1))).any(1).nonzero()
    if len(bad):
        fix = " In float16 nothing above 65,504 fits: store bfloat16." if some.dtype == torch.float16 else ""
        raise WorkError(
            f"{model.name} gives NaN or infinite numbers at `{name}` in context {which[context[int(bad[0])]]}.{fix} "
            "What was harvested before is kept."
        )


def unit_rows(work: Work, unit: int) -> list[int]:
    """How many rows each unit has.

    Args:
        work: what the model reads.
        unit: contexts in a unit.
    """
    starts = range(0, len(work), unit)
    return [int(work.keep(start, min(start + unit, len(work))).sum()) for start in starts]
