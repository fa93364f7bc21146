"""The continuous Bernoulli likelihood of values between 0 and 1."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import ContinuousBernoulli as Distribution

from narrows.core import Likelihood

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    r"""Independent densities on [0, 1] that are exponential in x, with logits l from the decoder.

    .. math:: p(x \mid l) = \frac{l}{e^l - 1}\, e^{l x}

    The binary cross-entropy with the constant that it lacks as a density of real values.

    Args:
        shape: shape of one target.

    Example:
        >>> ContinuousBernoulli((1,)).nll(torch.zeros(1, 1), torch.tensor([[0.3]])).abs() < 1e-6
        tensor([True])

    Reference:
        Loaiza-Ganem and Cunningham, The Continuous Bernoulli: Fixing a Pervasive Error in Variational
        Autoencoders, 2019. arXiv:1907.06845
    """

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p of the target, (*samples, B)."""
        return self.sum(-self._over(parameters).log_prob(x), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The means, 1 / (1 - e^-l) - 1 / l."""
        return self._over(parameters).mean

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return self._over(parameters).sample()

    @staticmethod
    def _over(logits: Tensor) -> Distribution:
        return Distribution(logits=logits, validate_args=False)
