"""The bound of a recurrent model, its distortion taken from the way on which the code was inferred."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.structured.stepwise import Walked
from narrows.core import Autoencoder, Pass
from narrows.likelihoods.recurrent import Recurrent
from narrows.objectives.elbo import Elbo

__all__ = ["StepwiseElbo"]


class StepwiseElbo(Elbo):
    """`Elbo` of a `Stepwise` code and a `Recurrent` likelihood, at half the time.

    The bottleneck has read the true steps to infer the latents, and the likelihood's `nll` would read them again, to
    the same numbers.

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
