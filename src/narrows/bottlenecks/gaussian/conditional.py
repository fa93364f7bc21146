"""A Gaussian posterior whose prior is told what is given: p(z | y)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, cost, draw, kl, normal
from narrows.core import Code, Tree
from narrows.core.check import refuse, whole

__all__ = ["Conditional", "Told", "needed"]


def needed(given: Tree, width: int) -> Tensor:
    """Return what is given, (B, width), or refuse its absence.

    Raises:
        RequestError: nothing was given, or something of another width.
    """
    if not isinstance(given, Tensor) or given.shape[-1] != width:
        shape = tuple(given.shape) if isinstance(given, Tensor) else given
        fix = "This model is told labels: give one row an example, one-hot."
        raise refuse("given", shape, f"a tensor of {width} columns", fix)
    return given


class Told(nn.Module):
    """An encoder that hands what it was told on to the bottleneck, whose prior depends on it.

    Args:
        net: the encoder proper, ``(x, given) -> features``.
        width: columns of what is given, G.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, x: Tree, given: Tree = None) -> tuple[Tensor, Tensor]:
        """The features, and what was given, (B, G)."""
        given = needed(given, self.width)
        return self.net(x, given), given


class Conditional(Gaussian):
    r"""q(z | x, y) against a prior that is told y as well.

    .. math:: \mathrm{kl} = \mathrm{KL}(q(z|x,y)\,\|\,p(z|y))

    Args:
        latent: the width of the code, Z.
        given: width of y, G.
        learned: p(z | y) is a Gaussian whose mean and variance are linear in y (for one-hot y, one Gaussian a
            class); otherwise it is N(0, I) for every y.

    Raises:
        RequestError: a width below 1.

    Example:
        >>> bottleneck = Conditional(2, given=3)
        >>> bottleneck((torch.zeros(5, 4), torch.eye(3)[[0, 1, 2, 0, 1]])).costs["kl"].shape
        torch.Size([5])
        >>> bottleneck.draw(3, torch.eye(3)).z.shape
        torch.Size([3, 2])

    Reference:
        Sohn, Lee, Yan, Learning Structured Output Representation using Deep Conditional Generative Models, 2015.
    """

    def __init__(self, latent: int, given: int, learned: bool = True) -> None:
        super().__init__(latent)
        self.given = whole("given", given)
        self.net = nn.Linear(self.given, 2 * self.latent) if learned else None
        if self.net is not None:
            # Every class starts at N(0, I), so that only the data draw the priors apart.
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)

    def prior_of(self, given: Tree) -> Diagonal:
        """p(z | y) for each row of y, (B, G)."""
        given = needed(given, self.given)
        if self.net is None:
            return self.prior()
        return normal(self.net(given.to(self.net.weight.dtype)))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior that the features (B, 2Z) describe; h is (features, y)."""
        features, given = h
        q, p = normal(features), self.prior_of(given)
        z = draw(q, samples, mean=not self.training)
        return Code(z, {"kl": cost(z, q, p) if samples else kl(q, p)}, q, p)

    def draw(self, n: int, given: Tree = None) -> Code:
        """Draw n codes, (n, Z), one from p(z | y) of each of the n rows of y."""
        p = self.prior_of(given)
        if len(given) != n:
            raise refuse("given", tuple(given.shape), f"{n} rows, one for each code")
        return Code(p.expand(torch.Size([n])).sample(), p=p)

    def sample(self, n: int) -> Code:
        """Draw n codes without being told what of: only where every y has the same prior.

        Raises:
            RequestError: the prior depends on what is given.
        """
        if self.net is not None:
            needed(None, self.given)
        return super().sample(n)
