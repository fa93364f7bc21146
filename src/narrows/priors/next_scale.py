"""Next-scale prediction: a prior that draws grids of indices from coarse to fine, each in one pass."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Symbols, TokenLayout
from narrows.core.check import choice, refuse, whole
from narrows.nets.vit import TransformerBlocks
from narrows.priors.labels import LabelledPrior
from narrows.priors.samplers.ancestral import chooser

__all__ = ["NextScale"]


class NextScale(LabelledPrior):
    r"""A prior over indices on several grids, that draws all indices of a grid at once, given the coarser grids.

    .. math:: p(k_1 \ldots k_S) = \prod_s \prod_{l \in s} p(k_l \mid k_1 \ldots k_{s-1}),\qquad
              u_s = P_s + y + a_s,\quad a_s = \mathrm{up}(c \odot a_{s-1} + \mathrm{embed}(k_{s-1})),\quad a_1 = 0

    u_s are the inputs of the transformer at grid s: positions P, the start token y, that encodes the labels, and what
    the coarser grids carry, resized to the grid by nearest values. A token attends to those of its grid and of the
    coarser ones; with ``attention="within-scale"`` only to those of its grid, and the linear recurrence over a alone
    carries what is known from grid to grid.

    With `refiner`, the finest grids are drawn by a second transformer of half the width, trained for these alone.

    Args:
        refiner: the number of finest grids that the second transformer draws.
        attention: what a token attends to: ``all`` coarser grids and its own, or ``within-scale``.

    Raises:
        RequestError: the symbols are not indices on several grids, or an option is out of range.

    Example:
        >>> symbols = Symbols((5,), 16, TokenLayout(((1, 1), (2, 2))))
        >>> prior = NextScale(symbols, width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 5, dtype=torch.long)).shape
        (torch.Size([2, 5]), torch.Size([3]))

    Reference:
        Tian et al., Visual Autoregressive Modeling, 2024. arXiv:2404.02905. The refiner: Chen et al., Collaborative
        Decoding Makes Visual Auto-Regressive Modeling Efficient, 2024. Attention within a scale, with a state-space
        model between scales: Ren et al., M-VAR, 2024.
    """

    reads: ClassVar[tuple[str, ...]] = ("indices",)

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        refiner: int = 0,
        attention: str = "all",
    ) -> None:
        super().__init__(symbols, classes, labels)
        layout, codes = symbols.layout, symbols.codes
        count = len(layout.grids)
        if count < 2:
            what = "one that draws a single grid"
            raise refuse(
                "prior", "next-scale", what, "Codes with several grids: ``var-tokenizer``, ``vq-vae-2``."
            )
        if whole("refiner", refiner, low=0) >= count:
            raise refuse("refiner", refiner, f"at most {count - 1} of the {count} grids")
        within = choice("attention", attention, ("all", "within-scale")) == "within-scale"
        first = count - refiner
        nets = [_Scales(layout, codes, self.classes, width, depth, heads, within, range(first))]
        if refiner:
            fine = range(first, count)
            nets.append(_Scales(layout, codes, self.classes, width // 2, depth, heads, within, fine))
        self.nets = nn.ModuleList(nets)

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of each index given the coarser grids: (B, L) -> (B, L, K)."""
        return torch.cat([net(indices, labels) for net in self.nets], 1)

    def token_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each index given the coarser grids, in nats, (B, L)."""
        logits = self(symbols, self.told(condition, len(symbols))).transpose(1, 2)
        return F.cross_entropy(logits, symbols, reduction="none")

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, L), in nats, (B,)."""
        return self.token_nll(symbols, condition).sum(-1)

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
        """n rows of indices, (n, L), one grid after another with cached keys and values.

        See `narrows.priors.SAMPLING` for the options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
        """
        device = next(self.parameters()).device
        labels = self.asked(condition, n, guidance, device)
        choose = chooser(guidance, temperature, top_k, top_p)
        found = torch.zeros(n if guidance == 1 else 2 * n, 0, dtype=torch.long, device=device)
        for net in self.nets:
            assert isinstance(net, _Scales)
            cache: list[list[Tensor]] = [[] for _ in net.blocks.blocks]
            for level in range(net.levels.stop):
                if level not in net.levels and net.within:
                    continue  # nothing attends to it
                h = net.level(found, level, labels, cache)
                if level in net.levels:
                    found = torch.cat([found, choose(net.head(h))], 1)
        return found[:n]


class _Scales(nn.Module):
    """A transformer over grids from coarse to fine, with logits for some of them.

    Args:
        layout: the grids.
        codes: size of the codebook.
        classes: number of classes, 0 for none.
        width: channels of the transformer.
        depth: its blocks.
        heads: its attention heads.
        within: whether tokens attend only to their own grid.
        levels: the grids whose indices it predicts.
    """

    mask: Tensor

    def __init__(
        self,
        layout: TokenLayout,
        codes: int,
        classes: int,
        width: int,
        depth: int,
        heads: int,
        within: bool,
        levels: range,
    ) -> None:
        super().__init__()
        self.grids, self.slices, self.levels = layout.grids, layout.slices(), levels
        self.within = within
        tokens = self.slices[levels.stop - 1].stop
        self.embed = nn.Embedding(codes, width)
        self.start, self.place = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(tokens, width))
        self.carry = nn.Parameter(torch.ones(width))
        self.tell = nn.Linear(classes, width, bias=False) if classes else None
        self.blocks = TransformerBlocks(width, depth, heads)
        self.head = nn.Linear(width, codes)
        for weight in (self.embed.weight, self.start, self.place, self.head.weight):
            nn.init.normal_(weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if levels.stop < 2:  # nothing follows the only grid
            self.embed.requires_grad_(False)
        self.carry.requires_grad_(levels.stop > 2)
        level = layout.levels()[:tokens]
        seen = level[:, None] == level if within else level[:, None] >= level
        self.register_buffer("mask", seen, persistent=False)

    def inputs(self, indices: Tensor, labels: Tensor | None, level: int) -> Tensor:
        """The transformer's inputs at a grid, (B, L_s, W), from the indices of the coarser grids."""
        start = self.start.expand(len(indices), -1)
        if self.tell is not None and labels is not None:
            start = start + self.tell(labels.to(start.dtype))
        u = start[:, None] + self.place[self.slices[level]]
        carried: Tensor | None = None
        for before in range(level):
            x = self.embed(indices[:, self.slices[before]]).mT.unflatten(-1, self.grids[before])
            if carried is not None:
                x = x + self.carry.view(-1, *[1] * (x.dim() - 2)) * carried
            carried = F.interpolate(x, self.grids[before + 1], mode="nearest")
        return u if carried is None else u + carried.flatten(2).mT

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of the grids that it predicts, (B, tokens of these, K)."""
        u = torch.cat([self.inputs(indices, labels, level) for level in range(self.levels.stop)], 1)
        return self.head(self.blocks(u, mask=self.mask)[:, self.slices[self.levels.start].start :])

    def level(self, indices: Tensor, level: int, labels: Tensor | None, cache: list[list[Tensor]]) -> Tensor:
        """The transformer's output at a grid, (B, L_s, W), with the keys and values of the coarser ones."""
        return self.blocks(self.inputs(indices, labels, level), None if self.within else cache)
