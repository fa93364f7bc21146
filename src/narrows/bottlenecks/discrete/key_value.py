"""Pairs of keys and values: features choose keys, which are fixed, and fetch their values, which are learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.books import fewer_codes
from narrows.bottlenecks.discrete.learned import LearnedCodebook
from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer
from narrows.core import Autoencoder, Batch, Code, Tree
from narrows.core.check import refuse, whole

__all__ = ["KeyValue"]

_BATCH = 256
"""Rows of an update of the moving averages."""


class KeyValue(Quantizer):
    r"""Each of C heads projects the features, finds the nearest of its K keys, and fetches that key's value.

    .. math:: k_c = \arg\min_k \|P_c x - e_{ck}\|^2,\qquad z_c = v_{c k_c}

    The projections P_c are random and fixed. The keys start as k-means centres of the first rows, follow them by moving
    averages for some passes, and are fixed from then on, also if training is continued on other data: `prepare` sets
    them once. Only the values are learned, and an example has a gradient to those it fetches only. There is no gradient
    to the features.

    Args:
        features: width of the features, F.
        value: width of a value, V; values start at 0.
        heads: the number of heads, C.
        codes: the number of pairs of a head, K.
        width: width of a key, d.
        decay: of the moving averages.
        passes: over the first rows.

    Raises:
        RequestError: a size that is not an integer of at least 1, or a decay outside 0 to 1.

    Example:
        >>> pairs = KeyValue(10, 3, heads=4, codes=16)
        >>> code = pairs(torch.randn(2, 10))
        >>> code.z.shape, bool((pairs.from_symbols(pairs.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 4, 3]), True)

    Reference:
        Träuble et al., Discrete Key-Value Bottleneck, 2023, section 2. arXiv:2207.11240
    """

    separate = False  # each head has pairs of its own
    projection: Tensor
    ready: Tensor

    def __init__(
        self,
        features: int,
        value: int,
        *,
        heads: int = 32,
        codes: int = 256,
        width: int = 8,
        decay: float = 0.95,
        passes: int = 5,
    ) -> None:
        super().__init__(value, value, codes, whole("heads", heads))
        features, width = whole("features", features), whole("width", width)
        self.passes = whole("passes", passes, low=0)
        self.register_buffer("projection", torch.randn(heads, features, width) * features**-0.5)
        self.keys = nn.ModuleList(
            LearnedCodebook(self.codes, width, decay=decay, restart=0.1) for _ in range(heads)
        )
        self.values = nn.Parameter(torch.zeros(heads, self.codes, self.width))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Fetch the values of features (B, F); the code (B, C, V) is deterministic, so samples are copies."""
        tokens = self.project(h)
        vectors, indices, *_ = self.quantize(tokens)
        keys = [book.vectors(one) for book, one in zip(self.books, indices.unbind(-1), strict=True)]
        found = replace(self.evidence(indices, tokens), vectors=torch.stack(keys, -2))
        return Code(vectors.expand(*samples, *vectors.shape), evidence=(found,))

    @property
    def books(self) -> list[LearnedCodebook]:
        """The keys of each head."""
        return list(self.keys)  # type: ignore[arg-type]

    @torch.no_grad()
    def project(self, h: Tensor) -> Tensor:
        """The features (B, F) as each head sees them, (B, C, d)."""
        return torch.einsum("bf,cfd->bcd", h.to(self.projection.dtype), self.projection)

    def quantize(self, tokens: Tensor) -> Quantised:
        """The values of the nearest keys of tokens (B, C, d)."""
        chosen = [book.nearest(part) for book, part in zip(self.books, tokens.unbind(1), strict=True)]
        indices = torch.stack(chosen, -1)
        return Quantised(self.vectors(indices), indices, {})

    def vectors(self, indices: Tensor) -> Tensor:
        """The values of indices, (..., C) -> (..., C, V)."""
        return self.values[torch.arange(self.tokens, device=indices.device), indices]

    def check_rows(self, rows: int) -> None:
        """Raise if there are more keys than examples to fit them to.

        Raises:
            RequestError: there are.
        """
        if self.codes > rows and not self.ready:
            raise refuse("codes", self.codes, f"at most {rows}, the number of training examples")

    def suited(self, rows: int) -> Mapping[str, int]:
        """Fewer keys, if there are fewer than two examples for each."""
        return {} if self.ready else fewer_codes(self.codes, rows)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Fit the keys to a first batch of features, unless that was done before."""
        if self.ready:
            return
        tokens = self.project(model.encoder(batch.x, batch.condition))
        for book, rows in zip(self.books, tokens.unbind(1), strict=True):
            book.begin(rows)
            for _ in range(self.passes):
                for part in rows[torch.randperm(len(rows), device=rows.device)].split(_BATCH):
                    book.learn(part, book.nearest(part))
        self.ready.fill_(True)
