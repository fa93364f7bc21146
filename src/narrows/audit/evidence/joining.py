"""The evidence of several batches, moved to the CPU and joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.posterior import Posterior
from narrows.core import Batch, Sparse, Views, cat_padded, tree_map

__all__ = ["join", "to_cpu"]


def to_cpu(value: Any) -> Any:
    """A field of the evidence on the CPU."""
    if isinstance(value, Batch):
        return value.to("cpu")
    if isinstance(value, Posterior):
        return Posterior(*(to_cpu(v) for v in vars(value).values()))
    return tree_map(lambda t: t.detach().cpu(), value)


def join(parts: list[Any]) -> Any:
    """The chunks of one field, joined."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return cat_padded(parts)
    if isinstance(first, Sparse):
        most = max(
            p.values.shape[-1] for p in parts
        )  # the number of active latents may differ between chunks
        wide = [
            torch.nn.functional.pad(t, (0, most - t.shape[-1])) for p in parts for t in (p.indices, p.values)
        ]
        return Sparse(torch.cat(wide[::2]), torch.cat(wide[1::2]), first.width)
    if isinstance(first, Batch):
        same = first.target is first.x
        fields = {name: join([getattr(p, name) for p in parts]) for name in ("x", "condition", "weight")}
        return Batch(**fields, target=None if same else join([p.target for p in parts]))
    if isinstance(first, Posterior | Views):
        return type(first)(*(join([getattr(p, name) for p in parts]) for name in vars(first)))
    if isinstance(first, Mapping):
        return {name: join([p[name] for p in parts]) for name in first}
    return type(first)(join(list(each)) for each in zip(*parts, strict=True))
