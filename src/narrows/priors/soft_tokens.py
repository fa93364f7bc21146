"""A code with a prior that is trained together with the encoder: tokens with a causal density, and Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, TokenLayout
from narrows.core.check import refuse, whole
from narrows.priors.heads.mixture import Mixture
from narrows.priors.labels import dropped, with_unlabelled
from narrows.priors.sequence import Causal

__all__ = ["SoftTokens"]


class SoftTokens(Bottleneck):
    r"""A code of L tokens: a causal mixture of Gaussians over some channels, independent N(0, 1) over the others.

    .. math:: p(z) = N(z_{\text{noise}}; 0, I)
              \prod_l \sum_{i=1}^k \pi_i(h_l)\, N(z_l;\, m_i(h_l), \mathrm{diag}\, s_i^2(h_l))

    h_l is the output of a causal transformer over earlier tokens, without their noise. The cost ``kl`` is
    log q(z | x) - log p(z): -log p(x) where z is a function of x, and a bound of it with uniform noise on rounded
    numbers, both in nats. In training a tenth of the rows has no labels, for guidance (see `DROP`).

    Args:
        layout: the grid of the tokens.
        channels: numbers of a token, C.
        redundant: how many of them are noise; all of them make N(0, I) of the whole code, without a transformer.
        components: Gaussians of the mixture, k.
        classes: number of labels that the transformer is told, 0 for none.
        width: channels of the transformer.
        depth: its blocks.
        heads: its attention heads.

    Raises:
        RequestError: an option out of range.
    """

    where: Tensor

    def __init__(
        self,
        layout: TokenLayout,
        channels: int,
        *,
        redundant: int = 0,
        components: int = 16,
        classes: int = 0,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if whole("redundant", redundant, low=0) > channels:
            raise refuse("redundant", redundant, f"at most the {channels} numbers of a token")
        self.layout, self.tokens = layout, layout.tokens
        self.channels, self.kept = channels, channels - redundant
        self.register_buffer("where", torch.zeros(()), persistent=False)  # draws are made where it is
        self.classes = classes
        self.net: Causal | None = None
        self.head: Mixture | None = None
        if self.kept:
            kept, sizes = self.kept, {"classes": classes, "width": width, "depth": depth, "heads": heads}
            self.net = Causal(layout.tokens, lambda: nn.Linear(kept, width), **sizes)
            self.head = Mixture(width, kept, components)
            self.net.initialise()
            nn.init.normal_(self.head.out.weight, std=0.02)

    def forward(self, h: Mapping[str, Tensor], samples: tuple[int, ...] = ()) -> Code:
        """The tokens of a `FlowEncoder` as code, which has nothing to draw."""
        cost = h["log_q"] - self.log_prob(h["tokens"], dropped(h.get("labels"), self.training))
        z = h["tokens"].flatten(1)
        return Code(z.expand(*samples, *z.shape), {"kl": cost.expand(*samples, *cost.shape)})

    def log_prob(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p of tokens (B, L, C), in nats, (B,)."""
        soft, noise = tokens.split([self.kept, self.channels - self.kept], -1)
        found = -0.5 * (noise.square() + math.log(2 * math.pi)).flatten(1).sum(1)
        if self.net is not None and self.head is not None:
            found = found - self.head.nll(self.net(soft, labels), soft, self.net.embed).sum(1)
        return found

    def sample(self, n: int, condition: Condition = NO_CONDITION, *, guidance: float = 1.0) -> Code:
        """Draw n codes, token by token with cached keys and values. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G), drawn evenly if none are given.
        """
        noise = torch.randn(n, self.tokens, self.channels - self.kept, device=self.where.device)
        labels = condition.get("labels") if self.net is not None and self.classes else None
        if self.net is not None and self.classes and labels is None:
            labels = F.one_hot(torch.randint(self.classes, (n,), device=noise.device), self.classes)
        both = with_unlabelled(labels, guidance, "Fit the method with its option ``labels``.")
        if self.net is None or self.head is None:
            return Code(noise.flatten(1))
        draw = partial(self.head.draw, guidance=guidance)
        soft = self.net.generate(self.net.first(n if guidance == 1 else 2 * n, both), draw)[:n]
        return Code(torch.cat([soft, noise], -1).flatten(1))

    def to_symbols(self, code: Code) -> Tensor:
        """The tokens, (B, L, C)."""
        z: Tensor = code.z
        return z.unflatten(-1, (-1, self.channels))

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code (B, L C) of tokens (B, L, C)."""
        return Code(symbols.flatten(-2))
