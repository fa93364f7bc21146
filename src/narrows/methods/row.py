"""One row of the tables of methods and of techniques. It does not import torch, so that `narrows list` is fast."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FAMILY", "PRIOR", "Method", "Technique", "url"]


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
    def becomes_tabular(self) -> bool:
        """Whether its builder is for arrays, and `reading_tables` makes it one for tables too."""
        return self.reads[0] == "array" and "table" in self.reads

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


FAMILY = "interpretation"
"""The family of techniques that belong to no family of methods."""


PRIOR = "prior"
"""The family of priors over the codes of any autoencoder."""


class Technique(NamedTuple):
    """A published technique: its name, its paper, its claim, and the command that uses it."""

    name: str
    title: str
    year: int
    arxiv: str
    """arXiv number; a ``doi:`` or an address if there is none."""
    claim: str
    """What the proof measures, in one sentence."""
    centrality: int
    """3: known by name; 2: a variant or extension; 1 and 0: related work."""
    id: int | None
    verb: str
    """The command that uses it, such as ``narrows audit RUN --with absorption``."""
    family: str = FAMILY
    """`FAMILY`, `PRIOR`, or the family of methods whose models it examines."""
    proved_by: str = ""
    """The method whose proof measures the claim, if it has no proof of its own."""

    @property
    def module(self) -> str:
        """The module of its proof below `narrows.proofs`."""
        folder = {FAMILY: "interpret", PRIOR: "priors"}.get(self.family, self.family)
        return f"{folder}.{self.name.replace('-', '_')}"

    @property
    def url(self) -> str:
        """The address of the paper."""
        return url(self.arxiv)
