"""The base class of the quantizers with learned codebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.codebooks import CODEBOOKS
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantizer
from narrows.core import Autoencoder, Batch, Stage
from narrows.core.check import choice, refuse

__all__ = ["CodebookQuantizer", "added", "fewer_codes"]

_VECTORS = 2
"""The number of vectors for each code that a default number of codes leaves."""


class CodebookQuantizer(Quantizer):
    """A quantizer with one or more learned codebooks, and one gradient estimator.

    A subclass calls `make_books` in its constructor, and defines `quantize`, `vectors`, `begin` and `after_step`, in
    which its codebooks learn.
    """

    def make_books(
        self, codebook: str | Codebook, gradient: str, width: int, count: int = 1
    ) -> list[Codebook]:
        """Set the gradient estimator, and construct codebooks of K codes.

        Args:
            codebook: the text of each, or a codebook if there is one.
            gradient: ``straight-through`` or ``rotation``.
            width: width of the codes.
            count: the number of codebooks.

        Raises:
            RequestError: an unknown name or option, or a codebook of another size.
        """
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        if count > 1 and isinstance(codebook, nn.Module):
            raise refuse("codebook", type(codebook).__name__, f"a text, for {count} codebooks", "Try 'ema'.")
        books = [CODEBOOKS.make(codebook, codes=self.codes, width=width) for _ in range(count)]
        for book in books:
            if (book.codes, book.width) != (self.codes, width):
                found = f"{book.codes} codes of width {book.width}"
                raise refuse("codebook", found, f"{self.codes} codes of width {width}")
        return books

    @property
    def codebooks(self) -> list[Codebook]:
        """All codebooks."""
        return [module for module in self.modules() if isinstance(module, Codebook)]

    def starts(self) -> Sequence[tuple[int, int]]:
        """The number of codes that each k-means starts, and of the vectors that an example gives it."""
        return [(self.codes, self.tokens)]

    def check_rows(self, rows: int) -> None:
        """Raise if k-means would start more codes than a first batch has vectors.

        Raises:
            RequestError: it would.
        """
        first = min(rows, Stage.rows)
        most = self._most(first)
        if self.codes > most:
            raise refuse(
                "codes",
                self.codes,
                f"at most {most}: k-means starts them from the tokens of {first} examples",
                "Or start from draws: ``codebook='ema:start=normal'``.",
            )

    def suited(self, rows: int) -> Mapping[str, int]:
        """Fewer codes, if k-means would start them from fewer than two vectors each."""
        return fewer_codes(self.codes, self._most(min(rows, Stage.rows)))

    def _most(self, rows: int) -> int:
        """The number of codes that k-means can start from a first batch; enough if there is no k-means."""
        starts = self.starts() if any(book.begins for book in self.codebooks) else ()
        most = (rows * vectors * self.codes // codes for codes, vectors in starts)
        return min(most, default=self.codes * _VECTORS)

    def begin(self, tokens: Tensor) -> None:
        """Start the codebooks from the tokens (B, L, d) of a first batch."""
        raise NotImplementedError(f"{type(self).__name__} must define begin")

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Start the codebooks from a batch, if they start from data."""
        if any(book.begins for book in self.codebooks):
            self.begin(self.inward(model.encoder(batch.x, batch.condition)))


def added(costs: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The sum of costs of the same names.

    Example:
        >>> added([{"commitment": torch.tensor(1.0)}, {"commitment": torch.tensor(2.0)}])
        {'commitment': tensor(3.)}
    """
    total = dict[str, Tensor]()
    for one in costs:
        total = {name: total[name] + cost if name in total else cost for name, cost in one.items()}
    return total


def fewer_codes(codes: int, vectors: int) -> dict[str, int]:
    """A number of codes with two vectors of a first batch for each, at least 2; empty if there are enough.

    Example:
        >>> fewer_codes(512, 90), fewer_codes(16, 90)
        ({'codes': 45}, {})
    """
    most = max(2, vectors // _VECTORS)
    return {"codes": most} if most < codes else {}
