"""The balanced cross-entropy of a graph's edges, with the rate."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Autoencoder, Pass
from narrows.likelihoods.edges import Edges
from narrows.objectives.elbo import Elbo

__all__ = ["BalancedEdges"]


class BalancedEdges(Elbo):
    """The objective of the published graph autoencoders: edges have the same total weight as non-edges.

    It is `narrows.likelihoods.edges.Edges.balanced` plus beta times the rate. The likelihood is unchanged, so
    scores and the audit are in nats for every objective.

    Args:
        beta: weight of the KL divergence, a schedule; 1 in the paper.

    Reference:
        Kipf and Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The balanced cross-entropy, (*samples, B)."""
        likelihood = model.likelihood
        assert isinstance(likelihood, Edges)
        return likelihood.balanced(passed.output, passed.batch.target, passed.weight)
