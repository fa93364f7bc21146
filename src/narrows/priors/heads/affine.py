"""A causal affine map of tokens, whose scales and shifts a transformer reads from earlier tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.priors.sequence import Causal

__all__ = ["AffineFlow", "product"]

_MOST = 3.0
"""Largest absolute log-scale."""


def product(
    told: tuple[Tensor, Tensor], untold: tuple[Tensor, Tensor], guidance: float
) -> tuple[Tensor, Tensor]:
    r"""Mean and deviation of the Gaussian :math:`\propto p_c^{w}\, p_u^{1-w}`, whose precision is kept positive.

    .. math:: r = \min\!\left(\frac{s_c}{s_u}, 1\right)^2,\qquad
              m = \frac{w\, m_c - (w - 1)\, r\, m_u}{w - (w - 1)\, r},\qquad
              s = \frac{s_c}{\sqrt{w - (w - 1)\, r}}

    Where :math:`s_c \le s_u` this is the product exactly.

    Args:
        told: mean and deviation of p_c, given labels.
        untold: those of p_u, without.
        guidance: w, 1 for p_c.

    Example:
        >>> one = torch.ones(1)
        >>> product((one, one), (0 * one, one), 3.0)
        (tensor([3.]), tensor([1.]))

    Reference:
        Gu et al., STARFlow, 2025, section 3.4. arXiv:2506.06276. Their w is ours less 1.
    """
    (m, s), (m_u, s_u) = told, untold
    r = (s / s_u).clamp(max=1).square()
    total = guidance - (guidance - 1) * r
    return (guidance * m - (guidance - 1) * r * m_u) / total, s / total.sqrt()


class AffineFlow(nn.Module):
    r"""An invertible map of tokens.

    .. math:: z_1 = x_1,\qquad z_l = \frac{x_l - m_l}{s_l},\quad
              (m_l, \log s_l) = W h_l(x_1 \ldots x_{l-1}),\qquad
              \log\left|\det \frac{\partial z}{\partial x}\right| = -\sum_{l, c} \log s_{lc}

    log s lies between -3 and 3. The map begins as the identity.

    Args:
        net: the causal transformer.
        width: its channels, W.
        channels: numbers of a token, C.
        flip: whether tokens are read from the last to the first.

    Example:
        >>> net = Causal(5, lambda: nn.Linear(3, 8), classes=0, width=8, depth=1, heads=2)
        >>> z, log_det = AffineFlow(net, 8, 3)(torch.zeros(2, 5, 3))
        >>> z.shape, log_det.shape
        (torch.Size([2, 5, 3]), torch.Size([2]))
    """

    def __init__(self, net: Causal, width: int, channels: int, flip: bool = False) -> None:
        super().__init__()
        self.net, self.flip = net, flip
        self.out = nn.Linear(width, 2 * channels)
        net.initialise()
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def affine(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of h (..., W), (..., C) each."""
        shift, raw = self.out(h).chunk(2, -1)
        return shift, _MOST * torch.tanh(raw / _MOST)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z (B, L, C) and the log-determinant (B,) of x (B, L, C)."""
        if self.flip:
            x = x.flip(1)
        shift, log_scale = self.affine(self.net(x, labels)[:, 1:])
        z = torch.cat([x[:, :1], (x[:, 1:] - shift) * (-log_scale).exp()], 1)
        return z.flip(1) if self.flip else z, -log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """x (n, L, C) of z, token by token with cached keys and values.

        Args:
            z: (n, L, C).
            labels: (n, G); with guidance (2n, G), with labels and without.
            guidance: w, see `product`.
        """
        z = z.flip(1) if self.flip else z
        copies, left = 1 if guidance == 1 else 2, enumerate(z.unbind(1))

        def draw(h: Tensor) -> Tensor:
            turn, noise = next(left)
            mean, log_scale = self.affine(h)
            scale = log_scale.exp()
            if guidance != 1:
                (mean, mean_u), (scale, scale_u) = mean.chunk(2), scale.chunk(2)
                mean, scale = product((mean, scale), (mean_u, scale_u), guidance)
            token = noise if turn == 0 else mean + scale * noise
            return token.repeat(copies, 1)

        x = self.net.generate(self.net.first(copies * len(z), labels), draw)[: len(z)]
        return x.flip(1) if self.flip else x
