"""Cells of a fixed grid: each latent is rounded, and in training moved at random inside its cell."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer, straight_through
from narrows.core import NO_CONDITION, Code, Condition, Tree
from narrows.core.check import positive, whole

__all__ = ["CellQuantizer"]


class CellQuantizer(Quantizer):
    r"""The posterior of a latent is uniform in each of L cells of a grid, the prior is N(0, 1).

    .. math:: \tilde z_j = c_k + \Delta u,\quad k = \mathrm{cell}(z_j + \sigma \Delta\, \epsilon),\qquad
              \epsilon \sim N(0, 1),\quad u \sim U(-\tfrac12, \tfrac12)

    .. math:: \mathrm{kl} = \sum_{j,k} P(k|z_j) \Big[\log P(k|z_j) + \tfrac12 \Big(c_k^2 + \tfrac{\Delta^2}{12}\Big)
              + \tfrac12 \log 2\pi - \log \Delta \Big]

    P(k|z) is the probability of the cell under the noise. So in training the encoder keeps a margin to the faces of a
    cell, and the decoder reads all points of it alike. In `eval()` the code is the centre of the cell of z. The cells
    lie symmetrically around 0, with the outermost ones unbounded to the encoder; beyond them a latent has no gradient.
    The gradient of the rounding is straight-through.

    Args:
        latent: the number of latents, Z.
        levels: the number of cells of each latent, L.
        step: the width of a cell, Delta.
        noise: sigma, the standard deviation of the noise before the rounding, in widths of a cell.

    Raises:
        RequestError: fewer than 1 latent or 2 cells, or cells or noise without width.

    Example:
        >>> cells = CellQuantizer(3, levels=5, step=0.5).eval()
        >>> code = cells(torch.tensor([[0.3, -2.0, 0.1]]))
        >>> code.z.tolist(), cells.to_symbols(code).tolist()
        ([[0.5, -1.0, 0.0]], [[3, 0, 2]])

    Reference:
        Kyatham, Mishra, Yadav, Mishra, Prathosh, Variational Inference with Latent Space Quantization for Adversarial
        Resilience, 2019. arXiv:1903.09940
    """

    relaxed: ClassVar[bool] = True
    precise: Tensor

    def __init__(self, latent: int, levels: int = 9, step: float = 0.5, noise: float = 0.25) -> None:
        super().__init__(1, 1, whole("levels", levels, low=2), latent)
        self.step = positive("step", step, "Try step=0.5.")
        self.noise = positive("noise", noise, "Try noise=0.25.")
        # A buffer that only holds the module's floating-point dtype and device.
        self.register_buffer("precise", torch.empty(0), persistent=False)

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Round features (B, Z); in training and for samples, draw a cell and a point of it."""
        tokens = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
        drawn, seen = self.training or bool(samples), tokens
        if drawn:
            seen = tokens + self.noise * self.step * torch.randn_like(tokens.expand(*samples, *tokens.shape))
        vectors, indices, *_ = self.quantize(seen[..., None])
        z = vectors.squeeze(-1)
        if drawn:
            z = z + self.step * (torch.rand_like(z) - 0.5)
        log_p = self.log_cells(tokens)
        kl = self._ratio(z, indices, log_p) if samples else self._divergence(log_p)
        found = self.evidence(self.index(tokens.detach()), tokens.detach()[..., None])
        centres = self.vectors(found.indices).to(tokens.dtype)
        return Code(z, {"kl": kl.sum(-1)}, evidence=(replace(found, vectors=centres),))

    def log_cells(self, z: Tensor) -> Tensor:
        """log P(k|z), (..., L), of latents (...)."""
        faces = torch.arange(1, self.codes, device=z.device) - self.codes / 2
        below = torch.special.log_ndtr((faces.to(z.dtype) - z[..., None] / self.step) / self.noise)
        above = torch.special.log_ndtr((z[..., None] / self.step - faces.to(z.dtype)) / self.noise)
        inner = self._difference(below, above)
        return torch.cat([below[..., :1], inner, above[..., -1:]], -1)

    @staticmethod
    def _difference(below: Tensor, above: Tensor) -> Tensor:
        """log of the probability between neighbouring faces, as a difference in the lighter tail."""
        high, low = below[..., 1:], below[..., :-1]
        left = high + torch.log1p(-(low - high).exp().clamp_max(1 - 1e-6))
        high, low = above[..., :-1], above[..., 1:]
        right = high + torch.log1p(-(low - high).exp().clamp_max(1 - 1e-6))
        return torch.where(below[..., 1:] < above[..., :-1], left, right)

    def _divergence(self, log_p: Tensor) -> Tensor:
        """KL(q || p) of each latent, from log P(k|z), (..., L)."""
        every = torch.arange(self.codes, device=log_p.device)
        square = self.vectors(every).squeeze(-1).square() + self.step**2 / 12
        p = log_p.exp()
        return (p * (log_p.clamp_min(-1e3) + 0.5 * square)).sum(-1) + self._constant

    def _ratio(self, z: Tensor, indices: Tensor, log_p: Tensor) -> Tensor:
        """log q - log p of each latent at draws z of the cells `indices`."""
        chosen = log_p.expand(*indices.shape, self.codes).gather(-1, indices[..., None]).squeeze(-1)
        return chosen + 0.5 * z.square() + self._constant

    @property
    def _constant(self) -> float:
        return 0.5 * math.log(2 * math.pi) - math.log(self.step)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace latents (B, Z, 1) by the centres of their cells."""
        indices = self.index(tokens.detach()).squeeze(-1)
        q = self.vectors(indices).to(tokens.dtype)
        return Quantised(straight_through(self.unrounded(tokens), q), indices, {})

    def unrounded(self, tokens: Tensor) -> Tensor:
        """Latents (B, Z, 1), not beyond the outermost cells."""
        edge = self.step * self.codes / 2
        return tokens.clamp(-edge, edge)

    def vectors(self, indices: Tensor) -> Tensor:
        """The centres of cells, (..., Z) -> (..., Z, 1)."""
        return self.step * (indices.to(self.precise.dtype) - (self.codes - 1) / 2)[..., None]

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior: the cells of draws of N(0, I)."""
        noise = torch.randn(n, self.tokens, device=self.precise.device, dtype=self.precise.dtype)
        return self.from_symbols(self.index(noise))

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of cells (B, Z), equal to that of the encoder in `eval()`."""
        code = super().from_symbols(symbols)
        return replace(code, z=code.z.squeeze(-1))

    def index(self, z: Tensor) -> Tensor:
        """The cells of latents of any shape."""
        return (z / self.step + (self.codes - 1) / 2).round().clamp(0, self.codes - 1).long()
