"""Whether the code says the same thing twice: correlated latents, near-duplicate atoms of a dictionary."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import unit_variance
from narrows.audit.report.finding import Check, Finding, Verdict
from narrows.core import Sparse, dense
from narrows.kernels.metrics import coherence, firings

__all__ = ["atoms", "effects", "redundancy"]

CORRELATED, DUPLICATE = 0.9, 0.95
_LATENTS, _ATOMS = 512, 2048
_CHUNK = 512


def redundancy(view: View) -> Finding:
    """Pairs of dense latents that rise and fall together; atoms that point the same way."""
    if view.sparse is not None:
        return _duplicates(view)
    if view.dense is None or len(view) < 3:
        return Finding()
    variance = unit_variance(view.dense)
    moving = (variance > 1e-4 * variance.max().clamp_min(1e-12)).nonzero().flatten()[:_LATENTS]
    if len(moving) < 2:
        return Finding()
    r = torch.corrcoef(view.dense[:, moving].double().T).abs()
    r.fill_diagonal_(0)
    twins, highest = int((r > CORRELATED).any(0).sum()), float(r.max())
    off = float(r.sum()) / (len(r) * (len(r) - 1))
    share = twins / len(moving)
    return Finding(
        (
            Check(
                "latents/correlated",
                float(twins),
                f"of {len(moving)}",
                "warn" if share > 0.25 else "ok",
                f"Latents with a twin, |r| > {CORRELATED}; the closest pair has {highest:.2f}."
                + (" The code is wider than what it holds: take fewer latents." if share > 0.25 else ""),
            ),
            Check("correlation", off, "", "info", "The mean |r| of two latents that move."),
        )
    )


def _duplicates(view: View) -> Finding:
    chosen, directions = atoms(view, _ATOMS)
    if len(chosen) < 2:
        return Finding()
    unit = torch.nn.functional.normalize(directions.flatten(1).double(), dim=1)
    closest = torch.cat([_closest(unit, start) for start in range(0, len(unit), _CHUNK)])
    twins = int((closest > DUPLICATE).sum())
    share = twins / len(chosen)
    says = f"Living atoms with a twin, cosine > {DUPLICATE}; the middle atom's nearest has {closest.median():.2f}."
    fix = " The dictionary is wider than the data need: take fewer latents." if share > 0.1 else ""
    verdict: Verdict = "warn" if share > 0.1 else "ok"
    return Finding(
        (
            Check("atoms/duplicate", float(twins), f"of {len(chosen)}", verdict, says + fix),
            Check(
                "atoms/coherence",
                coherence(directions),
                "",
                "info",
                "The largest |cosine| of two living atoms. Of N random directions in D dimensions it is about "
                "sqrt(4 ln N / D).",
            ),
        )
    )


def _closest(unit: Tensor, start: int) -> Tensor:
    """The greatest cosine of each of some atoms with any other."""
    cosine = unit[start : start + _CHUNK] @ unit.T
    cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = -1
    return cosine.amax(1)


def atoms(view: View, most: int) -> tuple[Tensor, Tensor]:
    """The latents that fire most, and what each adds to the output at its typical strength, (n, *shape).

    An atom is the change of the decoder's output when one latent goes from 0 to the mean size of its values.
    """
    z = view.sparse
    assert z is not None
    fires = firings(z)
    order = fires.argsort(descending=True, stable=True)
    chosen = order[fires[order] > 0][:most]
    return chosen, effects(view, chosen, _strength(z, len(fires))[chosen] / fires[chosen])


def effects(view: View, latents: Tensor, heights: Tensor) -> Tensor:
    """How the decoder's output changes when one latent goes from 0 to a height, (n, *shape).

    Args:
        view: of a model with a sparse code.
        latents: which, (n,).
        heights: how far, (n,).
    """
    z = view.sparse
    assert z is not None
    parts = []
    sparse = isinstance(z, Sparse)
    shape, width = (z.values.shape[1:-1], z.width) if isinstance(z, Sparse) else (z.shape[1:-1], z.shape[-1])
    for some, height in zip(latents.split(_CHUNK), heights.split(_CHUNK), strict=True):
        rows = torch.zeros(len(some), dtype=torch.long)
        one = _one_hot(some, height, shape, width, sparse)
        none = _one_hot(some[:1], height[:1] * 0, shape, width, sparse)
        parts.append(_output(view, one, rows) - _output(view, none, rows[:1]))
    return torch.cat(parts) if parts else torch.empty(0)


def _output(view: View, code: Tensor | Sparse, rows: Tensor) -> Tensor:
    """What the decoder makes of a code; where something goes around the code, the same for all."""
    return view.decode(code if view.around is None else (code, view.around[rows]), rows)


def _strength(z: Tensor | Sparse, width: int) -> Tensor:
    """The sum of the sizes of each latent's values, (N,): signed ones must not cancel."""
    if isinstance(z, Sparse):
        zeros = torch.zeros(width, dtype=z.values.dtype)
        return zeros.index_add(0, z.indices.flatten(), z.values.abs().flatten())
    return z.abs().flatten(0, -2).sum(0)


def _one_hot(
    latents: Tensor, height: Tensor, places: torch.Size, width: int, sparse: bool
) -> Tensor | Sparse:
    """A code for each latent in which only that one is on, everywhere."""
    spread = (-1, *[1] * len(places), 1)
    indices = latents.reshape(spread).expand(-1, *places, 1)
    values = height.reshape(spread).expand(-1, *places, 1)
    code = Sparse(indices.contiguous(), values.contiguous(), width)
    made: Tensor | Sparse = code if sparse else dense(code)
    return made
