"""A toy causal language model with known features, of any width: for tests, and for proofs that run in seconds.

Its weights are random, not trained. Its activations are sparse combinations of features, and its logits depend only on
small features in a few directions, so that it matters which features a code keeps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import seeded
from narrows.core.check import whole

__all__ = ["Output", "Toy", "generate"]


class Output(NamedTuple):
    """The output of a causal language model."""

    logits: Tensor


class _Block(nn.Module):
    """``h + ReLU(h V') V`` with V in the span of the directions that the head reads."""

    def __init__(self, read: Tensor) -> None:
        super().__init__()
        rank, width = read.shape
        enter, leave = nn.Linear(width, 2 * rank), nn.Linear(2 * rank, width, bias=False)
        enter.weight.data.copy_(torch.randn(2 * rank, rank) / rank**0.5 @ read)
        leave.weight.data.copy_(read.T @ torch.randn(rank, 2 * rank) / (2 * rank) ** 0.5)
        self.mlp = nn.Sequential(enter, nn.ReLU(), leave)

    def forward(self, h: Tensor) -> Tensor:
        """The residual stream after this block, (B, T, D)."""
        return h + self.mlp(h)


class Toy(nn.Module):
    r"""Logits from a token and the one before it, through two blocks: ``resid.0`` and ``resid.1``.

    .. math:: h_t = E_{x_t} + P_{x_{t-1}}, \qquad \mathrm{logits} = G\, U\, \mathrm{blocks}(h_t)

    Features are orthogonal directions of h. The logits depend on a quarter of them, U. A row of E and of P is the sum
    of two features outside U, of length 0.5 to 1.5, and of one inside U, of 0.3 times such a length. The weights are
    frozen, and the same for the same seed.

    Args:
        width: D.
        vocabulary: V, the number of tokens.
        seed: of the weights.

    Example:
        >>> Toy(8, 32)(torch.tensor([[1, 2, 3]])).logits.shape
        torch.Size([1, 3, 32])
    """

    def __init__(self, width: int, vocabulary: int = 64, seed: int = 0) -> None:
        super().__init__()
        whole("width", width), whole("vocabulary", vocabulary)
        rank = max(1, width // 4)
        with seeded(seed):
            basis = torch.linalg.qr(torch.randn(width, width)).Q.T
            read, loud = basis[:rank], basis[rank:] if rank < width else basis
            quiet = 0.3 * read
            self.embed, self.before = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)
            for table in (self.embed, self.before):
                table.weight.data.copy_(_sums(loud, vocabulary, 2) + _sums(quiet, vocabulary, 1))
            self.blocks = nn.ModuleList([_Block(read) for _ in range(2)])
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight.data.copy_(10 * torch.randn(vocabulary, rank) / rank**0.5 @ read)
        self.requires_grad_(False)

    def forward(self, input_ids: Tensor) -> Output:
        """Logits (B, T, V) of tokens (B, T)."""
        last = F.pad(input_ids, (1, 0))[:, :-1]
        h = self.embed(input_ids) + self.before(last)
        for block in self.blocks:
            h = block(h)
        return Output(self.head(h))


def _sums(atoms: Tensor, rows: int, each: int) -> Tensor:
    """Sums of `each` random atoms for each row, with weights from 0.5 to 1.5, (rows, D)."""
    chosen = torch.rand(rows, len(atoms)).topk(min(each, len(atoms))).indices
    return (atoms[chosen] * (torch.rand(*chosen.shape, 1) + 0.5)).sum(1)


@torch.no_grad()
def generate(model: nn.Module, contexts: int, length: int, seed: int = 0) -> Tensor:
    """Sample token ids (contexts, length) from a model at temperature 1; each context begins with token 1.

    The whole context is read again for each token, so this suits small models only.

    Example:
        >>> generate(Toy(8, 32), 2, 5).shape
        torch.Size([2, 5])
    """
    tokens = torch.ones(contexts, 1, dtype=torch.long)
    with seeded(seed):
        while tokens.shape[1] < length:
            logits = model(tokens).logits
            drawn = torch.multinomial(logits[:, -1].softmax(-1), 1)
            tokens = torch.cat([tokens, drawn], 1)
    return tokens
