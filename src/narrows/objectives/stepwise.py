"""The ELBO of a recurrent model, with the distortion computed from the states of the inference."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.structured.stepwise import Walked
from narrows.core import Autoencoder, Pass
from narrows.likelihoods.recurrent import Recurrent
from narrows.objectives.elbo import Elbo

__all__ = ["StepwiseElbo"]


class StepwiseElbo(Elbo):
    """`Elbo` of a `Stepwise` code and a `Recurrent` likelihood, at half the cost.

    The bottleneck has already unrolled the net over the true steps; the likelihood's `nll` would compute the
    same states again.

    Example:
        >>> StepwiseElbo(beta=0.5).weight("kl", 0)
        0.5
    """

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """-log p(target | z), (*samples, B)."""
        walked, likelihood = passed.code.find(Walked), model.likelihood
        if walked is None or not isinstance(likelihood, Recurrent):
            return super().distortion(model, passed)
        return likelihood.along(walked.path, passed.batch.target, passed.weight)
