"""Token-Shuffle: a causal transformer whose tokens are windows of a grid of indices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from torch import Tensor

from narrows.core import Condition, Symbols
from narrows.core.check import refuse
from narrows.priors import require
from narrows.priors.heads.shuffle import Shuffle, Unshuffle, windows
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import IndexSequence

__all__ = ["TokenShuffle"]


class TokenShuffle(IndexSequence):
    r"""An autoregressive prior over windows of s x s indices, which are one token of the transformer.

    .. math:: p(k) = \prod_{w=1}^{S} \prod_{i \in w} p(k_i \mid k_{w'}, w' < w)

    The embeddings of a window's indices are each mapped to a part of the channels and joined, `Shuffle`; what the
    transformer gives for the next window is divided again, `Unshuffle`, and each part predicts an index. A grid of L
    indices takes about L / s^2 steps. Indices of a window are independent given the earlier windows. Where s does not
    divide a side of the grid, the last windows are smaller.

    Args:
        window: s, indices along each side of a window.

    Raises:
        RequestError: the symbols are not indices on one grid, or an option is out of range.

    Example:
        >>> from narrows.core import TokenLayout
        >>> symbols = Symbols((16,), 8, TokenLayout(((4, 4),)))
        >>> prior = TokenShuffle(symbols, width=8, heads=2)
        >>> prior.sample(2).shape, len(prior.order)
        (torch.Size([2, 16]), 4)

    Reference:
        Ma et al., Token-Shuffle: Towards High-Resolution Image Generation with Autoregressive Models, 2025.
        arXiv:2504.17789
    """

    reads: ClassVar[tuple[str, ...]] = ("indices",)
    head: Unshuffle
    order: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        window: int = 2,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        require(symbols, type(self))
        if len(symbols.layout.grids) > 1:
            fix = "Codes of several grids have no common windows: try `next-scale`."
            raise refuse("prior", "token-shuffle", "one that reads several grids", fix)
        order = windows(symbols.layout.grid, window)
        each = order.shape[1]
        super().__init__(
            symbols,
            classes,
            labels,
            tokens=len(order),
            embed=partial(Shuffle, each, symbols.codes, width),
            head=partial(Unshuffle, each, symbols.codes, width),
            width=width,
            depth=depth,
            heads=heads,
        )
        self.register_buffer("order", order, persistent=False)

    def arrange(self, symbols: Tensor) -> Tensor:
        """Indices (B, L) by windows, (B, S, P); -1 where there is none."""
        return symbols[:, self.order.clamp_min(0)].masked_fill(self.order < 0, -1)

    def restore(self, tokens: Tensor) -> Tensor:
        """The inverse of `arrange`."""
        present = self.order >= 0
        found = tokens.new_empty(len(tokens), int(present.sum()))
        found[:, self.order[present]] = tokens[:, present]
        return found

    def generate(
        self, n: int, condition: Condition, guidance: float, draw: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """n rows of symbols, (n, L), as `Sequence.generate`; absent indices of a window are -1."""
        absent = iter(self.order < 0)
        return super().generate(n, condition, guidance, lambda h: draw(h).masked_fill(next(absent), -1))

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of each index given the earlier windows: (B, S, P) -> (B, S, P, K)."""
        return self.head(self.net(tokens, labels))

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """A window for each row of h (R, W)."""
        return self.head.draw(h, choose)
