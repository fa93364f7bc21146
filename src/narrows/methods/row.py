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
    """arXiv number; a ``doi:`` or an address where there is none."""
    family: str
    claim: str
    """What the proof measures, in one sentence of our own."""
    centrality: int
    """3: one looks it up by name; 2: a recipe on top; 1 and 0: neighbours."""
    id: int | None
    module: str
    """Below `narrows.methods`; the builder has the method's name with underscores."""
    reads: tuple[str, ...] = ("array",)
    """Which kinds of data it reads, the usual one first."""

    @property
    def function(self) -> str:
        """The builder's name."""
        return self.name.replace("-", "_")

    @property
    def url(self) -> str:
        """Where the paper can be read.

        Example:
            >>> Method("vae", "", 2014, "1312.6114", "", "", 3, 1, "").url
            'https://arxiv.org/abs/1312.6114'
        """
        if self.arxiv.startswith("doi:"):
            return f"https://doi.org/{self.arxiv[4:]}"
        return self.arxiv if self.arxiv.startswith("https://") else f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def reference(self) -> str:
        """How the paper is cited in a line: ``arXiv:1312.6114``, ``doi:...`` or the address."""
        return (
            self.arxiv if self.url == self.arxiv or self.arxiv.startswith("doi:") else f"arXiv:{self.arxiv}"
        )
