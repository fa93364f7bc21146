"""The table of techniques: published ways to examine and use a trained model. They have no builder.

``narrows list``, ``paper`` and ``prove`` read it beside the table of methods. This module does not import torch.
"""

from __future__ import annotations

from typing import NamedTuple

from narrows.methods.row import url

__all__ = ["FAMILY", "TECHNIQUES", "Technique"]

FAMILY = "interpretation"
"""The family of all techniques."""


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

    @property
    def family(self) -> str:
        """The family of all techniques."""
        return FAMILY

    @property
    def module(self) -> str:
        """The module of its proof below `narrows.proofs`."""
        return f"interpret.{self.name.replace('-', '_')}"

    @property
    def url(self) -> str:
        """The address of the paper."""
        return url(self.arxiv)


_ROWS: tuple[Technique, ...] = (
    Technique(
        "dark-matter",
        "Decomposing The Dark Matter of Sparse Autoencoders",
        2024,
        "2410.14670",
        "Much of the error of a sparse autoencoder, and most of its norm, is linear in the activation, and wider ones "
        "fail on the same tokens.",
        3,
        84,
        "narrows audit RUN --with dark-matter",
    ),
)

TECHNIQUES: dict[str, Technique] = {row.name: row for row in _ROWS}
