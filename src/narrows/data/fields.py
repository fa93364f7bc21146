"""Fields as a data set: positions in the unit cube, quadrature weights and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from narrows.data.dataset import Dataset
from narrows.data.domain import Domain
from narrows.data.stores import Once, Ragged, Store, read_store

__all__ = ["as_fields"]


def as_fields(dataset: Dataset, domain: Domain) -> Dataset:
    """Scale positions to the unit cube, and set the weight of each point.

    Args:
        dataset: data with a column ``positions`` in the units of the data, and optionally ``quadrature`` and
            ``mask``.
        domain: the domain of the positions.
    """
    columns = dict(dataset.columns)
    positions = columns["positions"] = _mapped(columns["positions"], domain.inwards)
    if "quadrature" not in columns and domain.k == 1 and not domain.cells:
        columns["quadrature"] = _trapezium(positions, domain)
    weight: Store | None = columns.get("mask", columns.get("quadrature"))
    if "mask" in columns and "quadrature" in columns:
        weight = _read(columns["quadrature"]) * _read(columns["mask"])
    always = tuple(name for name in ("positions", "quadrature", "mask") if name in columns)
    ready = None if weight is None else _mapped(weight, lambda w: w.unsqueeze(-1))
    return replace(dataset, columns=columns, weight=ready, always=always, domain=domain)


def _mapped(store: Store, f: Callable[[Tensor], Tensor]) -> Store:
    """A store with a function applied to its elements."""
    if isinstance(store, Once):
        return Once(f(store.value), store.rows)
    if isinstance(store, Ragged):
        return Ragged(f(store.values), store.ends)
    assert isinstance(store, Tensor)
    return f(store)


def _read(store: Store) -> Tensor:
    return read_store(store, slice(None))[0]


def _trapezium(positions: Store, domain: Domain) -> Store:
    """The quadrature weights of points on a line."""
    if not isinstance(positions, Ragged):
        return _mapped(positions, domain.quadrature)
    padded, mask = positions.padded(slice(None))
    return Ragged(domain.quadrature(padded, mask)[mask], positions.ends)
