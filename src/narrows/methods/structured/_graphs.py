"""Common parts of graph autoencoders: a graph network, codes of nodes, inner-product edge logits."""

from __future__ import annotations

from torch import nn

from narrows.bottlenecks.structured.nodes import NodeGaussian, NodeIdentity
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.likelihoods.edges import Edges
from narrows.nets.graph import GRAPH_NETS, WithPresence
from narrows.objectives.edges import BalancedEdges
from narrows.objectives.elbo import Elbo

__all__ = ["PUBLISHED", "graph_autoencoder"]

PUBLISHED = {"steps": 200, "lr": 0.01}
"""The paper's training budget for one graph."""


def graph_autoencoder(
    spec: Spec,
    bottleneck: NodeGaussian | NodeIdentity,
    *,
    latent: int,
    encoder: str | nn.Module,
    form: str,
    beta: Schedule = 1.0,
) -> Autoencoder:
    """An autoencoder with a code for each node, and inner products as the logits of the edges.

    Args:
        spec: description of the graphs, (N, F).
        bottleneck: bottleneck of the nodes.
        latent: width of a node's code, Z.
        encoder: a text of `GRAPH_NETS`, or a network.
        form: ``paper``, for balanced edges, or ``bound``, with a bias of the edges.
        beta: weight of the rate.
    """
    out = 2 * latent if isinstance(bottleneck, NodeGaussian) else latent
    network = GRAPH_NETS.make(encoder, shape=spec.shape, out=out)
    balanced = choice("form", form, ("paper", "bound")) == "paper"
    objective = BalancedEdges(beta=beta) if balanced else Elbo(beta=beta)
    output = Edges(spec.shape[0], latent, bias=not balanced)
    model = Autoencoder(network, bottleneck, WithPresence(), output, objective)
    model.default_plan = PUBLISHED
    return model
