"""Image sets."""

from __future__ import annotations

import numpy as np

from narrows.check import optional
from narrows.data.fetch import get
from narrows.data.raw import Raw
from narrows.data.registry import Set

__all__ = ["digits", "plain"]


def digits(row: Set) -> Raw:
    """The 1797 digits of 8 x 8 pixels that scikit-learn brings, 0 to 16."""
    bunch = optional("sklearn.datasets", "sklearn", "read the bundled digits").load_digits()
    return Raw(bunch.images.astype(np.uint8), bunch.target, layout="image", full=16.0, split=0.2)


def plain(row: Set) -> Raw:
    """Arrays x_train, y_train, x_test, y_test as they are."""
    (path,) = get(row.name)
    with np.load(path, allow_pickle=False) as z:
        return Raw(z["x_train"], z["y_train"], test=Raw(z["x_test"], z["y_test"]), layout="image")
