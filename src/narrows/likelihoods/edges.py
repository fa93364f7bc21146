"""p(edges | codes of the nodes): an undirected graph with independent edges.

Sums over all pairs are computed in blocks of rows, value and gradient in one pass, without an N x N matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from narrows.core import Autoencoder, Batch, Likelihood, Tree
from narrows.core.check import refuse, whole

__all__ = ["Edges", "pair_sum"]

_ABSENT = -1e9
"""A logit whose probability and gradient are exactly 0."""

_BLOCK = 1 << 18
"""Pairs of a block, which fit in a core's cache."""

_EVALUATED = 1 << 15
"""The number of nodes up to which all pairs are evaluated outside training."""

_DENSE = 1 << 14
"""The number of nodes up to which a matrix of all pairs is computed on request."""


class _Terms(NamedTuple):
    """For each graph, (G,): sums of cross-entropies, and the numbers of edges and nodes."""

    joined: Tensor
    apart: Tensor
    own: Tensor
    edges: Tensor
    nodes: Tensor


class Edges(Likelihood):
    r"""Independent edges: nodes i and j are connected with probability sigmoid(z_i . z_j + b).

    .. math:: -\log p(A \mid z) = \sum_{i<j} \log(1 + e^{l_{ij}}) - \sum_{(i,j) \in E} l_{ij},\qquad
              l_{ij} = z_i \cdot z_j + b

    Inner products alone cannot all be far below 0, so without the bias b a model expects about half of all
    pairs to be edges. This does not matter if pairs are only ranked; the density of a sparse graph needs the
    bias.

    The parameters are (\*samples, B, N, Z + 1): the codes, and a last channel that is above 0 where a node
    exists. The target is (B, E, 2), the node indices of each edge, each edge once, in either order;
    self-loops are padding. In training with more than `exact` nodes, the sum over the non-edges is estimated,
    without bias, from `pairs` of them, drawn at each step.

    Args:
        nodes: nodes of the largest graph, N.
        latent: width of a node's code, Z.
        bias: learn b, initialised with the log-odds of an edge in the first batch; else it is 0.
        exact: the number of nodes up to which all pairs are evaluated in training.
        pairs: the number of pairs drawn for a larger graph.

    Raises:
        RequestError: a number out of range.

    Example:
        >>> z = torch.tensor([[[2.0, 1.0], [3.0, 1.0]]])
        >>> Edges(2, 1).nll(z, torch.tensor([[[0, 1]]]))  # log(1 + e^-6)
        tensor([0.0025])

    Reference:
        Kipf and Welling, Variational Graph Auto-Encoders, 2016. arXiv:1611.07308
    """

    bias: Tensor

    element = "edge"

    def __init__(
        self, nodes: int, latent: int, *, bias: bool = False, exact: int = 4096, pairs: int = 1 << 18
    ) -> None:
        nodes = whole("nodes", nodes, low=2)
        super().__init__((nodes, nodes))
        self.latent = whole("latent", latent)
        self.exact, self.pairs = whole("exact", exact, low=0), whole("pairs", pairs)
        if bias:
            self.bias = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("bias", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise a learned bias with the log-odds of an edge."""
        if isinstance(self.bias, nn.Parameter):
            exists = batch.condition.get("mask", batch.x.new_ones(batch.x.shape[:2], dtype=torch.bool))
            nodes = exists.sum(-1)
            edges = entries(batch.target, batch.weight)[1].sum().clamp_min(1)
            others = (nodes * (nodes - 1) // 2).sum() - edges
            self.bias.copy_((edges / others.clamp_min(1)).log())

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The code of each node, and whether it exists."""
        return (self.shape[0], self.latent + 1)

    def elements(self, x: Tree, weight: Tensor | None = None) -> Tensor:
        """The number of edges of each graph, (B,)."""
        return entries(x, weight)[1].sum(-1).double()

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(edges | codes), (*samples, B); an edge of `x` (B, E, 2) counts if its weight is above 0."""
        found = self._terms(parameters, x, weight)
        return (found.joined + found.apart).unflatten(0, parameters.shape[:-2])

    def balanced(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        r"""The weighted cross-entropy of the published graph autoencoders, times N^2, (\*samples, B).

        .. math:: \frac{N^2}{2 (N^2 - 2E)} \sum_{i,j} \left[ w\,(A + I)_{ij} \log(1 + e^{-l_{ij}})
                  + (1 - (A + I)_{ij}) \log(1 + e^{l_{ij}}) \right],\qquad w = \frac{N^2 - 2E}{2E}

        with l_ij = z_i . z_j + b: pairs count in both orders, each node has a self-loop, and edges have the
        same total weight as non-edges. The paper takes the mean over the N^2 pairs, and adds the mean KL
        divergence of a node over N; times N^2 that is this sum and the KL divergence of all nodes, each with
        weight 1. It is not a negative log-density, so it does not give a bound on the likelihood.
        """
        found = self._terms(parameters, x, weight)
        pairs, ones = found.nodes.square(), (2 * found.edges).clamp_min(1)
        inverse = (pairs - ones) / ones
        both = inverse * (2 * found.joined + found.own) + 2 * found.apart
        return (pairs / (2 * (pairs - ones)) * both).unflatten(0, parameters.shape[:-2])

    def _terms(self, parameters: Tensor, x: Tensor, weight: Tensor | None) -> _Terms:
        """The cross-entropies of the edges, of the non-edges, and of the self-loops."""
        z, present = split(parameters.flatten(0, -3))
        copies = len(z) // len(x)
        edges, counts = (t.repeat(copies, *[1] * (t.dim() - 1)) for t in entries(x, weight))
        counts = counts & present.gather(1, edges[..., 0]) & present.gather(1, edges[..., 1])
        logits = dots(z, edges) + self.bias
        joined = torch.where(counts, F.softplus(-logits), 0.0).sum(-1)
        if z.shape[1] <= (self.exact if self.training else max(self.exact, _EVALUATED)):
            apart = pair_sum(z, present, self.bias) - torch.where(counts, F.softplus(logits), 0.0).sum(-1)
        else:
            apart = self._estimate(z, present, edges, counts)
        own = torch.where(present, F.softplus(-z.square().sum(-1) - self.bias), 0.0).sum(-1)
        return _Terms(joined, apart, own, counts.sum(-1).to(z.dtype), present.sum(-1).to(z.dtype))

    def _estimate(self, z: Tensor, present: Tensor, edges: Tensor, counts: Tensor) -> Tensor:
        """The sum over the non-edges, estimated from some of them, (G,)."""
        generator = None if self.training else torch.Generator(z.device).manual_seed(0)
        found = []
        for one, here, ends, count in zip(z, present, edges, counts, strict=True):
            drawn = non_edges(here, ends[count], self.pairs, generator)
            nodes = int(here.sum())
            others = nodes * (nodes - 1) // 2 - int(count.sum())
            logits = dots(one.unsqueeze(0), drawn.unsqueeze(0)) + self.bias
            found.append(F.softplus(logits).sum() * (others / max(1, len(drawn))))
        return torch.stack(found)

    def logits(self, parameters: Tensor, pairs: Tensor) -> Tensor:
        """The log-odds of some pairs, (*samples, B, N, Z + 1) and (B, M, 2) -> (*samples, B, M)."""
        lead = parameters.shape[:-2]
        z, _ = split(parameters.flatten(0, -3))
        return (dots(z, pairs.repeat(len(z) // len(pairs), 1, 1)) + self.bias).unflatten(0, lead)

    def mean(self, parameters: Tensor) -> Tensor:
        """The probability of each edge, (*samples, B, N, N), symmetric, with 0 on the diagonal.

        Raises:
            RequestError: there are too many nodes for this matrix.
        """
        nodes = parameters.shape[-2]
        if nodes > _DENSE:
            fix = "Take the codes (``narrows encode``) and the inner products of the pairs that you need."
            raise refuse("nodes", nodes, f"at most {_DENSE} for a matrix of all pairs", fix)
        z, present = split(parameters)
        exists = present.unsqueeze(-1) & present.unsqueeze(-2)
        exists = exists & ~torch.eye(nodes, dtype=torch.bool, device=z.device)
        return torch.where(exists, torch.sigmoid(z @ z.transpose(-1, -2) + self.bias), 0.0)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of the adjacency matrix, (*samples, B, N, N)."""
        drawn = torch.bernoulli(self.mean(parameters)).triu(1)
        return drawn + drawn.transpose(-1, -2)


def split(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (..., N, Z), 0 for missing nodes, and the mask of existing nodes (..., N)."""
    present = parameters[..., -1] > 0
    return torch.where(present.unsqueeze(-1), parameters[..., :-1], 0.0), present


def entries(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The edges of a target (B, E, 2), 0 for padding, and their mask (B, E)."""
    if weight is None:
        return x, x[..., 0] != x[..., 1]
    exists = (weight if weight.dim() == 2 else weight[..., 0]) > 0
    x = torch.where(exists.unsqueeze(-1), x, 0)
    return x, x[..., 0] != x[..., 1]


def dots(z: Tensor, pairs: Tensor) -> Tensor:
    """z_i . z_j for some pairs of each graph, (G, N, Z) and (G, M, 2) -> (G, M)."""
    graphs, nodes, width = z.shape
    rows = pairs + nodes * torch.arange(graphs, device=z.device).view(-1, 1, 1)
    flat = z.reshape(-1, width)
    one, other = (flat.index_select(0, rows[..., side].flatten()) for side in (0, 1))
    return (one * other).sum(-1).view(graphs, -1)


def non_edges(present: Tensor, edges: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Pairs of nodes without an edge, drawn uniformly, (M, 2): M is `count` minus the rejected draws.

    Args:
        present: mask of the existing nodes, (N,).
        edges: the edges, (E, 2).
        count: the number of draws.
        generator: the random generator; torch's default if None.
    """
    nodes = len(present)
    drawn = torch.randint(nodes, (count, 2), generator=generator, device=present.device)
    taken = keys(edges, nodes).sort().values
    found = keys(drawn, nodes)
    apart = drawn[:, 0] != drawn[:, 1]
    if len(taken):
        at = torch.searchsorted(taken, found).clamp_max(len(taken) - 1)
        apart = apart & (taken[at] != found)
    return drawn[apart & present[drawn].all(-1)]


def keys(pairs: Tensor, nodes: int) -> Tensor:
    """A number that identifies each unordered pair, (M, 2) -> (M,)."""
    return pairs.amin(-1) * nodes + pairs.amax(-1)


def pair_sum(z: Tensor, present: Tensor, bias: Tensor) -> Tensor:
    r"""The sum of log(1 + exp(z_i . z_j + b)) over all pairs i < j of existing nodes.

    Args:
        z: codes, (G, N, Z), finite everywhere.
        present: mask of the existing nodes, (G, N).
        bias: b, a scalar.

    Returns:
        (G,). Memory grows with N, not with N^2: the gradient is computed together with the value.

    Example:
        >>> pair_sum(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool), torch.zeros(()))  # 3 log 2
        tensor([2.0794])
    """
    total: Tensor = _PairSum.apply(z, present, bias)
    return total


class _PairSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, present: Tensor, bias: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[2]
        with torch.autocast(z.device.type, enabled=False):
            exact = z if z.dtype == torch.float64 else z.float()
            total, by_z, by_bias = _summed(exact, present, bias, wanted)
        if wanted:
            ctx.save_for_backward(by_z.to(z.dtype), by_bias.to(bias.dtype))
        return total.to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, Tensor]:
        by_z, by_bias = ctx.saved_tensors
        return outer.view(-1, 1, 1) * by_z, None, (outer * by_bias).sum()


def _summed(z: Tensor, present: Tensor, bias: Tensor, wanted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The sum (G,) in float64 and, if `wanted`, its gradients with respect to z (G, N, Z) and b (G,)."""
    graphs, nodes, _ = z.shape
    # The inner product of these two is z_i . z_j + b, far below 0 if one of the two nodes is missing.
    absent, one = torch.where(present, 0.0, _ABSENT).to(z.dtype).unsqueeze(-1), z.new_ones(graphs, nodes, 1)
    left, right = torch.cat([z, absent, one], -1), torch.cat([z, one, absent + bias], -1).transpose(1, 2)
    total = z.new_zeros(graphs, dtype=torch.float64)
    by_z, by_bias = torch.zeros_like(z), torch.zeros_like(total)
    rows = max(1, min(nodes, _BLOCK // nodes))
    some = max(1, _BLOCK // (rows * nodes))  # several small graphs at once
    below = torch.ones(rows, rows, dtype=torch.bool, device=z.device).tril()
    for g in range(0, graphs, some):
        these = slice(g, g + some)
        for a in range(0, nodes, rows):
            b = min(a + rows, nodes)
            logits = left[these, a:b] @ right[these, :, a:]
            logits[:, :, : b - a].masked_fill_(below[: b - a, : b - a], _ABSENT)
            total[these] += F.softplus(logits).sum((1, 2))
            if wanted:
                p = logits.sigmoid_()
                by_bias[these] += p.sum((1, 2))
                by_z[these, a:b] += p @ z[these, a:]
                by_z[these, a:] += p.transpose(1, 2) @ z[these, a:b]
    return total, by_z, by_bias
