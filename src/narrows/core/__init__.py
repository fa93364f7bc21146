"""The contracts: what is passed around, and the parts that every autoencoder is made of.

Names are imported on first use, so that checks and files need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narrows.core.parts import Autoencoder as Autoencoder
    from narrows.core.parts import Bottleneck as Bottleneck
    from narrows.core.parts import Likelihood as Likelihood
    from narrows.core.parts import Loss as Loss
    from narrows.core.parts import Objective as Objective
    from narrows.core.parts import Part as Part
    from narrows.core.parts import Player as Player
    from narrows.core.parts import Prior as Prior
    from narrows.core.parts import Stage as Stage
    from narrows.core.values import Batch as Batch
    from narrows.core.values import Code as Code
    from narrows.core.values import Sparse as Sparse
    from narrows.core.values import Spec as Spec
    from narrows.core.values import Tree as Tree
    from narrows.core.values import all_sum as all_sum
    from narrows.core.values import as_spec as as_spec
    from narrows.core.values import counted as counted
    from narrows.core.values import dense as dense
    from narrows.core.values import same_batch as same_batch
    from narrows.core.values import seeded as seeded
    from narrows.core.values import tree_map as tree_map

_HOMES = {
    "Autoencoder": "parts",
    "Bottleneck": "parts",
    "Likelihood": "parts",
    "Loss": "parts",
    "Objective": "parts",
    "Part": "parts",
    "Player": "parts",
    "Prior": "parts",
    "Stage": "parts",
    "Batch": "values",
    "Code": "values",
    "Sparse": "values",
    "Spec": "values",
    "Tree": "values",
    "all_sum": "values",
    "as_spec": "values",
    "counted": "values",
    "dense": "values",
    "same_batch": "values",
    "seeded": "values",
    "tree_map": "values",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'narrows.core' has no attribute {name!r}")
    value = getattr(import_module(f"narrows.core.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
