"""One row of the table of methods. This module does not import torch, so that `narrows list` is fast."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Method", "url"]


def url(arxiv: str) -> str:
    """The address of a paper: of an arXiv number, a ``doi:`` or an address.

    Example:
        >>> url("1312.6114"), url("doi:10.1000/1")
        ('https://arxiv.org/abs/1312.6114', 'https://doi.org/10.1000/1')
    """
    if arxiv.startswith("doi:"):
        return f"https://doi.org/{arxiv[4:]}"
    return arxiv if arxiv.startswith("https://") else f"https://arxiv.org/abs/{arxiv}"


class Method(NamedTuple):
    """A published method: its name, its paper, and its claim."""

    name: str
    title: str
    year: int
    arxiv: str
    """arXiv number; a ``doi:`` or an address if there is none."""
    family: str
    claim: str
    """What the proof measures, in one sentence."""
    centrality: int
    """3: a method known by name; 2: a variant or extension; 1 and 0: related work."""
    id: int | None
    module: str
    """Module below `narrows.methods`; the builder has the method's name with underscores."""
    reads: tuple[str, ...] = ("array",)
    """The kinds of data it reads, the default one first."""

    @property
    def function(self) -> str:
        """The builder's name."""
        return self.name.replace("-", "_")

    @property
    def url(self) -> str:
        """The address of the paper.

        Example:
            >>> Method("vae", "", 2014, "1312.6114", "", "", 3, 1, "").url
            'https://arxiv.org/abs/1312.6114'
        """
        return url(self.arxiv)

    @property
    def reference(self) -> str:
        """The citation in one line: ``arXiv:1312.6114``, ``doi:...`` or the address."""
        return (
            self.arxiv if self.url == self.arxiv or self.arxiv.startswith("doi:") else f"arXiv:{self.arxiv}"
        )
