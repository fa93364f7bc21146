"""Latent quantisation: every number of the code is one of a few scalars of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer, straight_through
from narrows.core import Code, Tree
from narrows.core.check import whole

__all__ = ["LatentQuantizer"]


class LatentQuantizer(Quantizer):
    r"""Each latent is replaced by the nearest of its own V learned scalars.

    .. math:: \hat z_j = \arg\min_{v \in V_j} |z_j - v|,\qquad
              \mathrm{quantise} = \frac1Z \|\mathrm{sg}(z) - \hat z\|^2,\quad
              \mathrm{commit} = \frac1Z \|z - \mathrm{sg}(\hat z)\|^2

    The scalars start evenly from -1/2 to 1/2. The first cost moves them, the second the encoder. The gradient of the
    rounding is straight-through, but not beyond the outermost scalars: there a latent can move outwards for ever
    without a change of the code, and would. The paper does not clip it.

    Args:
        latent: the number of latents, Z.
        values: the number of scalars of each latent, V.
        bounded: pass no gradient of the reconstruction to a latent beyond its outermost scalars.

    Raises:
        RequestError: a size that is not an integer of at least 1 (values: 2).

    Example:
        >>> quantizer = LatentQuantizer(3, values=5)
        >>> code = quantizer(torch.tensor([[0.3, -2.0, 0.1]]))
        >>> code.z.tolist(), quantizer.to_symbols(code).tolist()
        ([[0.25, -0.5, 0.0]], [[3, 0, 2]])

    Reference:
        Hsu, Dorrell, Whittington, Wu, Finn, Disentanglement via Latent Quantization, 2023, section 3. arXiv:2305.18378
    """

    separate = False  # each latent has scalars of its own

    def __init__(self, latent: int, values: int = 10, bounded: bool = True) -> None:
        super().__init__(1, 1, whole("values", values, low=2), latent)
        self.bounded = bounded
        self.values = nn.Parameter(torch.linspace(-0.5, 0.5, self.codes).repeat(self.tokens, 1))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Quantise features (B, Z); the code is deterministic, so samples are copies."""
        return self._flat(super().forward(h[..., None], samples))

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace latents (B, Z, 1) by their nearest scalars."""
        indices = (tokens - self.values).abs().argmin(-1)
        q = self.vectors(indices)
        costs = {
            "quantise": (tokens.detach() - q).square().mean((-2, -1)),
            "commit": (tokens - q.detach()).square().mean((-2, -1)),
        }
        return Quantised(straight_through(self.unrounded(tokens), q), indices, costs)

    def unrounded(self, tokens: Tensor) -> Tensor:
        """Latents (B, Z, 1), and where the gradient is clipped not beyond their outermost scalars."""
        low, high = self.values.detach().aminmax(dim=-1, keepdim=True)
        return tokens.clamp(low, high) if self.bounded else tokens

    def vectors(self, indices: Tensor) -> Tensor:
        """The scalars of indices, (..., Z) -> (..., Z, 1)."""
        return self.values[torch.arange(self.tokens, device=indices.device), indices][..., None]

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of indices (B, Z), equal to that of the encoder."""
        return self._flat(super().from_symbols(symbols))

    @staticmethod
    def _flat(code: Code) -> Code:
        return replace(code, z=code.z.squeeze(-1))
