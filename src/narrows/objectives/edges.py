"""The balanced cross-entropy of a graph's edges beside the rate."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Autoencoder, Pass
from narrows.likelihoods.edges import Edges
from narrows.objectives.elbo import Elbo

__all__ = ["BalancedEdges"]


class BalancedEdges(Elbo):
    """The objective that graph autoencoders were published with: edges together weigh as much as all non-edges.

    It is `narrows.likelihoods.edges.Edges.balanced` plus beta times the rate. The likelihood stays what it is, so
    that scores and the audit are in nats whatever a model was trained on.

    Args:
        beta: weight of the divergence, a schedule; 1 is the paper's.

    Reference:
        Kipf and Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The balanced cross-entropy, (*samples, B)."""
        likelihood = model.likelihood
        assert isinstance(likelihood, Edges)
        return likelihood.balanced(passed.output, passed.batch.target, passed.weight)
