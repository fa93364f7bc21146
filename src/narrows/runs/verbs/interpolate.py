"""`interpolate`: the path between the codes of two examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from narrows.core import Sparse, dense
from narrows.core.check import whole
from narrows.runs.codes import between
from narrows.runs.verbs.reconstruct import check_decodes

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["interpolate"]


@torch.no_grad()
def interpolate(run: Run, data: Any, i: int, j: int, steps: int) -> Any:
    """Decode points on the line between the codes of examples i and j, (steps, *shape).

    Where codes lie on a manifold, the line is the geodesic (`narrows.core.Bottleneck.between`).

    Raises:
        RequestError: an index that is no row, fewer than two steps, or a run that decodes no examples.
    """
    check_decodes(run)
    dataset = run.dataset(data)
    for name, row in (("from", i), ("to", j)):
        whole(name, row, low=0, high=len(dataset) - 1, fix="It is the index of a row.")
    batch = dataset.batch(torch.tensor([i, j]), run.model.conditions)
    code = run.model.encode(batch)
    z = dense(code.z)
    t = torch.linspace(0, 1, whole("steps", steps, low=2)).view(-1, *[1] * (z.dim() - 1))
    line: Any = run.model.bottleneck.between(z[:1], z[1:], t)
    if isinstance(code.z, Sparse):
        line = Sparse(torch.arange(line.shape[-1]).expand(line.shape).contiguous(), line, line.shape[-1])
    condition = {name: between(value, t) for name, value in batch.condition.items()}
    return run._units(run.model.likelihood.mean(run.model.decode(line, condition)))
