"""`Codebook`: the base class of the codebooks of a vector quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import whole
from narrows.kernels.kmeans import nearest

__all__ = ["Codebook", "distance"]


def distance(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """The squared distance, summed over the tokens of an example: (B, L, d) -> (B,).

    Args:
        a: some vectors.
        b: others.
        weight: of each token, (B, L); 1 if None.
    """
    if weight is None:
        return (a - b).square().sum((-2, -1))
    return (weight * (a - b).square().sum(-1)).sum(-1)


class Codebook(nn.Module):
    r"""K code vectors of width d, how they start, what they cost and how they are updated.

    A subclass defines `codebook`, an attribute or a property, and what differs of the rest. By default
    the codes are learned by gradient descent, on

    .. math:: \mathrm{commitment} = \sum_l \|x_l - \mathrm{sg}(e_{k_l})\|^2,\qquad
              \mathrm{codebook} = \sum_l \|\mathrm{sg}(x_l) - e_{k_l}\|^2

    Args:
        codes: the number of codes, K.
        width: of a code, d.

    Raises:
        RequestError: a size that is not an integer of at least 1.
    """

    begins: bool = False
    """Whether `begin` reads the rows that it is given."""

    if TYPE_CHECKING:

        @property
        def codebook(self) -> Tensor:
            """The code vectors, (K, d), with their gradient if they have one."""
            ...

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codes, self.width = whole("codes", codes), whole("width", width)

    def nearest(self, rows: Tensor) -> Tensor:
        """The nearest code of every row, (..., d) -> (...)."""
        return nearest(rows, self.codebook)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return F.embedding(indices, self.codebook)

    def costs(self, tokens: Tensor, q: Tensor, weight: Tensor | None = None) -> Mapping[str, Tensor]:
        """The costs by name, each (B,), of tokens (B, L, d) and their codes (B, L, d), neither detached.

        Args:
            tokens: what is quantised.
            q: the codes.
            weight: of each token, (B, L); 1 if None.
        """
        commitment, codebook = (tokens, q.detach(), weight), (q, tokens.detach(), weight)
        return {"commitment": distance(*commitment), "codebook": distance(*codebook)}

    @torch.no_grad()
    def begin(self, rows: Tensor, where: slice = slice(None)) -> None:
        """Initialise codes from rows of a first batch, if the codebook `begins`.

        Args:
            rows: (..., d).
            where: the codes to initialise, by default all.
        """

    @torch.no_grad()
    def learn(self, rows: Tensor, indices: Tensor) -> None:
        """Update after a step of the optimizer.

        Args:
            rows: the vectors that were quantised, (..., d).
            indices: the codes they were assigned to, (...).
        """
