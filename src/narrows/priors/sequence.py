"""A causal transformer over the tokens of a code, with a head that says what a token is."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.nets.vit import TransformerBlocks
from narrows.priors.indices import BUDGET
from narrows.priors.labels import LabelledPrior
from narrows.priors.samplers.ancestral import Choose, chooser

__all__ = ["Causal", "Head", "IndexSequence", "Sequence"]


class Causal(nn.Module):
    r"""A causal transformer, which reads tokens from a start token, that encodes the labels.

    .. math:: h_l = \mathrm{Blocks}(u_1 \ldots u_l),\quad u_1 = P_1 + s + T y,\quad u_l = P_l + \mathrm{embed}(x_{l-1})

    Args:
        tokens: number of tokens, L.
        embed: makes the map of tokens to (..., width).
        classes: number of classes G of the labels y, 0 for none.
        width: channels of the transformer, W.
        depth: number of blocks.
        heads: number of attention heads.

    Example:
        >>> net = Causal(5, lambda: nn.Linear(3, 8), classes=0, width=8, depth=1, heads=2)
        >>> net(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self, tokens: int, embed: Callable[[], nn.Module], *, classes: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(tokens, width))
        self.tell = nn.Linear(classes, width, bias=False) if classes else None
        self.embed = embed()
        self.blocks = TransformerBlocks(width, depth, heads, causal=True)
        self.embed.requires_grad_(tokens > 1)  # nothing follows a single token

    def initialise(self) -> None:
        """Draw embeddings from N(0, 0.02^2)."""
        for weight in (*(p for p in self.embed.parameters() if p.ndim > 1), self.start, self.place):
            nn.init.normal_(weight, std=0.02)

    def first(self, n: int, labels: Tensor | None) -> Tensor:
        """The start tokens of n rows, (n, W)."""
        start = self.start.expand(n, -1)
        return start if self.tell is None or labels is None else start + self.tell(labels.to(start.dtype))

    def inputs(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the blocks read: the start token and all tokens but the last, (B, L, ...) -> (B, L, W)."""
        start = self.first(len(tokens), labels)[:, None]
        return torch.cat([start, self.embed(tokens[:, :-1])], 1) + self.place

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is known of each token from those before it: (B, L, ...) -> (B, L, W)."""
        return self.blocks(self.inputs(tokens, labels))

    def generate(self, first: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Tokens (R, L, ...) one after another, with cached keys and values.

        Args:
            first: start tokens (R, W).
            draw: draws a token for each row, (R, ...), from h (R, W).
        """
        inputs, found = first, list[Tensor]()
        cache: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        for place in self.place:
            h = self.blocks((inputs + place)[:, None], cache)[:, 0]
            found.append(draw(h))
            inputs = self.embed(found[-1])
        return torch.stack(found, 1)


class Head(nn.Module):
    """The distribution of a token given h, the output of `Causal`. Subclasses also define `draw`."""

    def weights(self) -> list[Tensor]:
        """The weights that are drawn from N(0, 0.02^2)."""
        return []

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of tokens (B, L, ...) given h (B, L, W), in nats, (B, L) or (B, L, ...).

        Args:
            h: what is known of each token.
            tokens: the tokens.
            embed: how `Causal` reads a token; a head that draws a token part by part reads the parts so too.
        """
        raise NotImplementedError(f"{type(self).__name__} must define nll")


class Sequence(LabelledPrior):
    r"""A prior that draws one token after another.

    .. math:: p(x_1 \ldots x_L) = \prod_l p(x_l \mid h_l(x_1 \ldots x_{l-1}))

    Args:
        symbols: what a code is.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        tokens: number of tokens, L.
        embed: makes the map of tokens to (..., width).
        head: makes the head.
        width: channels of the transformer.
        depth: its blocks.
        heads: its attention heads.

    Raises:
        RequestError: the prior does not support the symbols, or the data have no labels.
    """

    head: Head

    def __init__(
        self,
        symbols: Symbols,
        classes: int,
        labels: bool,
        *,
        tokens: int,
        embed: Callable[[], nn.Module],
        head: Callable[[], Head],
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__(symbols, classes, labels)
        self.net = Causal(tokens, embed, classes=self.classes, width=width, depth=depth, heads=heads)
        self.head = head()
        self.net.initialise()
        for weight in self.head.weights():
            nn.init.normal_(weight, std=0.02)

    def arrange(self, symbols: Tensor) -> Tensor:
        """Symbols (B, *shape) as tokens (B, L, ...)."""
        return symbols

    def restore(self, tokens: Tensor) -> Tensor:
        """The inverse of `arrange`."""
        return tokens.reshape(-1, *self.symbols.shape)

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of symbols (B, *shape), in nats, (B,)."""
        return self.token_nll(symbols, condition).sum(-1)

    def token_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each token, or of its parts, given those before it, (B, T)."""
        tokens, labels = self.arrange(symbols), self.told(condition, len(symbols))
        return self.head.nll(self.net(tokens, labels), tokens, self.net.embed).flatten(1)

    def layers(self, symbols: Tensor) -> list[Tensor]:
        """The features after each block of the transformer, (B, L, W) each: at place l of the tokens before l."""
        return self.net.blocks.layers(self.net.inputs(self.arrange(symbols)))

    def generate(
        self, n: int, condition: Condition, guidance: float, draw: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """n rows of symbols, (n, *shape).

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            guidance: w.
            draw: draws a token for each of n rows from h (n, W); with guidance, from h (2n, W) with and without
                labels, the same tokens twice.
        """
        labels = self.asked(condition, n, guidance, self.net.start.device)
        first = self.net.first(n if guidance == 1 else 2 * n, labels)
        return self.restore(self.net.generate(first, draw)[:n])


class IndexSequence(Sequence):
    """A prior over indices that draws one token after another. Arguments are those of `Sequence`."""

    reads: ClassVar[tuple[str, ...]] = ("indices", "stacks")
    plan = MappingProxyType({"steps": BUDGET})

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, *shape), drawn one after another with cached keys and values.

        See `narrows.priors.SAMPLING` for the options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
        """
        choose = chooser(guidance, temperature, top_k, top_p)
        return self.generate(n, condition, guidance, lambda h: self.draw(h, choose))

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """A token for each row of h (R, W)."""
        raise NotImplementedError(f"{type(self).__name__} must define draw")
