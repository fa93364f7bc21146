"""Data: one way to open a name, a path or an array, and to feed it to a trainer.

`names`, `info` and `get` answer without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.lazy import lazily

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


__getattr__ = lazily(__name__, _HOMES)
