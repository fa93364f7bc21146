"""Graph networks: from node features and edges to node representations.

A batch is padded: x (B, N, F), edges (B, E, 2), each undirected edge once, and masks of nodes and edges.
    Messages are
gathered and summed along the edges of all graphs at once, without an N x N matrix.
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

__all__ = ["GCN", "GRAPH_NETS", "WithPresence", "node_mask"]


class GCN(nn.Module):
    r"""A graph convolutional network.

    .. math:: H_{l+1} = \mathrm{relu}(\hat A H_l W_l),\qquad \hat A = D^{-1/2} (A + I) D^{-1/2}

    with D the degrees of A + I and no relu after the last layer. H_0 holds the node features or the identity
    matrix. With the identity the network is specific to one graph and not equivariant under permutations of
    its nodes.

    Args:
        shape: nodes of the largest graph and features of a node, (N, F); F may be 0.
        out: width of the output of a node.
        hidden: widths of the hidden layers.
        features: H_0: the ``data`` of the nodes, the ``identity``, ``both`` concatenated, or ``auto``: the
            data if there are any, else the identity.

    Raises:
        RequestError: `features` needs node features that do not exist, or a width is below 1.

    Example:
        >>> net = GCN((5, 3), 4, hidden=(8,))
        >>> features, mask = net(torch.ones(2, 5, 3), {"edges": torch.tensor([[[0, 1]], [[1, 4]]])})
        >>> features.shape, mask.shape
        (torch.Size([2, 5, 4]), torch.Size([2, 5]))

    Reference:
        Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017.
        arXiv:1609.02907
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
            raise refuse("features", features, "`identity`, since these nodes have no features")
        self.reads = width > 0 and features != "identity"
        widths = (*(whole("hidden", n) for n in hidden), whole("out", out))
        self.first = nn.Parameter(glorot(width, widths[0])) if self.reads else None
        numbered = features in ("identity", "both") or not width
        self.numbers = nn.Parameter(glorot(nodes, widths[0])) if numbered else None
        self.others = nn.ParameterList([nn.Parameter(glorot(a, b)) for a, b in itertools.pairwise(widths)])

    def forward(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Representations of the nodes (B, N, out), and the mask of existing nodes (B, N)."""
        mask = node_mask(condition, x)
        propagate = Neighbours(condition["edges"], condition.get("edges_mask"), mask)
        parts = [] if self.first is None else [x @ self.first]
        if self.numbers is not None:
            parts.append(self.numbers[: x.shape[1]].expand(len(x), -1, -1))
        h = propagate(sum(parts[1:], parts[0]))
        for weight in self.others:
            h = propagate(torch.relu(h) @ weight)
        return h, mask


class Neighbours:
    """The normalised adjacency matrix D^-1/2 (A + I) D^-1/2 of a batch of graphs, as an operator.

    Args:
        edges: node indices, (B, E, 2).
        mask: mask of the existing edges, (B, E), or None for all; self-loops are ignored.
        nodes: mask of the existing nodes, (B, N).

    Example:
        >>> pair = Neighbours(torch.tensor([[[0, 1]]]), None, torch.ones(1, 2, dtype=torch.bool))
        >>> pair(torch.tensor([[[1.0], [3.0]]]))
        tensor([[[2.],
                 [2.]]])
    """

    def __init__(self, edges: Tensor, mask: Tensor | None, nodes: Tensor) -> None:
        batch, count = nodes.shape
        edges = edges if mask is None else torch.where(mask.unsqueeze(-1), edges, 0)
        valid = (
            (edges[..., 0] != edges[..., 1]) & nodes.gather(1, edges[..., 0]) & nodes.gather(1, edges[..., 1])
        )
        rows = edges + count * torch.arange(batch, device=nodes.device).view(-1, 1, 1)
        ends = rows[valid]  # (all edges, 2)
        self.source, self.target = torch.cat([ends[:, 0], ends[:, 1]]), torch.cat([ends[:, 1], ends[:, 0]])
        degree = torch.ones(batch * count, device=nodes.device).index_add_(
            0, self.target, torch.ones(len(self.target), device=nodes.device)
        )
        self.own = (1 / degree).unsqueeze(-1)
        self.weight = (degree[self.source] * degree[self.target]).rsqrt().unsqueeze(-1)

    def __call__(self, h: Tensor) -> Tensor:
        """The product with h for each graph, (B, N, H)."""
        flat = h.flatten(0, 1)
        messages = flat.index_select(0, self.source) * self.weight.to(h.dtype)
        return (flat * self.own.to(h.dtype)).index_add(0, self.target, messages).view_as(h)


class WithPresence(nn.Module):
    """A decoder without parameters: appends the node mask to the codes, for the likelihood of the edges.

    Example:
        >>> WithPresence()(torch.zeros(2, 5, 3), {}).shape
        torch.Size([2, 5, 4])
    """

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """(*samples, B, N, Z) -> (*samples, B, N, Z + 1)."""
        mask = node_mask(condition, z).to(z.dtype)
        return torch.cat([z, mask.expand(z.shape[:-1]).unsqueeze(-1)], -1)


def node_mask(condition: Condition, x: Tensor) -> Tensor:
    """The mask of existing nodes, (B, N): that of the condition, or all."""
    mask = condition.get("mask")
    return x.new_ones(x.shape[-3:-1], dtype=torch.bool) if mask is None else mask


def glorot(rows: int, columns: int) -> Tensor:
    """A weight with Glorot's uniform initialisation, (rows, columns)."""
    bound = math.sqrt(6 / (rows + columns))
    return torch.empty(rows, columns).uniform_(-bound, bound)


GRAPH_NETS: Table[nn.Module] = Table(
    "encoder", "torch.nn:Module", {"gcn": "narrows.nets.graph:GCN"}, supplied=("shape", "out")
)
"""The graph networks that a text can name: ``(x, condition) -> (features, mask of existing nodes)``."""
