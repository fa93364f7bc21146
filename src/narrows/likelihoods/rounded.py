"""Values that were rounded to equal steps."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Likelihood
from narrows.core.check import whole

__all__ = ["Rounded"]


class Rounded(Likelihood):
    r"""p(x | y) of values that are y rounded to one of several levels from 0 to 1.

    .. math:: -\log p(x \mid y) = 0 \text{ where } |x - y| \le \tfrac{w}{2},\qquad w = \frac{1}{\text{levels} - 1}

    Elsewhere the probability is 0; instead of infinity `nll` is there the distance beyond w/2 in units of w.

    Args:
        shape: shape of one target.
        levels: number of levels; 0 for real numbers, which are not rounded (w is 0, and the unit is 1).

    Example:
        >>> p = Rounded((2,), levels=5)
        >>> p.mean(torch.tensor([[0.3, 0.9]])), p.nll(torch.tensor([[0.3, 0.9]]), torch.tensor([[0.25, 1.0]]))
        (tensor([[0.2500, 1.0000]]), tensor([0.]))
    """

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape)
        self.levels = whole("levels", levels, low=0)

    @property
    def step(self) -> float:
        """w."""
        return 1 / (self.levels - 1) if self.levels else 0.0

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The distances beyond half a step, (*samples, B, *shape); 0 for exact codes."""
        beyond = ((x - parameters).abs() - (0.5 + 1e-3) * self.step).relu()
        return beyond / (self.step or 1.0)

    def mean(self, parameters: Tensor) -> Tensor:
        """The nearest levels."""
        if not self.levels:
            return parameters
        return (parameters / self.step).round().clamp(0, self.levels - 1) * self.step

    def sample(self, parameters: Tensor) -> Tensor:
        """As `mean`: nothing is left to draw."""
        return self.mean(parameters)
