"""A Gaussian posterior with a conditional prior p(z | y)."""

from __future__ import annotations

from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, draw, kl, normal
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Code, Condition, Tree, Widths
from narrows.core.check import refuse, whole
from narrows.nets.axes import condition_vector

__all__ = ["Conditional", "ConditionedEncoder"]


class ConditionedEncoder(nn.Module):
    """An encoder that also returns its condition, on which the bottleneck's prior depends.

    Args:
        net: the encoder, ``(x, condition) -> features``.
        condition: widths of the variables of the condition, by name; G in sum.
    """

    def __init__(self, net: nn.Module, condition: Widths) -> None:
        super().__init__()
        self.net, self.condition = net, dict(condition)

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> tuple[Tensor, Tensor]:
        """The features and the condition (B, G)."""
        y = condition_vector(condition, self.condition)
        assert y is not None  # __init__ requires a condition
        return self.net(x, condition), y


class Conditional(Gaussian):
    r"""q(z | x, y) with the conditional prior p(z | y).

    .. math:: \mathrm{kl} = \mathrm{KL}(q(z|x,y)\,\|\,p(z|y))

    Args:
        latent: the width of the code, Z.
        condition: widths of the variables that y consists of, by name; G in sum.
        learned: p(z | y) is a Gaussian whose mean and variance are linear in y (for one-hot y, one Gaussian a
            class); otherwise it is N(0, I) for every y.

    Raises:
        RequestError: there is no condition.

    Example:
        >>> bottleneck = Conditional(2, {"labels": 3})
        >>> bottleneck((torch.zeros(5, 4), torch.eye(3)[[0, 1, 2, 0, 1]])).costs["kl"].shape
        torch.Size([5])
        >>> bottleneck.sample(3, {"labels": torch.eye(3)}).z.shape
        torch.Size([3, 2])

    Reference:
        Sohn, Lee, Yan, Learning Structured Output Representation using Deep Conditional Generative Models,
        2015.
    """

    def __init__(self, latent: int, condition: Widths, learned: bool = True) -> None:
        super().__init__(latent)
        self.condition = dict(condition)
        width = whole("condition", sum(self.condition.values()))
        self.net = nn.Linear(width, 2 * self.latent) if learned else None
        if self.net is not None:
            # Initially p(z | y) = N(0, I) for every y.
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)

    def prior_of(self, y: Tensor) -> Diagonal:
        """p(z | y) for each row of y, (B, G)."""
        if self.net is None:
            return self.standard()
        return normal(self.net(y.to(self.net.weight.dtype)))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior that the features (B, 2Z) describe; h is (features, y)."""
        features, y = h
        q, p = normal(features), self.prior_of(y)
        z = draw(q, samples, mean=not self.training)
        return Code(z, {"kl": ratio(z, q, p) if samples else kl(q, p)}, q, p)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes, (n, Z), one from p(z | y) of each of the n rows of y.

        Raises:
            RequestError: the condition is missing, or has another number of rows.
        """
        if self.net is None:
            return super().sample(n)
        y = condition_vector(condition, self.condition)
        assert y is not None
        if len(y) != n:
            raise refuse("condition", tuple(y.shape), f"{n} rows, one for each code")
        return Code(self.prior_of(y).sample(), p=self.prior_of(y))
