"""p(edges | codes of the nodes): an undirected graph whose pairs are independent coins.

The sum over all pairs is taken in blocks of rows, value and gradient in one pass, so that no N x N matrix is kept.
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
"""Pairs of a block: they stay in a core's cache."""

_EVALUATED = 1 << 15
"""Nodes up to which every pair counts where nothing is trained."""

_DENSE = 1 << 14
"""Nodes up to which a matrix of all pairs is made where somebody asks for it."""


class _Terms(NamedTuple):
    """Of each graph, (G,): sums of cross-entropies, and how many edges and nodes there are."""

    joined: Tensor
    apart: Tensor
    own: Tensor
    edges: Tensor
    nodes: Tensor


class Edges(Likelihood):
    r"""Each pair of nodes is joined with probability sigmoid(z_i . z_j + b), on its own.

    .. math:: -\log p(A \mid z) = \sum_{i<j} \log(1 + e^{l_{ij}}) - \sum_{(i,j) \in E} l_{ij},\qquad
              l_{ij} = z_i \cdot z_j + b

    Inner products alone cannot all be far below 0, so that without the bias b a model expects about half of all pairs
    to be joined. That is no matter where pairs are only ranked; a density of a graph with few edges needs the bias.

    The parameters are (\*samples, B, N, Z + 1): the codes, and a last channel that is above 0 where there is a node.
    The target is (B, E, 2), the numbers of the nodes that are joined, each pair once, in either order; an entry that
    joins a node with itself is padding. In training on more than `exact` nodes, the sum over the pairs that are not
    joined is estimated, without bias, from `pairs` of them, drawn anew each step.

    Args:
        nodes: of the largest graph, N.
        latent: width of a node's code, Z.
        bias: learn b, from the log-odds of an edge in the first batch on; else it is 0.
        exact: nodes up to which every pair counts in training.
        pairs: how many pairs are drawn for a graph beyond that.

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
        """Set a bias that is learned to the log-odds of an edge."""
        if isinstance(self.bias, nn.Parameter):
            there = batch.condition.get("mask", batch.x.new_ones(batch.x.shape[:2], dtype=torch.bool))
            nodes = there.sum(-1)
            edges = entries(batch.target, batch.weight)[1].sum().clamp_min(1)
            others = (nodes * (nodes - 1) // 2).sum() - edges
            self.bias.copy_((edges / others.clamp_min(1)).log())

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """For each node its code, and whether it is there."""
        return (self.shape[0], self.latent + 1)

    def elements(self, x: Tree, weight: Tensor | None = None) -> Tensor:
        """How many edges each graph has, (B,)."""
        return entries(x, weight)[1].sum(-1).double()

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(edges | codes), (*samples, B); an entry of `x` (B, E, 2) counts where its weight is above 0."""
        found = self._terms(parameters, x, weight)
        return (found.joined + found.apart).unflatten(0, parameters.shape[:-2])

    def balanced(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        r"""The weighted cross-entropy that graph autoencoders were published with, times N^2, (\*samples, B).

        .. math:: \frac{N^2}{2 (N^2 - 2E)} \sum_{i,j} \left[ w\,(A + I)_{ij} \log(1 + e^{-l_{ij}})
                  + (1 - (A + I)_{ij}) \log(1 + e^{l_{ij}}) \right],\qquad w = \frac{N^2 - 2E}{2E}

        with l_ij = z_i . z_j + b: pairs count in both orders, each node is joined with itself, and the edges together
        weigh as much as what is no edge. The paper takes the mean over the N^2 pairs, and adds the mean divergence of
        a node over N; times N^2 that is this sum and the divergence of all nodes, each with the weight 1. It is the
        negative log of no density: with a rate it bounds nothing.
        """
        found = self._terms(parameters, x, weight)
        pairs, ones = found.nodes.square(), (2 * found.edges).clamp_min(1)
        inverse = (pairs - ones) / ones
        both = inverse * (2 * found.joined + found.own) + 2 * found.apart
        return (pairs / (2 * (pairs - ones)) * both).unflatten(0, parameters.shape[:-2])

    def _terms(self, parameters: Tensor, x: Tensor, weight: Tensor | None) -> _Terms:
        """The cross-entropy of the pairs that are joined, of the others, and of each node with itself."""
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
        """The sum over the pairs that are not joined, from some of them, (G,)."""
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
            RequestError: there are so many nodes that nobody wants this matrix.
        """
        nodes = parameters.shape[-2]
        if nodes > _DENSE:
            fix = "Take the codes (``narrows encode``) and the inner products of the pairs that you need."
            raise refuse("nodes", nodes, f"at most {_DENSE} for a matrix of all pairs", fix)
        z, present = split(parameters)
        there = present.unsqueeze(-1) & present.unsqueeze(-2)
        there = there & ~torch.eye(nodes, dtype=torch.bool, device=z.device)
        return torch.where(there, torch.sigmoid(z @ z.transpose(-1, -2) + self.bias), 0.0)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of the adjacency matrix, (*samples, B, N, N)."""
        drawn = torch.bernoulli(self.mean(parameters)).triu(1)
        return drawn + drawn.transpose(-1, -2)


def split(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (..., N, Z), 0 where there is no node, and where there is one (..., N)."""
    present = parameters[..., -1] > 0
    return torch.where(present.unsqueeze(-1), parameters[..., :-1], 0.0), present


def entries(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pairs of a target (B, E, 2), with 0 for what does not count, and which do (B, E)."""
    if weight is None:
        return x, x[..., 0] != x[..., 1]
    there = (weight if weight.dim() == 2 else weight[..., 0]) > 0
    x = torch.where(there.unsqueeze(-1), x, 0)
    return x, x[..., 0] != x[..., 1]


def dots(z: Tensor, pairs: Tensor) -> Tensor:
    """z_i . z_j of some pairs of each graph, (G, N, Z) and (G, M, 2) -> (G, M)."""
    graphs, nodes, width = z.shape
    rows = pairs + nodes * torch.arange(graphs, device=z.device).view(-1, 1, 1)
    flat = z.reshape(-1, width)
    one, other = (flat.index_select(0, rows[..., side].flatten()) for side in (0, 1))
    return (one * other).sum(-1).view(graphs, -1)


def non_edges(present: Tensor, edges: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Pairs of nodes that are not joined, drawn evenly, (M, 2): M is `count` less the draws that hit anything else.

    Args:
        present: which nodes are there, (N,).
        edges: the pairs that are joined, (E, 2).
        count: how many pairs are drawn.
        generator: of the draws; torch's own when None.
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
    """One number for each pair, whatever its order, (M, 2) -> (M,)."""
    return pairs.amin(-1) * nodes + pairs.amax(-1)


def pair_sum(z: Tensor, present: Tensor, bias: Tensor) -> Tensor:
    r"""The sum of log(1 + exp(z_i . z_j + b)) over all pairs i < j of nodes that are there.

    Args:
        z: codes, (G, N, Z), finite everywhere.
        present: which nodes are there, (G, N).
        bias: b, a scalar.

    Returns:
        (G,). Memory grows with N, not with N^2: the gradient is made together with the value.

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
    """The sum (G,) in float64 and, where they are wanted, its gradients by z (G, N, Z) and by b (G,)."""
    graphs, nodes, _ = z.shape
    # The inner product of these two is z_i . z_j + b, far below 0 where one of the two nodes is absent.
    absent, one = torch.where(present, 0.0, _ABSENT).to(z.dtype).unsqueeze(-1), z.new_ones(graphs, nodes, 1)
    left, right = torch.cat([z, absent, one], -1), torch.cat([z, one, absent + bias], -1).transpose(1, 2)
    total = z.new_zeros(graphs, dtype=torch.float64)
    by_z, by_bias = torch.zeros_like(z), torch.zeros_like(total)
    rows = max(1, min(nodes, _BLOCK // nodes))
    some = max(1, _BLOCK // (rows * nodes))  # several graphs at once where they are small
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
