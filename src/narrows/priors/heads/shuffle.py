"""Windows of tokens as one token: channels are divided among the tokens of a window before and after a transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import refuse, whole
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import Head

__all__ = ["Shuffle", "Unshuffle", "windows"]

_RATIO = 2
"""Hidden width of the perceptrons, over the width."""


def windows(grid: tuple[int, ...], side: int) -> Tensor:
    """The tokens of each window of a grid, (S, P); -1 where a window reaches beyond the grid.

    Windows are in rows, and so are the tokens of a window.

    Args:
        grid: the sides of the grid.
        side: s, tokens along each side of a window; P is s to the power of the number of axes.

    Example:
        >>> windows((2, 3), 2).tolist()
        [[0, 1, 3, 4], [2, -1, 5, -1]]
    """
    side = whole("window", side)
    counts = [math.ceil(length / side) for length in grid]
    table = torch.full([count * side for count in counts], -1)
    table[tuple(slice(0, length) for length in grid)] = torch.arange(math.prod(grid)).view(grid)
    axes = len(grid)
    parts = table.view([size for count in counts for size in (count, side)])
    order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]
    return parts.permute(order).reshape(math.prod(counts), -1)


def _perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, _RATIO * width), nn.GELU(), nn.Linear(_RATIO * width, width)
    )


class Shuffle(nn.Module):
    r"""The embedding of a window of P tokens: each is mapped to a P-th of the channels, and these are joined.

    .. math:: u = v + \mathrm{MLP}(v),\qquad v = [A e(k_1), \ldots, A e(k_P)],\quad A \in R^{W/P \times W}

    A token of -1 is absent, and its channels are 0.

    Args:
        window: P.
        codes: size of the codebook, K.
        width: channels of an embedding and of the window, W.

    Raises:
        RequestError: P does not divide the width.

    Example:
        >>> Shuffle(4, 16, 8)(torch.zeros(2, 5, 4, dtype=torch.long)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, window: int, codes: int, width: int) -> None:
        super().__init__()
        if width % window:
            raise refuse("width", width, f"a multiple of the {window} tokens of a window")
        self.table = nn.Embedding(codes, width)
        self.compress = nn.Linear(width, width // window, bias=False)
        self.fuse = _perceptron(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., P) -> (..., W)."""
        each = self.compress(self.table(tokens.clamp_min(0))) * (tokens >= 0)[..., None]
        v = each.flatten(-2)
        u: Tensor = v + self.fuse(v)
        return u


class Unshuffle(Head):
    r"""A softmax for each of P tokens of a window, which are independent given h.

    .. math:: p(k_1 \ldots k_P \mid h) = \prod_i \mathrm{softmax}(W \phi(B y_i) + b),\qquad
              [y_1, \ldots, y_P] = h + \mathrm{MLP}(h),\quad B \in R^{W \times W/P}

    Args:
        window: P.
        codes: size of the codebook, K.
        width: channels of h, W.

    Example:
        >>> Unshuffle(4, 16, 8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 4, 16])
    """

    def __init__(self, window: int, codes: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.split = _perceptron(width)
        self.expand = nn.Linear(width // window, width)
        self.classify = nn.Linear(width, codes)
        nn.init.zeros_(self.classify.bias)

    def weights(self) -> list[Tensor]:
        """The weights of the classifier."""
        return [self.classify.weight]

    def forward(self, h: Tensor) -> Tensor:
        """Logits of each token: (..., W) -> (..., P, K)."""
        y = (h + self.split(h)).unflatten(-1, (self.window, -1))
        logits: Tensor = self.classify(F.gelu(self.expand(y)))
        return logits

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of each token of windows (B, S, P), in nats, (B, S, P); 0 of an absent one."""
        return F.cross_entropy(self(h).movedim(-1, 1), tokens, reduction="none", ignore_index=-1)

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """Tokens (R, P) from h (R, W)."""
        return choose(self(h))
