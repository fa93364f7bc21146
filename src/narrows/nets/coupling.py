"""Affine couplings of tokens: invertible maps whose scales and shifts are read from half of the channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core.check import refuse, whole
from narrows.nets.vit import TransformerBlocks

__all__ = ["Coupling", "Couplings"]

_MOST = 3.0
"""Largest absolute log-scale."""


class Coupling(nn.Module):
    r"""An affine map of half of the channels of all tokens, given the other half.

    .. math:: y_a = x_a,\qquad y_b = (x_b + m(x_a)) \odot s(x_a),\qquad
              \log\left|\det \frac{\partial y}{\partial x}\right| = \sum \log s(x_a)

    a and b are halves of the channels, drawn at random once. A transformer over all tokens reads x_a. log s lies
    between -3 and 3. The map begins as the identity.

    Args:
        tokens: number of tokens, L.
        channels: numbers of a token, C, at least 2.
        width: channels of the transformer.
        depth: its blocks.
        heads: its attention heads.

    Raises:
        RequestError: tokens of one number.

    Example:
        >>> y, log_det = Coupling(5, 4, width=8, depth=1, heads=2)(torch.zeros(2, 5, 4))
        >>> y.shape, log_det.shape
        (torch.Size([2, 5, 4]), torch.Size([2]))

    Reference:
        Dinh, Sohl-Dickstein, Bengio, Density Estimation Using Real NVP, 2016. arXiv:1605.08803. With transformers:
        Kolesnikov, Pinto, Tschannen, Jet: A Modern Transformer-Based Normalizing Flow, 2024. arXiv:2412.15129
    """

    order: Tensor

    def __init__(self, tokens: int, channels: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if channels < 2:
            raise refuse("patch", channels, "patches of at least two numbers", "Try patch=2.")
        self.kept = channels // 2
        order = torch.randperm(channels)
        self.register_buffer("order", order)
        self.lead = nn.Linear(self.kept, width)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = TransformerBlocks(width, depth, heads)
        self.out = nn.Linear(width, 2 * (channels - self.kept))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def affine(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """m and log s, (B, L, C - C/2), of half of the channels (B, L, C/2)."""
        shift, raw = self.out(self.blocks(self.lead(half) + self.place)).chunk(2, -1)
        return shift, _MOST * torch.tanh(raw / _MOST)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y (B, L, C) and the log-determinant (B,) of x (B, L, C)."""
        a, b = x[..., self.order].tensor_split([self.kept], -1)
        shift, log_scale = self.affine(a)
        y = torch.cat([a, (b + shift) * log_scale.exp()], -1)
        return y[..., self.order.argsort()], log_scale.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """x (B, L, C) of y."""
        a, b = y[..., self.order].tensor_split([self.kept], -1)
        shift, log_scale = self.affine(a)
        return torch.cat([a, b * (-log_scale).exp() - shift], -1)[..., self.order.argsort()]


class Couplings(nn.Module):
    """Several couplings, one after another; none are the identity.

    Args:
        tokens: number of tokens, L.
        channels: numbers of a token, C.
        length: number of couplings.
        width: channels of each transformer.
        depth: its blocks.
        heads: its attention heads.

    Example:
        >>> flow = Couplings(5, 4, 2, width=8, depth=1, heads=2)
        >>> x = torch.randn(2, 5, 4)
        >>> torch.allclose(flow.inverse(flow(x)[0]), x, atol=1e-5)
        True
    """

    def __init__(
        self, tokens: int, channels: int, length: int, *, width: int, depth: int = 1, heads: int = 4
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            Coupling(tokens, channels, width=width, depth=depth, heads=heads)
            for _ in range(whole("couplings", length, low=0))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image (B, L, C) and the log-determinant (B,) of x (B, L, C)."""
        total = x.new_zeros(len(x))
        for one in self.maps:
            x, log_det = one(x)
            total = total + log_det
        return x, total

    def inverse(self, y: Tensor) -> Tensor:
        """x (B, L, C) of its image."""
        for one in reversed(self.maps):
            y = one.inverse(y)  # type: ignore[operator]
        return y
