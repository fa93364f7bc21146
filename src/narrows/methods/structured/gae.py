"""The graph autoencoder."""

from __future__ import annotations

from torch import nn

from narrows.bottlenecks.structured.nodes import NodeIdentity
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import whole
from narrows.methods.structured._graphs import graph_autoencoder

__all__ = ["gae"]


def gae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    form: str = "paper",
    encoder: str | nn.Module = "gcn",
) -> Autoencoder:
    r"""An autoencoder of a graph: a code for each node, and edges between nodes with similar codes.

    .. math:: Z = \mathrm{GCN}(X, A),\qquad p(A_{ij} = 1 \mid z) = \mathrm{sigmoid}(z_i \cdot z_j)

    The VGAE without noise and prior: it predicts edges about as well, and cannot sample graphs.

    Args:
        spec: description of the graphs, or the numbers of nodes and of features of a node, (N, F).

    Raises:
        RequestError: data of another kind, or an argument out of range.

    Example:
        >>> model, edges = gae(Spec((5, 3), kind="graph"), latent=2), torch.tensor([[[0, 1], [3, 4]]])
        >>> code = model.encode(Batch(torch.rand(1, 5, 3), edges, {"edges": edges}))
        >>> code.z.shape, code.costs
        (torch.Size([1, 5, 2]), {})

    Reference:
        Kipf, Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """
    spec = as_spec(spec, "graph")
    return graph_autoencoder(spec, NodeIdentity(), latent=whole("latent", latent), encoder=encoder, form=form)
