"""The masked variant of GIVT: a bidirectional transformer over tokens of real numbers, several drawn per step."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Batch, Code, Condition, Loss, Pass, Symbols
from narrows.core.check import number, positive, whole
from narrows.priors.heads.mixture import Mixture
from narrows.priors.labels import guided
from narrows.priors.masked import MaskedPrior
from narrows.priors.real import RealTokens
from narrows.priors.samplers.confidence import unmask

__all__ = ["MaskedGIVT"]


class MaskedGIVT(RealTokens, MaskedPrior):  # type: ignore[misc]  # `drawn` is that of codes
    r"""A prior that predicts masked tokens of real numbers from the others, by mixtures of Gaussians.

    .. math:: \min E_{x, M} \Big[ -\frac{1}{|M|} \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big],\qquad
              p(x_l \mid x_{\bar M}) = \sum_{i=1}^k \pi_i(h_l)\, N(x_l;\, m_i(h_l), \Sigma_i(h_l))

    h is the output of a bidirectional transformer, which reads tokens by a linear map. Masks are those of `MaskGIT`,
    and `nll` is the bound of `MaskedPrior`. The mean is over the masked places of all rows. Tokens are standardised
    with mean and deviation of each channel (of a vector, of each number).

    Args:
        components: Gaussians of a token's mixture, k.
        covariance: ``diagonal`` or ``full``.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = MaskedGIVT(Symbols((9, 4)), width=8, depth=1, heads=2)
        >>> prior.sample(2, steps=3).shape, prior.nll(torch.zeros(3, 9, 4)).shape
        (torch.Size([2, 9, 4]), torch.Size([3]))

    Reference:
        Tschannen, Eastwood, Mentzer, GIVT: Generative Infinite-Vocabulary Transformers, 2023, section 3.3.
        arXiv:2312.02116
    """

    reads: ClassVar[tuple[str, ...]] = RealTokens.reads
    plan = RealTokens.plan
    embed: nn.Linear  # type: ignore[assignment]
    head: Mixture  # type: ignore[assignment]

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        components: int = 16,
        covariance: Literal["diagonal", "full"] = "diagonal",
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        self._mixture = (components, covariance)
        super().__init__(symbols, classes, labels, draws, width=width, depth=depth, heads=heads)

    def made(self, symbols: Symbols, width: int, heads: int) -> tuple[Any, Any]:
        """A linear map of tokens, and mixtures of Gaussians."""
        channels = self.shape_of(symbols)[1]
        return nn.Linear(channels, width), Mixture(width, channels, *self._mixture)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of a masked token, in nats of standardised tokens."""
        z = self.drawn(batch)
        tokens, labels = self.arrange(z), self.told(batch.condition, len(z))
        masked = self.masks(tokens)
        h = self.hidden(tokens, masked, labels)[masked]
        nll = self.head.nll(h, tokens[masked], self.embed).mean() * self.share(masked)
        codes = z.view(-1, *self.symbols.shape)
        return Loss(nll, {"nll_of_masked": nll.detach()}, Pass(batch, Code(codes)))

    def terms(
        self, symbols: Tensor, masked: Tensor, labels: Tensor | None, step: Tensor | None = None
    ) -> Tensor:
        """-log p of every masked token given those that are not masked, in nats, (B, L); 0 of the others."""
        found = super().terms(self.arrange(symbols), masked, labels, step)
        return found + masked * self.scale.log().view(self.shape).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 8,
        noise: float = 4.5,
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape). `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
            steps: passes of the transformer, T; with as many as there are tokens, one is generated in each.
            noise: on the log-density by which drawn tokens are kept, fading to 0; with 0 the most confident are kept.
            temperature: factor of the deviations of the Gaussians; below 1 likely codes are drawn more often.
        """
        positive("temperature", temperature)
        noise, steps = number("noise", noise, low=0), whole("steps", steps)
        labels = self.asked(condition, n, guidance, self.mask.device)
        copies = 1 if guidance == 1 else 2

        def propose(tokens: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            where = masked.repeat(copies, 1)
            h = self.hidden(tokens.repeat(copies, 1, 1), where, labels)[where]
            found = self.head.draw(h, temperature=temperature, guidance=guidance)
            log_p = guided(self.head(h).scaled(temperature).log_prob(found), guidance)
            sure = torch.full(masked.shape, torch.inf, dtype=log_p.dtype, device=log_p.device)
            sure[masked] = log_p
            filled = tokens.clone()
            filled[masked] = found[: len(log_p)]
            return filled, sure

        device, dtype = self.mask.device, self.mask.dtype
        return self.restore(unmask(propose, n, self.shape, steps, noise, device, dtype))
