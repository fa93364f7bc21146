"""Further rows of the data beside those of the audit, passed through a model with a sparse code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.audit.evidence.effects import effects
from narrows.audit.evidence.joining import join
from narrows.audit.evidence.view import View, device_of
from narrows.core import Sparse
from narrows.core.evidence import Latents
from narrows.data.dataset import known_of

__all__ = ["Drawn", "directions", "draw", "groups", "passed", "vectors"]

_CHUNK = 512


@dataclass(frozen=True)
class Drawn:
    """Some rows of the data and their pass through a model, on the CPU.

    Args:
        rows: their numbers, (T,), in order.
        x: inputs, flattened, (T, D).
        target: what is reconstructed, flattened, (T, E).
        output: the reconstructions, (T, E).
        z: the codes, (T, N).
        skip: the input of a skip connection, (T, ...), if there is one.
    """

    rows: Tensor
    x: Tensor
    target: Tensor
    output: Tensor
    z: Tensor | Sparse
    skip: Tensor | None


def vectors(view: View) -> bool:
    """Whether the model has a sparse code of one vector for each example, and the examples are real numbers."""
    return view.control is not None and view.dataset is not None


def draw(view: View, count: int, random: torch.Generator) -> Drawn:
    """Draw rows without replacement and pass them through the model.

    Args:
        view: of a model for which `vectors` holds.
        count: largest number of rows.
        random: draws the rows.
    """
    assert view.dataset is not None
    return passed(view, torch.randperm(len(view.dataset), generator=random)[:count].sort().values)


@torch.no_grad()
def passed(view: View, rows: Tensor) -> Drawn:
    """Some rows, given by their numbers in order, and their pass through the model."""
    data, model = view.dataset, view.model
    assert data is not None
    parts = []
    for some in rows.split(_CHUNK):
        made = model(data.batch(some, conditions=model.conditions, device=device_of(model)))
        found = made.code.find(Latents)
        assert found is not None
        z = found.z
        output = model.likelihood.mean(made.output)
        x, target, output = (t.flatten(1).float().cpu() for t in (made.batch.x, made.batch.target, output))
        z = (
            Sparse(z.indices.cpu(), z.values.float().cpu(), z.width)
            if isinstance(z, Sparse)
            else z.float().cpu()
        )
        parts.append((x, target, output, z, None if found.skip is None else found.skip.cpu()))
    return Drawn(rows, *join(parts))


def groups(view: View, rows: Tensor) -> Tensor:
    """The number of each row's context, or of the row itself if the data have no contexts, (T,)."""
    provenance = known_of(view.dataset).provenance
    return rows if provenance is None or provenance.length else provenance.contexts(rows)


def directions(view: View) -> Tensor:
    """The change of the decoder's output when a latent goes from 0 to 1, flattened, (N, E)."""
    z = view.sparse
    assert z is not None
    width = z.width if isinstance(z, Sparse) else z.shape[1]
    return effects(view, torch.arange(width), torch.ones(width)).flatten(1).float()
