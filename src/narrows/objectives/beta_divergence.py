"""The beta-divergence in place of -log p(x | z), for training rows with anomalies among them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Pass, Penalty
from narrows.core.check import number, refuse
from narrows.likelihoods import Gaussian

__all__ = ["BetaDivergence"]


class BetaDivergence(Penalty):
    r"""The beta-divergence (density power divergence) of each element from p(x | z), in place of -log p(x | z).

    .. math:: \sum_d \Big[ \frac{1 - p(x_d \mid z)^\beta}{\beta}
        + \frac{1}{1 + \beta} \int p(t \mid z)^{1 + \beta}\, dt \Big],\qquad
        \int N(t; m, v)^{1 + \beta}\, dt = (2 \pi v)^{-\beta / 2} (1 + \beta)^{-1/2}

    The gradient of an element is that of -log p times :math:`p^\beta`: elements with a small density have little
    weight. For beta to 0 it becomes -log p(x | z), plus 1. The unit is no nat. Scores of the trained model are
    -log p(x) as before.

    Args:
        beta: the power, above 0; the larger, the less outliers count.

    Raises:
        RequestError: a number not above 0, or a likelihood other than a Gaussian.

    Example:
        >>> BetaDivergence(0.1).weights  # of the nll, which is still shown
        {'distortion': 0.0}

    Reference:
        Basu et al., Robust and Efficient Estimation by Minimising a Density Power Divergence, 1998. Akrami et al.,
        A Robust Variational Autoencoder Using Beta Divergence, 2022. arXiv:2006.08204, where a density of all
        elements at once is raised to the power.
    """

    def __init__(self, beta: float = 0.1) -> None:
        super().__init__({"distortion": 0.0})
        if not number("beta", beta) > 0:
            raise refuse("beta", beta, "a power above 0")
        self.beta = float(beta)

    def check(self, model: Autoencoder) -> None:
        """Raise if the likelihood is no Gaussian, whose integral this is."""
        if not isinstance(model.likelihood, Gaussian):
            got = f"a beta-divergence with the likelihood {type(model.likelihood).__name__}"
            raise refuse("penalty", got, "one with ``likelihood='gaussian'``", "Or try ``penalty='trim'``.")

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The divergence of each example, (*samples, B), as the term ``beta_divergence``."""
        likelihood = model.likelihood
        assert isinstance(likelihood, Gaussian)
        _, log_variance = likelihood.split(passed.output)
        nll = likelihood.elements_nll(passed.output, passed.batch.target)
        integral = torch.exp(-0.5 * self.beta * (log_variance + math.log(2 * math.pi)))
        terms = -torch.expm1(-self.beta * nll) / self.beta + integral * (1 + self.beta) ** -1.5
        return {"beta_divergence": likelihood.sum(terms, passed.weight)}
