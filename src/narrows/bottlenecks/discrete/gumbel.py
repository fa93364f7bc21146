"""A relaxed categorical distribution over the codes of a codebook."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer
from narrows.core.check import positive
from narrows.core.schedules import Schedule, at, schedule

__all__ = ["GumbelQuantizer"]


class GumbelQuantizer(Quantizer):
    r"""A linear map gives the logits of K codes; in training their mean with Gumbel-softmax weights is decoded.

    .. math:: \pi = \mathrm{softmax}(W z),\qquad
              y = \mathrm{softmax}\Big(\frac{\log \pi + g}{\tau}\Big),\quad g_k \sim \mathrm{Gumbel}(0, 1),\qquad
              q = \textstyle\sum_k y_k e_k

    In `eval()` the most probable code is decoded. The cost ``kl`` is that of the categorical distribution from the
    uniform one, sum over tokens of log K - H(pi), in nats. With the temperature the weights become one-hot.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.
        width: width of a code, d; that of the tokens if None.
        temperature: tau, above 0, a number or a schedule.

    Raises:
        RequestError: a size that is not an integer of at least 1.

    Example:
        >>> gumbel = GumbelQuantizer(4, codes=16, tokens=9).eval()
        >>> code = gumbel(torch.randn(2, 9, 4))
        >>> code.z.shape, bool((gumbel.from_symbols(gumbel.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9, 4]), True)

    Reference:
        Ramesh et al., Zero-Shot Text-to-Image Generation, 2021, section 2.1. arXiv:2102.12092. Jang, Gu, Poole,
        Categorical Reparameterization with Gumbel-Softmax, 2017. arXiv:1611.01144
    """

    relaxed: ClassVar[bool] = True

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        width: int | None = None,
        temperature: Schedule = "cosine:1:0.0625:2000",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.inward = nn.Identity()  # the logits are read from the features
        self.logits = nn.Linear(features, self.codes)
        self.codebook = nn.Parameter(torch.randn(self.codes, self.width) * self.width**-0.5)
        self.schedule = schedule(temperature, "temperature")
        self.temperature = positive("temperature", at(self.schedule, 0))

    def before_step(self, step: int) -> None:
        """Set the temperature of the step."""
        self.temperature = at(self.schedule, step)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, features) by mixtures of codes, in `eval()` by codes."""
        log_p = self.logits(tokens).log_softmax(-1)
        kl = (log_p.exp() * log_p).sum(-1) + math.log(self.codes)
        indices = log_p.detach().argmax(-1)
        if self.training:
            uniform = torch.rand_like(log_p).clamp_min(torch.finfo(log_p.dtype).tiny)
            noise = -(-uniform.log()).clamp_min(torch.finfo(log_p.dtype).tiny).log()
            vectors = ((log_p + noise) / self.temperature).softmax(-1) @ self.codebook
        else:
            vectors = self.vectors(indices)
        return Quantised(vectors, indices, {"kl": kl.sum(-1)})

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return F.embedding(indices, self.codebook)
