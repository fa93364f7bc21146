"""Pictures of the effect of each latent: traversals of dense codes, atoms of sparse ones, entries of a codebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.fields import grid_of
from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import code_counts, unit_variance
from narrows.audit.report.finding import Finding, Gallery
from narrows.core.check import NarrowsError

__all__ = ["traversals"]

_LATENTS, _STEPS, _ATOMS, _CANDIDATES = 10, 9, 30, 64


def traversals(view: View) -> Finding:
    """Traversals, atoms or entries, depending on the type of the code."""
    if view.sparse is not None:
        return _atoms(view)
    if view.indices is not None:
        return _entries(view)
    z = view.z
    single = isinstance(view.output, Tensor) and view.output[0].numel() < 2  # such as a label: no picture
    if isinstance(z, Tensor) and z.ndim == 2 and len(view) > 1 and not view.mixed and not single:
        return _traversals(view, z)
    return Finding()


def _traversals(view: View, z: Tensor) -> Finding:
    """Traversals: from a typical example, one latent varies over the range of the data's codes."""
    start = int((z - z.median(0).values).square().sum(1).argmin())
    low, high = z.quantile(torch.tensor([0.01, 0.99]), 0)
    grid = grid_of(view)

    def decoded(codes: Tensor) -> Mapping[str, Tensor]:
        rows = torch.full((len(codes),), start)
        if grid is not None:
            return {"": grid.shaped(view.decode(codes, rows, queries=grid.queries(len(codes))))}
        return _pictures(view.decode(codes, rows))

    def line(latent: int, steps: int) -> Tensor:
        codes = z[start].repeat(steps, 1)
        codes[:, latent] = torch.linspace(float(low[latent]), float(high[latent]), steps)
        return codes

    curves = view.model.bottleneck.paths(z[start], low, high, _STEPS)
    if curves:
        paths = {name: curves[name] for name in list(curves)[:_CANDIDATES]}
        says = "A typical example; each row is a path on the manifold of codes."
    else:
        moving = unit_variance(z).argsort(descending=True, stable=True)[:_CANDIDATES].tolist()
        paths = {f"latent {latent}": line(latent, _STEPS) for latent in moving}
        says = "A typical example; one latent a row, from its 1st to its 99th percentile."
    chosen = list(paths)
    if len(paths) > _LATENTS or not curves:
        # A path that ends where it begins is one of few.
        change = {name: _change(decoded(codes[[0, -1]])) for name, codes in paths.items()}
        chosen = sorted(paths, key=lambda name: -change[name])[:_LATENTS]
    rows = [(name, decoded(paths[name])) for name in chosen]
    galleries = []
    for name in rows[0][1]:
        shown = tuple((label, traversed[name]) for label, traversed in rows)
        called, of = (f"traversals/{name}", f" of {name}") if name else ("traversals", "")
        galleries.append(Gallery(called, f"Traversals{of}", says, shown, panels="row", text=view.text))
    return Finding(figures=tuple(galleries))


def _change(ends: Mapping[str, Tensor]) -> float:
    """The squared distance of the outputs at both ends of a path."""
    return sum(float((x[0].double() - x[1].double()).square().sum()) for x in ends.values())


def _pictures(x: Any) -> Mapping[str, Tensor]:
    """The examples to draw, by name; of several modalities the images and series."""
    if not isinstance(x, Mapping):
        return {"": x}
    return {name: value for name, value in x.items() if value.dim() > 2} or dict([next(iter(x.items()))])


def _atoms(view: View) -> Finding:
    chosen, directions = atoms(view, _ATOMS)
    if not len(chosen):
        return Finding()
    rows = tuple(
        (f"atoms {', '.join(str(i) for i in some.tolist())}", part)
        for some, part in zip(chosen.split(_LATENTS), directions.split(_LATENTS), strict=True)
    )
    says = "The contribution of the most active latents to the output, at their mean activation."
    return Finding(figures=(Gallery("atoms", "Atoms of the dictionary", says, rows, signed=True),))


def _entries(view: View) -> Finding:
    """The most used entries, each decoded at all positions."""
    assert view.indices is not None
    used = code_counts(view.indices, view.codes)
    chosen = used.argsort(descending=True, stable=True)[:_ATOMS]
    chosen = chosen[used[chosen] > 0]
    positions = view.indices.shape[1:]
    symbols = chosen.reshape(-1, *[1] * len(positions)).expand(-1, *positions)
    device = next((p.device for p in view.model.parameters()), torch.device("cpu"))
    try:
        code = view.model.bottleneck.from_symbols(symbols.contiguous().to(device))
        outputs = view.decode(code.z, torch.zeros(len(chosen), dtype=torch.long))
    except (NarrowsError, RuntimeError):
        return Finding()  # this bottleneck has no code for given indices
    rows = tuple(
        (f"entries {', '.join(str(i) for i in some.tolist())}", part)
        for some, part in zip(chosen.split(_LATENTS), outputs.split(_LATENTS), strict=True)
    )
    says = "The most used entries of the codebook, each decoded at all positions."
    return Finding(figures=(Gallery("entries", "Entries of the codebook", says, rows),))
