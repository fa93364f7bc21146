"""What one token of a quantised code changes in the output, place by place."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Check, Finding, Gallery
from narrows.core import Autoencoder, Batch

__all__ = ["influence", "token_influence"]

_EXAMPLES, _SIDE, _IN_A_ROW = 16, 8, 10
"""Examples whose tokens are swapped, the largest side of the grid of maps, and how many tokens are shown in one row."""


def token_influence(view: View) -> Finding:
    """The mean change of the output when one token is exchanged for that of another example, a map for each token."""
    model = view.model
    symbols = model.bottleneck.symbols
    if (
        view.indices is None
        or symbols is None
        or view.mixed
        or view.elements
        or not isinstance(view.output, Tensor)
    ):
        return Finding()
    if view.output.dim() < 3 or symbols.kind not in ("indices", "stacks") or len(symbols.layout.grids) != 1:
        return Finding()
    few = view.batch[slice(0, _EXAMPLES)].to(device_of(model))
    grid = symbols.layout.grid
    if len(few) < 2 or len(grid) > 2:
        return Finding()
    places = _places(grid)
    maps = influence(model, few, places.flatten())
    total = maps.flatten(1).sum(1)
    half = _effective(maps)
    shape = maps.shape[1:]
    rows = maps.view(*places.shape, *shape) / maps.amax().clamp_min(1e-12)
    says = (
        "Mean absolute change of each number of the output when the token of that place is exchanged for that of "
        "another example, a map for each token in the order of its grid; white is the largest change."
    )
    if places.numel() < symbols.layout.tokens:
        says += f" {places.numel()} of {symbols.layout.tokens} tokens are shown."
    check = Check(
        "tokens/reach",
        float(half),
        "of the output",
        "info",
        "Effective share of the output that one token changes: exp of the entropy of its map, the mean over tokens. "
        "1 is all of it, equally.",
        n=int((total > 0).sum()),
        no_chance="a control would be another decoder",
        no_spread="it rests on the same few examples",
    )
    labels = [f"row {int(i) + 1}" for i in _chosen(grid[0])] if len(rows) > 1 else [""]
    gallery = Gallery(
        "token-influence", "Influence of one token", says, tuple(zip(labels, rows, strict=True)), panels="row"
    )
    return Finding((check,), (gallery,))


def _chosen(side: int) -> Tensor:
    """Up to `_SIDE` places of a side, evenly spaced."""
    return torch.linspace(0, side - 1, min(side, _SIDE)).round().long()


def _places(grid: tuple[int, ...]) -> Tensor:
    """The tokens that are shown, in rows: (R, C)."""
    if len(grid) == 1:
        return _chosen(grid[0])[None]
    if grid[0] * grid[1] <= _IN_A_ROW:
        return torch.arange(grid[0] * grid[1])[None]
    return _chosen(grid[0])[:, None] * grid[1] + _chosen(grid[1])


@torch.no_grad()
def influence(model: Autoencoder, batch: Batch, places: Tensor) -> Tensor:
    r"""The mean absolute change of the output if a token is exchanged for that of another example.

    .. math:: I_l = \frac1n \sum_i |\hat x(c_i) - \hat x(c_i \text{ with token } l \text{ of } c_{i + 1})|

    Examples whose token is the same are left out; where all are, the map is 0.

    Args:
        model: the model with a quantised code.
        batch: n examples.
        places: tokens, (P,).

    Returns:
        (P, \*shape).
    """
    symbols = model.as_symbols(batch).x
    conditions = {name: batch.condition[name] for name in model.inputs}

    def output(some: Tensor) -> Tensor:
        return model.likelihood.mean(model.decode(model.bottleneck.from_symbols(some).z, conditions))

    own, other = output(symbols), symbols.roll(1, 0)
    maps = []
    for place in places.tolist():
        changed = symbols.clone()
        changed[:, place] = other[:, place]
        differ = (changed != symbols).flatten(1).any(1)
        change = (output(changed) - own).abs()[differ]
        maps.append(change.mean(0) if len(change) else torch.zeros_like(own[0]))
    return torch.stack(maps).cpu()


def _effective(maps: Tensor) -> Tensor:
    """The mean over tokens of exp of the entropy of a map, as a share of its numbers."""
    flat = maps.flatten(1).double()
    flat = flat[flat.sum(1) > 0]
    if not len(flat):
        return torch.zeros(())
    share = flat / flat.sum(1, keepdim=True)
    return (torch.special.entr(share).sum(1).exp() / flat.shape[1]).mean()
