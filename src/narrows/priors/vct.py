"""Consistency models whose noise is drawn by an encoder of the codes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.gaussian.diagonal import Diagonal, kl, normal
from narrows.core import Batch, Loss, Pass, Symbols
from narrows.core.check import number
from narrows.nets.denoiser import denoiser
from narrows.priors.consistency import Consistency

__all__ = ["VCT"]


class VCT(Consistency):
    r"""A consistency model with a variational coupling of codes and noise.

    .. math:: \epsilon \sim q(\epsilon \mid z) = N\big(m(z), \mathrm{diag}\, s(z)^2\big),\qquad
              L = L_{\text{consistency}} +
                  \frac{\lambda}{T - r(T)}\, E_z\, \mathrm{KL}\big(q(\epsilon \mid z) \,\|\, N(0, I)\big)

    The loss of `consistency` with noise from an encoder, which is trained with f: noise that says something of its code
    makes the targets vary less. The KL divergence is weighted like the loss at the end of the path, where the gap of
    two times is T - r(T). In samples of several steps, new noise is drawn by the encoder, too.

    Args:
        rate: lambda, the weight of the KL divergence. The smaller, the more do samples suffer from noise that is not
            N(0, I).

    Raises:
        RequestError: the symbols are indices, or an option is out of range.

    Example:
        >>> prior = VCT(Symbols((4,)), width=8, depth=1)
        >>> prior.coupling(torch.zeros(3, 4)).mean.shape, prior.sample(2, steps=2).shape
        (torch.Size([3, 4]), torch.Size([2, 4]))

    Reference:
        Silvestri et al., Training Consistency Models with Variational Noise Coupling, 2025. arXiv:2502.18197
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        rate: float = 0.1,
        largest: float = 10.0,
        stages: int = 4,
        stage_steps: int = 300,
        huber: float = 0.5,
        draws: bool = True,
        elementwise: bool = False,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__(
            symbols,
            classes=classes,
            largest=largest,
            stages=stages,
            stage_steps=stage_steps,
            huber=huber,
            draws=draws,
            elementwise=elementwise,
            labels=labels,
            width=width,
            depth=depth,
            heads=heads,
        )
        self.rate = number("rate", rate, low=0)
        self.encoder = denoiser(symbols, width, depth, heads, self.classes, outputs=2)

    def coupling(self, z: Tensor, labels: Tensor | None = None) -> Diagonal:
        """The distribution of the noise of standardised codes (n, *shape), over flat noise (n, Z)."""
        out = self.encoder(z, z.new_zeros(1), labels)
        halves = out.chunk(2, 2 if self.symbols.kind == "tokens" else 1)
        return normal(torch.cat([half.flatten(1) for half in halves], 1))

    def noise_for(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Noise for standardised codes (n, *shape), drawn by the encoder."""
        return self.coupling(z, labels).rsample().view_as(z)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean weighted difference of a batch of codes, plus the weighted KL divergence of their noise."""
        z, labels = self.learned_from(batch)
        t, e = self.times_and_noise(z)
        q = self.coupling(z, labels)
        noise = (q.base_dist.loc + q.base_dist.scale * e.flatten(1)).view_as(z)
        error, rate = self.difference(z, noise, t, labels, step).mean(), kl(q).mean()
        end = z.new_ones(1)
        gap = float(self.path.level(end).sigma - self.path.level(self.earlier(end, step)).sigma)
        terms = {"consistency": error.detach(), "kl": rate.detach()}
        return Loss(error + self.rate / gap * rate, terms)
