"""The variational graph autoencoder."""

from __future__ import annotations

from torch import nn

from narrows.bottlenecks.structured.nodes import NodeGaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.structured._graphs import graph_autoencoder

__all__ = ["vgae"]


def vgae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    form: str = "paper",
    beta: Schedule = 1.0,
    encoder: str | nn.Module = "gcn",
) -> Autoencoder:
    r"""A VAE of a graph: a Gaussian code for each node, and edges between nodes with similar codes.

    .. math:: q(z_i \mid X, A) = N(\mu_i, \mathrm{diag}\,\sigma_i^2),\quad (\mu, \log \sigma^2) = \mathrm{GCN}(X, A),
              \qquad p(A_{ij} = 1 \mid z) = \mathrm{sigmoid}(z_i \cdot z_j)

    Non-edges whose nodes have means with a large inner product are the predicted edges. Probabilities are not
    calibrated with balanced edges: they are far too high, as if half of all pairs were edges. Train on the
    bound for a density.

    Args:
        spec: description of the graphs, or the numbers of nodes and of features of a node, (N, F).
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: data of another kind, or an argument out of range.

    Example:
        >>> model = vgae(Spec((5, 3), kind="graph"), latent=2).eval()
        >>> edges = torch.tensor([[[0, 1], [1, 2], [3, 4]]])
        >>> model.encode(Batch(torch.rand(1, 5, 3), edges, {"edges": edges})).z.shape
        torch.Size([1, 5, 2])

    Reference:
        Kipf, Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """
    spec = as_spec(spec, "graph")
    bottleneck = NodeGaussian(latent, spec.shape[0])
    return graph_autoencoder(spec, bottleneck, latent=latent, encoder=encoder, form=form, beta=beta)
