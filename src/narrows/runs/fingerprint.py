"""A short text that tells data from others of the same shape, so that a run is not resumed on other data."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from narrows.activations.rows import ActivationRows
from narrows.core.check import RequestError
from narrows.data import Source
from narrows.data.dataset import Dataset
from narrows.data.mapped import Rows, read_rows, spread
from narrows.data.named.registry import SYNTHETIC, find
from narrows.data.stores import Once, Ragged
from narrows.data.views import ViewsDataset

__all__ = ["fingerprint", "same_data"]

_ALL = 32 << 20
"""Data of at most so many bytes are read whole; of larger ones, a sample that is the same each time."""
_SAMPLE = 4 << 20


def fingerprint(source: Source) -> str:
    """The SHA-256 of the data: of every number, or of 64 runs of rows spread over large data, and of the shapes.

    Numbers count as the float32 that a fit sees, so the same table as .csv and as .npz is the same data. Sets that
    have a name are checked when they are opened, and synthetic sets cannot change: theirs is empty. Of rows that
    a model computes while they are read, their places in the text count.

    Args:
        source: the opened data.

    Example:
        >>> from narrows import data
        >>> a, b = np.eye(4, dtype=np.uint8), np.eye(4)
        >>> fingerprint(data.open(a)) == fingerprint(data.open(b)), fingerprint(data.open("digits"))
        (True, '')
    """
    what = source.how.get("what")
    if isinstance(what, str) and (what in SYNTHETIC or find(what) is not None):
        return ""
    stores = [store for part in (source.train, source.test) for store in _stores(part)]
    whole = sum(_bytes(store) for _, store in stores) <= _ALL
    digest = hashlib.sha256()
    for name, store in stores:
        digest.update(f"{name}{tuple(store.shape)}".encode())
        for part in _parts(store, whole):
            kind = part.dtype if part.dtype == torch.int64 else torch.float32
            digest.update(part.to("cpu", kind).contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def same_data(expected: str, source: Source) -> None:
    """Hold data that are opened again to the fingerprint of those that were fitted.

    Args:
        expected: the fingerprint, or nothing where none was taken.
        source: the data now.

    Raises:
        RequestError: they are others.
    """
    if expected and fingerprint(source) != expected:
        raise RequestError(
            f"The data `{source.name}` are not those that the run was fitted on: their shape is the same, their "
            "content is not. Put the old data back, or fit anew."
        )


def _stores(part: Dataset) -> list[tuple[str, Rows]]:
    """What is stored of a data set, by name; of several modalities, what is stored of each."""
    named = {
        "x": part.x,
        "target": part.target,
        "labels": part.labels,
        "weight": part.weight,
        **part.columns,
    }
    kept: list[tuple[str, Rows]] = []
    for name, store in named.items():
        if store is None or not len(store):
            continue
        if isinstance(store, Ragged):
            kept += [(name, store.values), (f"{name}/ends", store.ends)]
        elif isinstance(store, Once):
            kept.append((name, store.value[None]))
        elif not (isinstance(store, ActivationRows) and store.by_unit and name in ("x", "target")):
            kept.append((name, store))
    for name, one in part.parts.items() if isinstance(part, ViewsDataset) else ():
        kept += [(f"{name}/{stored}", store) for stored, store in _stores(one)]
    return kept


def _bytes(store: Rows) -> int:
    return len(store) * _row(store)


def _row(store: Rows) -> int:
    numbers = 1
    for n in store.shape[1:]:
        numbers *= int(n)
    return 4 * max(1, numbers)


def _parts(store: Rows, whole: bool) -> list[Tensor]:
    if not whole:
        return [spread(store, 1 << 16, _SAMPLE)]  # type: ignore[arg-type]
    step = max(1, _SAMPLE // _row(store))
    return [read_rows(store, slice(i, min(i + step, len(store)))) for i in range(0, len(store), step)]
