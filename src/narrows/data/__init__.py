"""Data: one way to open a name, a path or an array, and to feed it to a trainer.

`names`, `info` and `get` answer without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narrows.data.batches import BatchReader as BatchReader
    from narrows.data.dataset import Dataset as Dataset
    from narrows.data.dataset import Source as Source
    from narrows.data.named.fetch import get as get
    from narrows.data.named.registry import info as info
    from narrows.data.named.registry import names as names
    from narrows.data.opening import like as like
    from narrows.data.opening import open as open
    from narrows.data.related import related as related
    from narrows.data.scaling import Scaling as Scaling

_HOMES = {
    "Dataset": "dataset",
    "BatchReader": "batches",
    "Scaling": "scaling",
    "Source": "dataset",
    "get": "named.fetch",
    "info": "named.registry",
    "like": "opening",
    "names": "named.registry",
    "open": "opening",
    "related": "related",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'narrows.data' has no attribute {name!r}")
    value = getattr(import_module(f"narrows.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
