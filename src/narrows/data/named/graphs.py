"""Graphs: networks of citations, one each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from narrows.data.dataset import Dataset, Source
from narrows.data.graphs import held_out, whole_graphs
from narrows.data.named.reading import arrays
from narrows.data.named.registry import Set
from narrows.data.readers.graph import from_arrays

__all__ = ["network"]

_FEATURES = ("feat_indices", "feat_indptr", "feat_data", "feat_shape")


def network(
    row: Set,
    kind: Literal["graph"] = "graph",
    test: float = 0.1,
    validation: float = 0.05,
    seed: int = 0,
    like: Mapping[str, Any] | None = None,
) -> Source | Dataset:
    """A network of citations: papers, their words where they are known, and which cites which.

    Args:
        row: which set.
        kind: what is made of it.
        test: share of the edges in the test part.
        validation: share of the edges that is held out to choose by.
        seed: of what is held out.
        like: the description of the data of a fit; nothing is held out then.
    """
    names = ("edges", "label", *(() if row.name == "pubmed" else _FEATURES))
    found = dict(zip(names, arrays(row, *names), strict=True))
    graph = from_arrays(found, row.name)
    if like is not None:
        return whole_graphs([graph], like)
    return held_out(graph, row.name, test=test, validation=validation, seed=seed)
