"""A causal transformer over the indices of a quantised code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Prior, Widths
from narrows.core.check import number, refuse, whole
from narrows.nets.axes import told
from narrows.nets.vit import TransformerBlocks

__all__ = ["Autoregressive", "keep_top"]


def keep_top(logits: Tensor, k: int) -> Tensor:
    """The k largest logits of each row; the others at -inf. All of them where k is 0.

    Example:
        >>> keep_top(torch.tensor([1.0, 3.0, 2.0]), 2)
        tensor([-inf, 3., 2.])
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    values, where = logits.topk(k)
    return torch.full_like(logits, -torch.inf).scatter(-1, where, values)


class Autoregressive(Prior):
    r"""Every index from those before it, and from a label where one is given.

    .. math:: p(k_1 \ldots k_L) = \prod_l p(k_l \mid k_1 \ldots k_{l-1}),\quad
              p(k_l \mid \cdot) = \mathrm{softmax}(W h_l)

    h_l is what the transformer makes of a start token, which carries the label, and k_1 to k_{l-1}.

    Args:
        codes: how many different indices there are, K.
        tokens: how many an example has, L.
        width: channels of the transformer.
        depth: its blocks.
        heads: its heads, a divisor of `width`.
        condition: what it is told, by name, and how many numbers each has.
        temperature: of `sample`: below 1 likely codes are drawn more often.
        top_k: of `sample`: only the k likeliest codes are drawn; all of them when 0.

    Raises:
        RequestError: a size or a temperature out of range.

    Example:
        >>> prior = Autoregressive(codes=16, tokens=9, width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017, section 3.3 (with a PixelCNN).
        arXiv:1711.00937. With a transformer: Esser et al., Taming Transformers, 2021. arXiv:2012.09841
    """

    def __init__(
        self,
        codes: int,
        tokens: int,
        *,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        condition: Widths = NO_WIDTHS,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> None:
        super().__init__()
        self.codes, self.tokens = whole("codes", codes), whole("tokens", tokens)
        self.condition = dict(condition)
        self.temperature, self.top_k = (
            number("temperature", temperature, low=1e-3),
            whole("top_k", top_k, low=0),
        )
        self.embed = nn.Embedding(codes, width)
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(tokens, width))
        told_width = sum(self.condition.values())
        self.tell = nn.Linear(told_width, width, bias=False) if told_width else None
        self.blocks = TransformerBlocks(width, depth, heads, causal=True)
        self.head = nn.Linear(width, codes)
        for weight in (self.embed.weight, self.start, self.place, self.head.weight):
            nn.init.normal_(weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.embed.requires_grad_(self.tokens > 1)  # nothing follows a single index

    def forward(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """The logits of every index from those before it: (B, L) -> (B, L, K)."""
        start = self._start(len(symbols), condition)[:, None]
        inputs = torch.cat([start, self.embed(symbols[:, :-1])], 1) + self.place
        return self.head(self.blocks(inputs))

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, L), in nats, (B,)."""
        logits = self(symbols, condition).transpose(1, 2)
        return F.cross_entropy(logits, symbols, reduction="none").sum(-1)

    @torch.no_grad()
    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """Draw n rows of indices, (n, L), one index after the other.

        Args:
            n: how many.
            condition: their labels, one-hot (n, G); drawn evenly where the prior wants labels and is told none.
        """
        drawn: list[Tensor] = []
        before: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        if not set(self.condition) <= set(condition):
            condition = {name: self._even(n, width) for name, width in self.condition.items()}
        inputs = self._start(n, condition)
        for place in self.place:
            h = self.blocks((inputs + place)[:, None], before)[:, 0]
            logits = keep_top(self.head(h) / self.temperature, self.top_k)
            drawn.append(torch.multinomial(logits.softmax(-1), 1).squeeze(1))
            inputs = self.embed(drawn[-1])
        return torch.stack(drawn, 1)

    def _even(self, n: int, width: int) -> Tensor:
        """One of the classes for each of n rows, one-hot, (n, width)."""
        return F.one_hot(torch.randint(width, (n,), device=self.start.device), width)

    def _start(self, n: int, condition: Condition) -> Tensor:
        """The first token, (n, width)."""
        start = self.start.expand(n, -1)
        if self.tell is None:
            return start
        more = told(condition, self.condition)
        assert more is not None
        if len(more) != n:
            raise refuse("condition", tuple(more.shape), f"{n} rows")
        return start + self.tell(more.to(start.dtype))
