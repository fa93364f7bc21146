"""FlowAR: a grid of real tokens, drawn from coarse to fine, each scale by flow matching."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Code, Condition, Loss, Pass, Symbols, TokenLayout
from narrows.core.check import at_least, choice, refuse, whole
from narrows.diffusion.ode import SOLVERS, solve
from narrows.diffusion.paths import Linear
from narrows.diffusion.times import draw_times
from narrows.nets.denoiser import TokenDenoiser
from narrows.nets.vit import TransformerBlocks
from narrows.priors.labels import guided
from narrows.priors.real import RealTokens

__all__ = ["FlowAR", "doubled"]

_MOST_AXES = 3
_LEAST = 1e-3
"""Smallest deviation of a channel of a coarse grid, of standardised codes."""


def doubled(grid: tuple[int, ...], scales: int = 0) -> TokenLayout:
    """Grids from one token on, with sides that double until they are those of a grid.

    Args:
        grid: the sides of the finest.
        scales: how many of the finest to keep; all if 0.

    Raises:
        RequestError: there are fewer.

    Example:
        >>> doubled((7, 7)).grids, doubled((8,), scales=2).grids
        (((1, 1), (2, 2), (4, 4), (7, 7)), ((4,), (8,)))
    """
    most = 1 + math.ceil(math.log2(max(grid)))
    if whole("scales", scales, low=0) > most:
        raise refuse("scales", scales, f"at most {most} for a grid of {' x '.join(map(str, grid))} tokens")
    grids = [tuple(min(side, 2**k) for side in grid) for k in range(most)]
    return TokenLayout(tuple(grids[most - (scales or most) :]))


class FlowAR(RealTokens):
    r"""A prior over a grid of real tokens: means of its areas, from coarse to fine, each grid by flow matching.

    .. math:: s_k = \mathrm{area}_k(z),\quad s_S = z,\qquad
              h_k = \mathrm{Blocks}(\mathrm{up}(s_1) \ldots \mathrm{up}(s_{k-1})),\qquad
              \min_v E \sum_k \|v((1 - t)\, s_k + t \epsilon,\, t \mid h_k) - (\epsilon - s_k)\|^2

    The sides of the grids double from one token on: 1, 2, 4, 7 for 7 x 7 tokens. So any grid of tokens is read, and
    no tokenizer of several scales is needed. h has a value at each place of grid k, that says what is known of it
    from the coarser grids, resized to the grid by nearest values; a place attends to all of its grid and of the
    coarser ones. v is a transformer over the places of one grid, whose norms are modulated at each place by h and t.
    It learns what v is beyond that of N(0, I). The loss is a mean over all places of all grids, and no likelihood.

    Tokens are standardised with mean and deviation of each channel, and the channels of each grid once more. Weights
    are averaged.

    Args:
        scales: how many of the finest grids to draw; all if 0. With 1 it is flow matching in a single scale.
        head_depth: blocks of the transformer v.
        noise: deviation of the noise on coarser grids, from which finer ones are learned, as they are not exact in
            sampling.

    Raises:
        RequestError: the symbols are not one grid of tokens, or an option is out of range.

    Example:
        >>> prior = FlowAR(Symbols((9, 4), placed=TokenLayout(((3, 3),))), width=8, depth=1, heads=2)
        >>> prior.layout.grids, prior.sample(2, steps=3).shape
        (((1, 1), (2, 2), (3, 3)), torch.Size([2, 9, 4]))

    Reference:
        Ren et al., FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, 2024. arXiv:2412.15205
    """

    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    plan = MappingProxyType({"lr": 1e-3, "ema": 0.999})

    spread: Tensor
    level: Tensor
    before: Tensor
    within: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        scales: int = 0,
        head_depth: int = 2,
        noise: float = 0.1,
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__(symbols, classes, labels, draws)
        grid, channels = symbols.layout.grid, self.shape[1]
        if len(grid) > _MOST_AXES:
            raise refuse("prior", "flowar", f"one for a grid of {len(grid)} axes", "Try flow-matching.")
        self.layout, self.noise = doubled(grid, scales), at_least("noise", noise, 0)
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.layout.tokens, width))
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None
        self.embed = nn.Linear(channels, width)
        self.blocks = TransformerBlocks(width, depth, heads)
        self.net = TokenDenoiser(self.layout.tokens, channels, width, head_depth, heads, condition=width)
        for weight in (self.start, self.place, self.embed.weight):
            nn.init.normal_(weight, std=0.02)
        self.embed.requires_grad_(len(self.layout.grids) > 1)  # nothing follows a single grid
        level = self.layout.levels()
        self.register_buffer("level", level, persistent=False)
        self.register_buffer("before", level[:, None] >= level, persistent=False)
        self.register_buffer("within", level[:, None] == level, persistent=False)
        self.register_buffer("spread", torch.ones(len(self.layout.grids), channels))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Compute mean and deviation of the codes, deviations in coarse grids, and the shares of the labels."""
        super().prepare(model, batch)
        found = self.means(self.arrange(self.drawn(batch)))
        for k, part in enumerate(self.layout.slices()):
            self.spread[k] = found[:, part].flatten(0, 1).std(0, correction=0).clamp_min(_LEAST)

    def means(self, tokens: Tensor) -> Tensor:
        """The means of areas in all grids, (B, T, C), of standardised tokens (B, L, C)."""
        image = tokens.mT.unflatten(-1, self.layout.grids[-1])
        return torch.cat([F.interpolate(image, g, mode="area").flatten(2).mT for g in self.layout.grids], 1)

    def inputs(self, found: Tensor, labels: Tensor | None, level: int) -> Tensor:
        """What the transformer reads at grid k, (B, L_k, W), of the grids before it (B, T, C)."""
        start = self.start.expand(len(found), -1)
        if self.tell is not None and labels is not None:
            start = start + self.tell(labels.to(start.dtype))
        u = start[:, None] + self.place[self.layout.slices()[level]]
        if not level:
            return u
        coarse = found[:, self.layout.slices()[level - 1]].mT.unflatten(-1, self.layout.grids[level - 1])
        return u + self.embed(F.interpolate(coarse, self.layout.grids[level], mode="nearest").flatten(2).mT)

    def forward(self, found: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is known of each place from the coarser grids, (B, T, W), of the grids' values (B, T, C)."""
        u = torch.cat([self.inputs(found, labels, k) for k in range(len(self.layout.grids))], 1)
        return self.blocks(u, mask=self.before)

    def velocity(
        self, x: Tensor, t: Tensor, h: Tensor, *, mask: Tensor | None = None, places: slice = slice(None)
    ) -> Tensor:
        """v at states (B, T, C) and times (B, T) of each place, given h (B, T, W)."""
        norm = (t.square() + (1 - t).square()).rsqrt()[..., None]
        found = self.net(norm * x, t, h, mask=mask, places=places)
        v: Tensor = (2 * t[..., None] - 1) * norm.square() * x + norm * found
        return v

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean squared error of the velocity, a number of all grids."""
        z = self.drawn(batch)
        x = self.means(self.arrange(z)) / self.spread[self.level]
        h = self(x + self.noise * torch.randn_like(x), self.told(batch.condition, len(z)))
        times = draw_times("uniform", len(x) * len(self.spread), Linear(), x).view(len(x), -1)
        t, noise = times[:, self.level], torch.randn_like(x)
        state = torch.lerp(x, noise, t[..., None])
        error = (self.velocity(state, t, h, mask=self.within) - (noise - x)).square().mean()
        codes = z.view(-1, *self.symbols.shape)
        return Loss(error, {"velocity": error.detach()}, Pass(batch, Code(codes)))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 10,
        sampler: str = "heun",
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape), one grid after another with cached keys and values.

        `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
            steps: steps of the solver for each grid.
            sampler: the solver: ``euler`` or ``ab2`` (one evaluation of the denoiser a step), ``heun`` (two) or ``rk4``
                (four).
        """
        choice("sampler", sampler, tuple(SOLVERS))
        steps, copies = whole("steps", steps), 1 if guidance == 1 else 2
        labels = self.asked(condition, n, guidance, self.start.device)
        found = self.start.new_zeros(copies * n, 0, self.shape[1])
        cache: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        for k, places in enumerate(self.layout.slices()):
            h = self.blocks(self.inputs(found, labels, k), cache)

            def velocity(x: Tensor, t: Tensor, h: Tensor = h, places: slice = places) -> Tensor:
                both = x.repeat(copies, 1, 1)
                return guided(self.velocity(both, t.expand(both.shape[:2]), h, places=places), guidance)

            noise = torch.randn_like(h[:n, :, :1].expand(-1, -1, self.shape[1]))
            found = torch.cat([found, solve(velocity, noise, steps, solver=sampler).repeat(copies, 1, 1)], 1)
        return self.restore(found[:n, self.layout.slices()[-1]] * self.spread[-1])
