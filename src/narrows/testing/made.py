"""Made-up data of every kind, with something to learn: a few hidden numbers an example, seen through a random map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from narrows.core import Batch, Spec, Views
from narrows.core.check import RequestError
from narrows.core.columns import LEVELS
from narrows.core.vocabulary import END, SPECIAL
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling

__all__ = ["Made", "made"]

_HIDDEN = 3


@dataclass(frozen=True)
class Made:
    """Examples that are one batch in memory, of which any rows can be had.

    Args:
        whole: all of them; its condition has masks, and what a method may ask for.
    """

    whole: Batch

    def __len__(self) -> int:
        return len(self.whole)

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some rows.

        Raises:
            RequestError: a condition that these data lack.
        """
        for name in conditions:
            if name not in self.whole.condition and name != "row":
                raise RequestError(f"This method is told the column `{name}`, but the data lack it.")
        found = self.whole[rows]
        if "row" in conditions:
            numbers = torch.arange(len(self))[rows]
            found = replace(found, condition={**found.condition, "row": numbers})
        return found.to(device)

    def all(self, limit: int | None = None, conditions: tuple[str, ...] = ()) -> Batch:
        """All rows, or the first."""
        return self.batch(slice(0, limit), conditions)


def made(spec: Spec, n: int, seed: int = 0) -> Dataset | Made:
    """n made-up examples of a spec; the same world for every seed.

    Arrays have the columns `gradients`, of the examples' shape, and for several rows an example (T, D) `tokens`,
    (T,) each. Of the other kinds some values are missing, and lengths differ.

    Example:
        >>> made(Spec((1, 4, 4), "unit", classes=2), 5).all(conditions=("labels",)).condition["labels"].shape
        torch.Size([5, 2])
        >>> made(Spec((9, 2), kind="series"), 5).all().condition["mask"].shape
        torch.Size([5, 9])
    """
    world = _World(n, seed)
    return _KINDS[spec.kind](spec, world)


class _World:
    """Hidden numbers of n examples, and how they are seen."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.draw = torch.Generator().manual_seed(seed)
        self.maps = torch.Generator().manual_seed(0)  # the same world for every seed
        self.hidden = torch.randn(n, _HIDDEN, generator=self.draw)

    def seen(self, shape: tuple[int, ...]) -> Tensor:
        """Real numbers, (n, *shape)."""
        wide = self.hidden @ torch.randn(_HIDDEN, Spec(shape).size, generator=self.maps)
        return (wide + 0.1 * torch.randn(wide.shape, generator=self.draw)).reshape(self.n, *shape)

    def values(self, spec: Spec, shape: tuple[int, ...]) -> Tensor:
        """What a spec's values are like, (n, *shape)."""
        wide = self.seen(shape)
        if spec.values == "unit":
            return wide.sigmoid()
        if spec.values == "binary":
            return (wide > 0).float()
        if spec.values == "counts":
            return wide.exp().clamp(max=50).round()
        if spec.values == "integer":
            return wide.round()
        if spec.values == "positive":
            return wide.exp().clamp(max=50)
        if spec.values in LEVELS:
            return (wide.sigmoid() * spec.classes).floor().clamp(max=spec.classes - 1)
        return wide

    def present(self, shape: tuple[int, ...], share: float = 0.8) -> Tensor:
        """What is not missing, (n, *shape) bool."""
        return torch.rand(self.n, *shape, generator=self.draw) < share

    def lengths(self, longest: int) -> Tensor:
        """Which of the steps are there, (n, longest) bool: from half to all of them, in the first row all."""
        count = torch.randint(max(1, longest // 2), longest + 1, (self.n,), generator=self.draw)
        count[0] = longest
        return torch.arange(longest) < count[:, None]


def _array(spec: Spec, world: _World) -> Dataset | Made:
    if "observed" in spec.conditions:
        observed = world.present(spec.shape)
        x = torch.where(observed, world.values(spec, spec.shape), 0.0)
        return Made(Batch(x, None, {"observed": observed}, observed.float()))
    labels = world.hidden[:, 0].argsort().argsort() % spec.classes if spec.classes else None
    x = world.values(spec, spec.shape)
    columns = {"gradients": torch.randn(x.shape, generator=torch.Generator().manual_seed(world.seed + 1))}
    for name, (levels,) in spec.conditions.items():
        columns[name] = torch.nn.functional.one_hot(torch.arange(world.n) % levels, levels).float()
    if len(spec.shape) == 2:
        columns["tokens"] = (world.hidden.argsort(1)[:, :1] + torch.arange(spec.shape[0])) % 3
    return Dataset(
        x,
        Scaling(),
        spec.shape,
        labels=labels,
        class_names=tuple(map(str, range(spec.classes))),
        target=None if spec.target is None else world.values(spec, spec.target),
        columns=columns,
    )


def _table(spec: Spec, world: _World) -> Made:
    parts = spec.parts or {str(i): Spec(()) for i in range(spec.size)}
    columns = [world.values(part, (1,)) for part in parts.values()]
    observed = world.present(spec.shape)
    x = torch.where(observed, torch.cat(columns, 1), 0.0)
    return Made(Batch(x, None, {"observed": observed}, observed.float()))


def _series(spec: Spec, world: _World) -> Made:
    steps, channels = spec.shape
    mask = world.lengths(steps)
    observed = world.present(spec.shape) & mask[..., None]
    times = torch.rand(world.n, steps, generator=world.draw).cumsum(1) * mask
    x = torch.where(observed, world.values(spec, (steps, channels)), 0.0)
    return Made(Batch(x, None, {"mask": mask, "observed": observed, "times": times}, observed.float()))


def _tokens(spec: Spec, world: _World) -> Made:
    (longest,) = spec.shape
    mask = world.lengths(longest)
    first, symbols = len(SPECIAL), max(len(spec.vocabulary), len(SPECIAL) + 1)
    x = (
        first
        + (world.seen((longest,)).sigmoid() * (symbols - first)).floor().clamp(0, symbols - first - 1).long()
    )
    ends = mask.sum(1, keepdim=True) - 1
    x = x.scatter(1, ends, END)
    return Made(Batch(torch.where(mask, x, 0), None, {"mask": mask}, mask.float()))


def _graph(spec: Spec, world: _World) -> Made:
    nodes, width = spec.shape
    mask = world.lengths(nodes)
    x = world.values(spec, (nodes, width)) * mask[..., None]
    pairs = torch.triu_indices(nodes, nodes, 1).T.expand(world.n, -1, -1)
    alike = world.seen((nodes, 2))
    close = (alike[:, pairs[0, :, 0]] * alike[:, pairs[0, :, 1]]).sum(-1) > 0
    there = close & mask[:, pairs[0]].all(-1) & world.present(pairs.shape[1:2])
    shown = there & world.present(pairs.shape[1:2])
    edges, seen = (torch.where(t[..., None], pairs, 0) for t in (there, shown))
    return Made(Batch(x, edges, {"edges": seen, "edges_mask": shown, "mask": mask}, there.float()))


def _field(spec: Spec, world: _World) -> Made:
    points, channels = spec.shape
    dims = spec.conditions.get("positions", (1,))[-1]
    mask = world.lengths(points)
    positions = torch.rand(world.n, points, dims, generator=world.draw)
    waves = torch.sin(3 * positions.sum(-1, keepdim=True) + world.hidden[:, None, :channels])
    x = torch.where(mask[..., None], waves[..., :channels].expand(-1, -1, channels), 0.0)
    weight = mask[..., None].float() / mask.sum(1)[:, None, None]
    told = {"positions": positions, "queries": positions, "mask": mask, "queries_mask": mask}
    return Made(Batch(x, None, told, weight))


def _views(spec: Spec, world: _World) -> Made:
    present = world.present((len(spec.parts),), 0.7)
    present[:, 0] |= ~present.any(1)
    values = {name: world.values(part, part.shape) for name, part in spec.parts.items()}
    return Made(Batch(Views(values, present)).visible())


_KINDS: dict[str, Callable[[Spec, _World], Dataset | Made]] = {
    "array": _array,
    "table": _table,
    "series": _series,
    "tokens": _tokens,
    "graph": _graph,
    "field": _field,
    "views": _views,
}
