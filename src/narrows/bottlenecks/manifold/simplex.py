"""A code on the simplex: Dirichlet posteriors with a Dirichlet prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, kl_divergence

from narrows.bottlenecks.manifold import maps
from narrows.bottlenecks.variational import Variational
from narrows.core import Code, Surface, Tree
from narrows.core.check import number, refuse, whole

__all__ = ["Shares", "Simplex"]

_LEAST, _MOST = 0.05, 1e4
"""The range of a concentration. Draws of smaller ones are mostly 0 even in float64."""
_LOGS = (math.log(_LEAST), math.log(_MOST))


class Shares(Dirichlet):
    """The Dirichlet distribution, with draws in float64, of which none is exactly 0.

    Args:
        concentration: alpha, (..., K).

    Example:
        >>> bool((Shares(torch.full((2,), 0.05)).rsample((1000,)) > 0).all())
        True
    """

    def __init__(self, concentration: Tensor) -> None:
        super().__init__(concentration, validate_args=False)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw points of the simplex with implicit gradients, (*samples, ..., K)."""
        wide: Tensor = Dirichlet(self.concentration.double(), validate_args=False).rsample(
            torch.Size(sample_shape)
        )
        return wide.clamp_min(torch.finfo(self.concentration.dtype).tiny).to(self.concentration)


class Simplex(Variational):
    r"""q(z | x) and p(z) are Dirichlet distributions of K shares that sum to 1.

    .. math:: q(z|x) = \mathrm{Dir}(\alpha(x)),\quad p(z) = \mathrm{Dir}(a, \dots, a),\qquad
              \mathrm{kl} = \mathrm{KL}(q \,\|\, p)

    The divergence is that of the shares. The paper's is that of independent Gamma variables of which they are the
    normalised values, which exceeds it by the divergence of their sums. Features are log alpha, (B, K). In `eval()`
    and without samples, z is the mean.

    Args:
        latent: K.
        concentration: a; below 1 the prior prefers codes near the corners; 1 - 1 / K if 0.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = Simplex(3)(torch.zeros(5, 3), samples=(2,))
        >>> code.z.shape, bool((code.z.sum(-1) - 1).abs().max() < 1e-6)
        (torch.Size([2, 5, 3]), True)

    Reference:
        Joo, Lee, Park, Moon, Dirichlet Variational Autoencoder, 2019. arXiv:1901.02739
    """

    smooth = False  # gradients of draws are implicit

    alpha: Tensor

    def __init__(self, latent: int, concentration: float = 0.0) -> None:
        super().__init__()
        self.latent = whole("latent", latent, low=2, fix="Shares that sum to 1 are at least 2.")
        if number("concentration", concentration) and not _LEAST <= concentration <= _MOST:
            expected = f"from {_LEAST} to {_MOST:g}, or 0"
            raise refuse("concentration", concentration, expected, "With 0 it is 1 - 1 / K.")
        alpha = concentration or 1 - 1 / self.latent
        self.register_buffer("alpha", torch.full((self.latent,), alpha), persistent=False)

    def posterior(self, h: Tree) -> Shares:
        """The posterior that the features describe."""
        return Shares(h.clamp(*_LOGS).exp())

    def prior(self) -> Shares:
        """The Dirichlet distribution with equal concentrations."""
        return Shares(self.alpha)

    def divergence(self, q: Distribution, p: Distribution) -> Tensor:
        """KL(q || p), computed in float64: it is a difference of large numbers."""
        assert isinstance(q, Shares)
        assert isinstance(p, Shares)
        wide = kl_divergence(Shares(q.concentration.double()), Shares(p.concentration.double()))
        return wide.to(q.concentration)

    def from_symbols(self, symbols: Tensor) -> Code:
        """A vector's positive part, divided by its sum."""
        positive = symbols.clamp_min(torch.finfo(symbols.dtype).tiny)
        return Code(positive / positive.sum(-1, keepdim=True))

    def paths(self, z: Tensor, low: Tensor, high: Tensor, steps: int) -> dict[str, Tensor]:
        """Each share from its smallest to its largest value; the others keep their ratios."""
        found = {}
        for j in range(self.latent):
            share = torch.linspace(float(low[j]), float(high[j]), steps).to(z).clamp(0, 1)
            others = self.from_symbols(z.index_fill(0, torch.tensor(j, device=z.device), 0.0)).z
            moved = (1 - share)[:, None] * others
            moved[:, j] = share
            found[f"share {j}"] = self.from_symbols(moved).z
        return found

    def surface(self, z: Tensor) -> Surface | None:
        """A triangle, if there are three shares."""
        return maps.triangle(z) if self.latent == 3 else None
