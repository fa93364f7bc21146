"""Networks on graphs: from the data of the nodes and the edges to features of the nodes.

A batch is a padded record: x (B, N, F), edges (B, E, 2) once each in either order, and which nodes and which edges
are there. Messages are gathered and added along the edges of all graphs at once; there is no N x N matrix.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from narrows.core.check import choice, refuse, whole
from narrows.core.spelling import Table
from narrows.core.values import Condition

__all__ = ["GCN", "GRAPH_NETS", "WithPresence", "nodes_there"]


class GCN(nn.Module):
    r"""A graph convolutional network.

    .. math:: H_{l+1} = \mathrm{relu}(\hat A H_l W_l),\qquad \hat A = D^{-1/2} (A + I) D^{-1/2}

    with D the degrees of A + I and no relu after the last layer. H_0 holds the data of the nodes, or the unit matrix,
    which tells each node apart by its number: the network then belongs to one graph, and features do not follow a
    relabelling of its nodes.

    Args:
        shape: nodes of the largest graph and numbers of a node, (N, F); F may be 0.
        out: features of a node.
        hidden: widths of the hidden layers.
        features: what H_0 holds: the ``data`` of the nodes, the ``identity``, ``both`` side by side, or ``auto``, the
            data where there are any, else the identity.

    Raises:
        RequestError: nodes without data whose data are asked for, or a width below 1.

    Example:
        >>> net = GCN((5, 3), 4, hidden=(8,))
        >>> features, there = net(torch.ones(2, 5, 3), {"edges": torch.tensor([[[0, 1]], [[1, 4]]])})
        >>> features.shape, there.shape
        (torch.Size([2, 5, 4]), torch.Size([2, 5]))

    Reference:
        Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017. arXiv:1609.02907
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        out: int,
        hidden: tuple[int, ...] = (32,),
        features: Literal["auto", "data", "identity", "both"] = "auto",
    ) -> None:
        super().__init__()
        nodes, width = shape
        choice("features", features, ("auto", "data", "identity", "both"))
        if features in ("data", "both") and not width:
            raise refuse("features", features, "`identity`, for these nodes have no data")
        self.reads = width > 0 and features != "identity"
        widths = (*(whole("hidden", n) for n in hidden), whole("out", out))
        self.first = nn.Parameter(glorot(width, widths[0])) if self.reads else None
        numbered = features in ("identity", "both") or not width
        self.numbers = nn.Parameter(glorot(nodes, widths[0])) if numbered else None
        self.others = nn.ParameterList([nn.Parameter(glorot(a, b)) for a, b in itertools.pairwise(widths)])

    def forward(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Features of the nodes (B, N, out), and which nodes are there (B, N)."""
        there = nodes_there(condition, x)
        spread = Neighbours(condition["edges"], condition.get("edges_mask"), there)
        parts = [] if self.first is None else [x @ self.first]
        if self.numbers is not None:
            parts.append(self.numbers[: x.shape[1]].expand(len(x), -1, -1))
        h = spread(sum(parts[1:], parts[0]))
        for weight in self.others:
            h = spread(torch.relu(h) @ weight)
        return h, there


class Neighbours:
    """A^ of some graphs, to be multiplied with: D^-1/2 (A + I) D^-1/2.

    Args:
        edges: (B, E, 2).
        mask: which of them are there, (B, E), or None for all; an edge of a node with itself never counts.
        there: which nodes are there, (B, N).

    Example:
        >>> pair = Neighbours(torch.tensor([[[0, 1]]]), None, torch.ones(1, 2, dtype=torch.bool))
        >>> pair(torch.tensor([[[1.0], [3.0]]]))
        tensor([[[2.],
                 [2.]]])
    """

    def __init__(self, edges: Tensor, mask: Tensor | None, there: Tensor) -> None:
        batch, nodes = there.shape
        edges = edges if mask is None else torch.where(mask.unsqueeze(-1), edges, 0)
        known = (
            (edges[..., 0] != edges[..., 1]) & there.gather(1, edges[..., 0]) & there.gather(1, edges[..., 1])
        )
        rows = edges + nodes * torch.arange(batch, device=there.device).view(-1, 1, 1)
        ends = rows[known]  # (all edges, 2)
        self.source, self.target = torch.cat([ends[:, 0], ends[:, 1]]), torch.cat([ends[:, 1], ends[:, 0]])
        degree = torch.ones(batch * nodes, device=there.device).index_add_(
            0, self.target, torch.ones(len(self.target), device=there.device)
        )
        self.own = (1 / degree).unsqueeze(-1)
        self.weight = (degree[self.source] * degree[self.target]).rsqrt().unsqueeze(-1)

    def __call__(self, h: Tensor) -> Tensor:
        """A^ h of each graph, (B, N, H)."""
        flat = h.flatten(0, 1)
        messages = flat.index_select(0, self.source) * self.weight.to(h.dtype)
        return (flat * self.own.to(h.dtype)).index_add(0, self.target, messages).view_as(h)


class WithPresence(nn.Module):
    """The decoder that computes nothing: the codes, and whether there is a node, for the likelihood of the edges.

    Example:
        >>> WithPresence()(torch.zeros(2, 5, 3), {}).shape
        torch.Size([2, 5, 4])
    """

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """(*samples, B, N, Z) -> (*samples, B, N, Z + 1)."""
        there = nodes_there(condition, z).to(z.dtype)
        return torch.cat([z, there.expand(z.shape[:-1]).unsqueeze(-1)], -1)


def nodes_there(condition: Condition, x: Tensor) -> Tensor:
    """Which nodes are there, (B, N): the mask that comes with a batch, or all."""
    mask = condition.get("mask")
    return x.new_ones(x.shape[-3:-1], dtype=torch.bool) if mask is None else mask


def glorot(rows: int, columns: int) -> Tensor:
    """A weight from Glorot's uniform distribution, (rows, columns)."""
    bound = math.sqrt(6 / (rows + columns))
    return torch.empty(rows, columns).uniform_(-bound, bound)


GRAPH_NETS: Table[nn.Module] = Table(
    "encoder", "torch.nn:Module", {"gcn": "narrows.nets.graph:GCN"}, given=("shape", "out")
)
"""The networks on graphs, as ``encoder`` spells them: ``(x, condition) -> (features, which nodes are there)``."""
