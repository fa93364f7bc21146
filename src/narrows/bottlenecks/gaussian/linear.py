"""Linear-Gaussian posteriors, whose variances are the same for all examples: one level, and two."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import LOG_VARIANCE, Diagonal, Gaussian
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import RequestError, number, refuse, whole

__all__ = ["LinearChain", "SharedGaussian", "Variance", "with_given"]


class Variance(nn.Module):
    """One variance for each latent, learned from 1 on, or fixed.

    Args:
        width: the number of latents, Z.
        fixed: the variance of all, or 0 if they are learned.

    Raises:
        RequestError: `fixed` is negative.

    Example:
        >>> Variance(2)().tolist(), Variance(2, fixed=0.25)().tolist()
        ([1.0, 1.0], [0.25, 0.25])
    """

    log_variance: Tensor

    def __init__(self, width: int, fixed: float = 0.0) -> None:
        super().__init__()
        if number("variance", fixed) < 0:
            raise refuse("variance", fixed, "a variance above 0, or 0 to learn it")
        if fixed:
            self.register_buffer("log_variance", torch.full((width,), math.log(fixed)))
        else:
            self.log_variance = nn.Parameter(torch.zeros(whole("width", width)))

    def forward(self) -> Tensor:
        """The variances, (Z,)."""
        return self.log_variance.clamp(*LOG_VARIANCE).exp()


def gaussian(mean: Tensor, variance: Tensor) -> Diagonal:
    """The diagonal Gaussian of means (..., Z) and variances (Z,)."""
    scale = variance.sqrt().expand_as(mean)
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def with_given(code: Code, given: Tensor) -> Code:
    """A code with the given numbers (B, G) appended to z, at no cost."""
    return replace(code, z=torch.cat([code.z, given.expand(*code.z.shape[:-1], given.shape[-1])], -1))


class SharedGaussian(Gaussian):
    r"""q(z | x) = N(mu(x), diag s^2) with the same variances for all examples, and the prior N(0, I).

    Features are the means, (B, Z), and, if there are any, the given numbers of the example, (B, G), which the
    decoder reads beside z.

    Args:
        latent: the width of z, Z.
        variance: s^2, or 0 if it is learned.
        given: how many numbers are given, G.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> SharedGaussian(2, variance=0.25, given=1)(torch.zeros(3, 2 + 1)).z.shape
        torch.Size([3, 3])
    """

    def __init__(self, latent: int, variance: float = 0.0, given: int = 0) -> None:
        super().__init__(latent)
        self.given = whole("given", given, low=0)
        self.variance = Variance(self.latent, variance)

    def posterior(self, h: Tree) -> Distribution:
        """The posterior of the means, (B, Z)."""
        return gaussian(h[..., : self.latent], self.variance())

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z, and append the given numbers."""
        code = super().forward(h, samples)
        return with_given(code, h[..., self.latent :]) if self.given else code

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z).

        Raises:
            RequestError: the decoder reads given numbers too, which no prior draws.
        """
        if self.given:
            raise RequestError(
                f"The decoder also reads the first {self.given} numbers of an example, which have no prior. "
                "Draw z from `prior()`, append those numbers, and decode."
            )
        return super().sample(n, condition)


class LinearChain(Bottleneck):
    r"""Two levels of linear-Gaussian latents, inferred bottom-up, with the exact expected divergences.

    .. math:: p(z_2) = N(0, I),\quad p(z_1|z_2) = N(U z_2, v I),\quad
              q(z_1|x) = N(\mu(x), S_1),\quad q(z_2|z_1) = N(W z_1, S_2)

    The costs are :math:`\mathrm{kl/0} = E[\log q(z_1|x) - \log p(z_1|z_2)]` and
    :math:`\mathrm{kl/1} = E\,\mathrm{KL}(q(z_2|z_1)\,\|\,p(z_2))`, both in closed form:

    .. math:: \mathrm{kl/0} = \tfrac{1}{2v} \left( |M \mu|^2 + \mathrm{tr}\, M S_1 M^T + \mathrm{tr}\, U S_2 U^T
              \right) + \tfrac{Z_1}{2} (\log v - 1) - \tfrac12 \log |S_1|,\qquad M = I - U W

    With samples they are the log-ratios at the draw. The decoder reads z_1.

    Args:
        widths: of z_1 and z_2.
        variances: of q(z_1 | x) and q(z_2 | z_1), each a number, or 0 if it is learned.
        noise: v.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = LinearChain((3, 2))(torch.zeros(4, 3))
        >>> code.z.shape, list(code.costs)
        (torch.Size([4, 3]), ['kl/0', 'kl/1'])

    Reference:
        Dang et al., Beyond Vanilla Variational Autoencoders, 2023, section 5. arXiv:2306.05023
    """

    def __init__(
        self, widths: tuple[int, int], variances: tuple[float, float] = (0.0, 0.0), noise: float = 1.0
    ) -> None:
        super().__init__()
        self.widths = whole("widths", widths[0]), whole("widths", widths[1])
        if not number("noise", noise) > 0:
            raise refuse("noise", noise, "a variance above 0")
        self.first, self.second = (Variance(*one) for one in zip(self.widths, variances, strict=True))
        self.up = nn.Linear(self.widths[0], self.widths[1], bias=False)
        self.down = nn.Linear(self.widths[1], self.widths[0], bias=False)
        self.noise = float(noise)
        self.top = Gaussian(self.widths[1])

    def below(self, z: Tensor) -> Diagonal:
        """p(z_1 | z_2)."""
        mean = self.down(z)
        return gaussian(mean, torch.full_like(mean[0], self.noise))

    def expected(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """kl/0 and kl/1 of the means of z_1, (B, Z_1), in closed form, (B,) each."""
        first, second = self.first(), self.second()
        w, u = self.up.weight, self.down.weight
        rest = torch.eye(self.widths[0], dtype=w.dtype, device=w.device) - u @ w
        spread = (rest.square() @ first).sum() + (u.square() @ second).sum()
        off = (mean @ rest.T).square().sum(-1) + spread
        lower = 0.5 * (off / self.noise + self.widths[0] * (math.log(self.noise) - 1) - first.log().sum())
        moved = (mean @ w.T).square().sum(-1) + (w.square() @ first).sum()
        return lower, 0.5 * (moved + (second - 1 - second.log()).sum())

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Infer z_1 from the means, (B, Z_1), and z_2 from z_1."""
        q = gaussian(h, self.first())
        if not samples:
            lower, upper = self.expected(h)
            return Code(q.rsample() if self.training else h, {"kl/0": lower, "kl/1": upper}, q)
        z = q.rsample(samples)
        above = gaussian(self.up(z), self.second())
        top = above.rsample()
        costs = {"kl/0": ratio(z, q, self.below(top)), "kl/1": ratio(top, above, self.top.standard())}
        return Code(z, costs, q)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes z_1 from the prior, the upper level first, (n, Z_1)."""
        return Code(self.below(self.top.sample(n).z).sample())
