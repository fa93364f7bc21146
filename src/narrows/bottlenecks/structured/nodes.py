"""Codes of the nodes of a graph: one Gaussian per node, or the features themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.bottlenecks.gaussian.diagonal import Gaussian, draw, kl, normal
from narrows.bottlenecks.variational import ratio
from narrows.core import Code, Tree
from narrows.core.check import whole
from narrows.core.evidence import Elements
from narrows.core.values import NO_CONDITION, Condition

__all__ = ["NodeGaussian", "NodeIdentity"]


class NodeGaussian(Gaussian):
    r"""A diagonal Gaussian posterior for each node, with the prior N(0, I).

    .. math:: q(Z \mid X, A) = \prod_i N(z_i;\, \mu_i, \mathrm{diag}\,\sigma_i^2),\qquad
              \mathrm{kl} = \sum_i \mathrm{KL}(q(z_i)\,\|\,N(0, I))

    Features are (B, N, 2Z) with the mask of existing nodes (B, N). The sum is over existing nodes; the code
    of the others is 0.

    Args:
        latent: width of a node's code, Z.
        nodes: number of nodes of a graph drawn from the prior, N.

    Example:
        >>> mask = torch.tensor([[True, True, False]])
        >>> code = NodeGaussian(2, nodes=3)((torch.ones(1, 3, 4), mask), samples=(5,))
        >>> code.z.shape, code.costs["kl"].shape
        (torch.Size([5, 1, 3, 2]), torch.Size([5, 1]))

    Reference:
        Kipf and Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """

    def __init__(self, latent: int, nodes: int) -> None:
        super().__init__(latent)
        self.nodes = whole("nodes", nodes)

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw the codes of the existing nodes."""
        features, mask = h
        exists = mask.unsqueeze(-1)
        # The posterior of a missing node is the prior.
        q, p = normal(torch.where(exists, features, 0.0)), self.standard()
        z = draw(q, samples, mean=not self.training)
        nats = ratio(z, q, p) if samples else kl(q)
        return Code(torch.where(exists, z, 0.0), {"kl": nats.sum(-1)}, q, p, evidence=(Elements(mask),))

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw the codes of n graphs from the prior, (n, N, Z)."""
        p = self.standard()
        return Code(p.sample((n, self.nodes)), p=p)


class NodeIdentity(Identity):
    """The code of a node is its features; that of a missing node is 0.

    Example:
        >>> NodeIdentity()((torch.ones(1, 2, 3), torch.tensor([[True, False]]))).z
        tensor([[[1., 1., 1.],
                 [0., 0., 0.]]])
    """

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Return the features (B, N, Z) of the existing nodes."""
        features, mask = h
        z: Tensor = torch.where(mask.unsqueeze(-1), features, 0.0)
        return Code(z.expand(*samples, *z.shape), evidence=(Elements(mask),))
