"""The base class of normalising flows of causal transformers over tokens of real numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import at_least, positive, refuse
from narrows.priors.heads.affine import AffineFlow
from narrows.priors.real import RealTokens
from narrows.priors.sequence import Causal

__all__ = ["TokenFlow"]


class TokenFlow(RealTokens):
    r"""A normalising flow f of causal affine maps of tokens, which are read in opposite orders in turn.

    .. math:: -\log p(x) = -\log N(f(x);\, 0, I) - \log\left|\det \frac{\partial f}{\partial x}\right|

    Args:
        symbols: what the bottleneck stores of an example.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        draws: of a code with a posterior, learn draws from it instead of its mean.
        noise: deviation of noise that is added to standardised tokens in training.
        depths: transformer layers of each map, in the order from codes to noise.
        width: width of the transformers.
        heads: their attention heads.

    Raises:
        RequestError: the symbols are not real numbers, or a single token, or an option is out of range.
    """

    def __init__(
        self,
        symbols: Symbols,
        classes: int,
        labels: bool,
        draws: bool,
        *,
        noise: float,
        depths: Sequence[int],
        width: int,
        heads: int,
    ) -> None:
        super().__init__(symbols, classes, labels, draws)
        self.noise = at_least("noise", noise, 0)
        length, channels = self.shape
        if length < 2:
            raise refuse("prior", type(self).__name__, "one for a single token", "Try gmm or flow-matching.")
        sizes = {"classes": self.classes, "width": width, "heads": heads}
        self.flows = nn.ModuleList(
            AffineFlow(
                Causal(length, lambda: nn.Linear(channels, width), depth=depth, **sizes),
                width,
                channels,
                flip=bool(i % 2),
            )
            for i, depth in enumerate(depths)
        )

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The noise f(x) (B, L, C) of standardised tokens, and the log-determinant (B,)."""
        total = torch.zeros((), device=tokens.device)
        for flow in self.flows:
            tokens, log_det = flow(tokens, labels)
            total = total + log_det
        return tokens, total

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of codes (B, *shape), in nats, (B,)."""
        labels = self.told(condition, len(symbols))
        return self.standard_nll(self.arrange(symbols), labels) + self.scale.log().sum()

    def standard_nll(self, tokens: Tensor, labels: Tensor | None) -> Tensor:
        """-log p of standardised tokens (B, L, C), in nats, (B,)."""
        z, log_det = self(tokens, labels)
        return 0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1) - log_det

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of draws of the codes, with noise."""
        if self.noise:
            z = self.drawn(batch).view(-1, *self.shape)
            z = z + self.noise * self.scale.view(self.shape) * torch.randn_like(z)
            told = {name: value for name, value in batch.condition.items() if name != "deviation"}
            batch = Batch(z.view(-1, *self.symbols.shape), condition=told)
        return super().loss(batch, step, passed)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape), token by token in each block. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
            temperature: deviation of the noise from which codes are made; below 1 likely codes are drawn more often.
        """
        positive("temperature", temperature)
        labels = self.asked(condition, n, guidance, self.shift.device)
        x = temperature * torch.randn(n, *self.shape, dtype=self.shift.dtype, device=self.shift.device)
        for flow in reversed(self.flows):
            x = cast(AffineFlow, flow).inverse(x, labels, guidance)
        if self.noise:
            x = x + self.noise**2 * self.score(x, None if labels is None else labels[:n])
        return self.restore(x)

    def score(self, tokens: Tensor, labels: Tensor | None) -> Tensor:
        """The gradient of log p at standardised tokens (B, L, C)."""
        with torch.enable_grad():
            at = tokens.detach().requires_grad_(True)
            return torch.autograd.grad(-self.standard_nll(at, labels).sum(), at)[0]
