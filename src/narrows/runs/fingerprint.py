"""A hash of the data, so that a run is not resumed on other data of the same shape."""

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
"""Data of at most this many bytes are hashed whole; for larger data, a fixed sample of rows."""
_SAMPLE = 4 << 20


def fingerprint(source: Source) -> str:
    """The SHA-256 of values and shapes; for large data, of 64 spans of rows.

    Values are hashed as float32, so that the same table as .csv and as .npz has the same fingerprint. It is empty for
    named data sets, whose files have checksums, and for synthetic data. For activations that are computed on the fly,
    the positions in the text are hashed.

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
    """Check that data that are opened again are those that were fitted.

    Args:
        expected: the fingerprint of the fit; empty for no check.
        source: the data that were opened.

    Raises:
        RequestError: the fingerprints differ.
    """
    if expected and fingerprint(source) != expected:
        raise RequestError(
            f"The data `{source.name}` are not those that the run was fitted on: the shape is the same, the "
            "values differ. Restore the old data, or fit again."
        )


def _stores(part: Dataset) -> list[tuple[str, Rows]]:
    """The stored arrays of a data set, by name; for several modalities, those of each."""
    named = {
        "x": part.x,
        "target": part.target,
        "labels": part.labels,
        "weight": part.weight,
        **part.columns,
    }
    found: list[tuple[str, Rows]] = []
    for name, store in named.items():
        if store is None or not len(store):
            continue
        if isinstance(store, Ragged):
            found += [(name, store.values), (f"{name}/ends", store.ends)]
        elif isinstance(store, Once):
            found.append((name, store.value[None]))
        elif not (isinstance(store, ActivationRows) and store.by_unit and name in ("x", "target")):
            found.append((name, store))
    for name, one in part.parts.items() if isinstance(part, ViewsDataset) else ():
        found += [(f"{name}/{stored}", store) for stored, store in _stores(one)]
    return found


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
