"""A codebook that is a language model's table of token embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from narrows.activations.models import load
from narrows.bottlenecks.discrete.codebooks.base import Codebook, distance
from narrows.core import Batch, Part, Pass
from narrows.core.check import RequestError, fraction, refuse

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["TOY", "TableCodebook"]

TOY = "toy"
"""The name of a table of draws from N(0, 1/d), in place of a model's, for tests."""


class TableCodebook(Codebook, Part):
    r"""Codes that follow the embeddings of a language model's tokens.

    .. math:: C \leftarrow \lambda\, C + (1 - \lambda)\, C_L

    after each step. C_L is the model's table, from which C starts: as long as the model does not learn, the two are
    equal. `follow` sets C_L to that of a model that has learned.

    The table is read when training begins, and saved with the codebook.

    Args:
        codes: the number of codes, K, and of the model's tokens.
        width: of a code, d, and of the model's embeddings.
        model: the language model, as in `narrows.activations.models.load`, or ``toy``.
        decay: lambda.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> book = TableCodebook(16, 4, decay=0.75)
        >>> book.follow(book.codebook + 1)
        >>> before = book.codebook.clone()
        >>> book.move()
        >>> round(float((book.codebook - before).mean()), 4)
        0.25

    Reference:
        Zheng, Zhou, Feng, Wang, Lu, UniCode: Learning a Unified Codebook for Multimodal Large Language Models, 2024.
        arXiv:2403.09072
    """

    codebook: Tensor
    table: Tensor
    read: Tensor

    def __init__(self, codes: int, width: int, *, model: str = TOY, decay: float = 0.99) -> None:
        super().__init__(codes, width)
        self.model, self.decay = model, fraction("decay", decay)
        normal = torch.randn(self.codes, self.width) * self.width**-0.5
        self.register_buffer("codebook", normal)
        self.register_buffer("table", normal.clone())
        self.register_buffer("read", torch.tensor(model == TOY))

    def costs(self, tokens: Tensor, q: Tensor, weight: Tensor | None = None) -> Mapping[str, Tensor]:
        """The commitment, (B,): codes do not follow tokens."""
        return {"commitment": distance(tokens, q.detach(), weight)}

    def check_rows(self, rows: int) -> None:
        """Read the model's table, if that was not done.

        Raises:
            RequestError: there is no such model, or its table has another shape.
            WorkError: transformers is not installed.
        """
        if not self.read:
            found = _table(self.model)
            if found.shape != self.table.shape:
                asked = f"{self.codes} codes of width {self.width}"
                raise RequestError(
                    f"The model {self.model} has {len(found)} tokens of width {found.shape[1]}, but the codebook has "
                    f"{asked}. Ask for as many codes of that width."
                )

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Start at the model's table, unless training has begun before."""
        self.check_rows(len(batch))
        if not self.read:
            self.codebook.copy_(_table(self.model))
            self.table.copy_(self.codebook)
            self.read.fill_(True)

    @torch.no_grad()
    def follow(self, table: Tensor) -> None:
        """Set the table that the codes follow from now on, (K, d).

        Raises:
            RequestError: it has another shape.
        """
        if table.shape != self.table.shape:
            raise refuse("table", tuple(table.shape), f"one of shape {tuple(self.table.shape)}")
        self.table.copy_(table)
        self.read.fill_(True)

    @torch.no_grad()
    def move(self) -> None:
        """One step towards the table."""
        self.codebook.lerp_(self.table, 1 - self.decay)

    def after_step(self, passed: Pass) -> None:
        """One step towards the table."""
        self.move()


@lru_cache(maxsize=2)
def _table(name: str) -> Tensor:
    """The embeddings of a model's tokens, (K, d)."""
    module: Any = load(name, "cpu").module
    found = module.get_input_embeddings()
    if not isinstance(found, nn.Embedding):
        raise refuse("model", name, "a language model, which has a table of tokens")
    return found.weight.detach().float().clone()
