"""One row of the table of methods. Needs no torch, so that `narrows list` is quick."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Method"]


class Method(NamedTuple):
    """A published method: how it is typed, where it comes from, what its paper claims."""

    name: str
    title: str
    year: int
    arxiv: str
    """arXiv number, or another stable reference where there is none."""
    family: str
    claim: str
    """What the proof measures, in one sentence of our own."""
    centrality: int
    """3: one looks it up by name; 2: a recipe on top; 1 and 0: neighbours."""
    id: int | None
    module: str
    """Below `narrows.methods`; the builder has the method's name with underscores."""

    @property
    def function(self) -> str:
        """The builder's name."""
        return self.name.replace("-", "_")
