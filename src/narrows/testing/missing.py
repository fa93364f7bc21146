"""Properties of methods for data with missing values, padding or missing modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Tree, Views, seeded, tree_map
from narrows.testing.case import Case, leaves, losses

__all__ = ["a_hole_equals_removal", "missing_values_are_not_read"]

_PADDED = {"series": ("mask", "observed", "times"), "tokens": ("mask",), "field": (), "graph": ("mask",)}


def missing_values_are_not_read(case: Case) -> None:
    """Any value, even NaN, in missing values and padding changes no bit of loss, code or gradient."""
    if _complete(case):
        return
    model, batch = case.prepared()
    clean = _traces(model, batch)
    for value in (torch.nan, 1e6):
        found = _traces(model, _spoilt(batch, value))
        for name, tensors in clean.items():
            same = all(torch.equal(a, b) for a, b in zip(tensors, found[name], strict=True))
            sentence = f"{value} in what is missing changes the {name}."
            case.require(same, missing_values_are_not_read, sentence)


def a_hole_equals_removal(case: Case) -> None:
    """Longer padding changes nothing; a missing cell or modality is not in the sum of the distortion."""
    if _complete(case):
        return
    model, batch = case.prepared()
    model.eval()
    if case.spec.kind in _PADDED and (case.spec.kind != "series" or model.likelihood.any_length):
        short, long = (_losses(model, b) for b in (batch, _longer(batch, case.spec.kind)))
        for name, value in short.items():
            close = torch.allclose(value, long[name], rtol=1e-5, atol=1e-5)
            sentence = f"longer padding takes the {name} from {float(value):.7g} to {float(long[name]):.7g}."
            case.require(close, a_hole_equals_removal, sentence)
    if case.spec.kind in ("array", "table", "series"):
        passed = model(batch)
        assert passed.weight is not None
        some = (torch.rand_like(passed.weight) < 0.5).to(passed.weight)
        weights = (passed.weight * some, passed.weight * (1 - some), passed.weight)
        a, b, both = (model.likelihood.nll(passed.output, passed.batch.target, w) for w in weights)
        close = torch.allclose(a + b, both, rtol=1e-4, atol=1e-4)
        case.require(close, a_hole_equals_removal, "a missing cell has a part in the distortion.")
    if case.spec.kind == "views":
        passed = model(batch)
        first, *others = batch.x.names
        apart = (batch.target.only(first), batch.target.only(*others), batch.target)
        a, b, both = (model.likelihood.nll(passed.output, target) for target in apart)
        close = torch.allclose(a + b, both, rtol=1e-4, atol=1e-4)
        case.require(close, a_hole_equals_removal, "a missing modality has a part in the distortion.")


def _complete(case: Case) -> bool:
    """Whether the data have no missing values."""
    return case.spec.kind == "array" and "observed" not in case.spec.conditions


def _losses(model: Autoencoder, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        return {f"loss of {player.name}": loss.total for _, player, loss in losses(model, batch)}


def _traces(model: Autoencoder, batch: Batch) -> dict[str, list[Tensor]]:
    """Losses, gradients and codes of a batch."""
    found: dict[str, list[Tensor]] = {}
    model.train()
    for stage, player, loss in losses(model, batch):
        if player.parameters and loss.total.requires_grad:
            grads = torch.autograd.grad(loss.total, player.parameters, allow_unused=True, retain_graph=True)
            found[f"gradient of {player.name} ({stage.name})"] = [g for g in grads if g is not None]
        found[f"loss of {player.name} ({stage.name})"] = [loss.total.detach()]
    model.eval()
    with torch.no_grad(), seeded(3):
        found["code"] = list(leaves(model.encode(batch).z))
    return found


def _spoilt(batch: Batch, value: float) -> Batch:
    """The batch with a value at all missing positions; for integers another integer."""
    masks = [batch.condition[name] for name in ("observed", "mask") if name in batch.condition]
    x = _spoil_tree(batch.x, masks, value)
    counts = [] if batch.weight is None else [batch.weight != 0]
    target = None if batch.target is batch.x and not counts else _spoil_tree(batch.target, counts, value)
    condition = dict(batch.condition)
    for name, mask in (("times", "mask"), ("positions", "mask"), ("queries", "queries_mask")):
        if name in condition and mask in condition:
            condition[name] = _spoil(condition[name], condition[mask], 7.0)
    if "edges" in condition:  # where there is none, one between two nodes
        condition["edges"] = _misled(condition["edges"], condition["edges_mask"])
        target = _misled(batch.target, counts[0])
    return Batch(x, target, condition, batch.weight)


def _misled(edges: Tensor, there: Tensor) -> Tensor:
    return torch.where(there[..., None], edges, edges.new_tensor([1, 0]))


def _spoil_tree(x: Tree, masks: list[Tensor], value: float) -> Tree:
    if isinstance(x, Views):
        values = {}
        for name, part in x.values.items():
            there = x.has(name)
            values[name] = tree_map(_filler(there, value), part)
        return Views(values, x.present)
    if not isinstance(x, Tensor) or (x.dim() == 3 and x.dtype == torch.int64):
        return x
    for mask in masks:
        x = _spoil(x, mask, value)
    return x


def _filler(mask: Tensor, value: float) -> Callable[[Tensor], Tensor]:
    return lambda t: _spoil(t, mask, value)


def _spoil(x: Tensor, mask: Tensor, value: float) -> Tensor:
    wide = mask.bool().reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))
    if not x.is_floating_point():
        return torch.where(wide, x, x.max())
    return torch.where(wide, x, torch.full_like(x, value))


def _longer(batch: Batch, kind: str, more: int = 3) -> Batch:
    """The batch with padding at the end of the axis of steps, nodes or points."""

    def padded(t: Tensor) -> Tensor:
        return torch.cat([t, t.new_zeros(len(t), more, *t.shape[2:])], 1)

    length = leaves(batch.x)[0].shape[1]
    condition = {
        name: padded(t) if t.dim() > 1 and t.shape[1] == length and not name.startswith("edges") else t
        for name, t in batch.condition.items()
    }
    target = None if batch.target is batch.x else batch.target
    if kind != "graph" and target is not None:
        target = padded(target)
    weight = batch.weight if batch.weight is None or kind == "graph" else padded(batch.weight)
    return replace(batch, x=padded(batch.x), target=target, condition=condition, weight=weight)
