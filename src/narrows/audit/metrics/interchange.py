"""Interchange of latents between a base and a source, under masks that are trained to move one attribute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "LatentSwap",
    "Pairs",
    "RotatedSwap",
    "Scores",
    "Swap",
    "fit_masks",
    "interchange",
    "temperature",
]

Logits: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From the numbers of prompts (B,) and the activations that replace theirs (B, D) to logits, (B, V)."""

COLDEST = 1e-4
"""The temperature of the last step; the first has 1."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of prompts, a base whose activation is edited and a source that it is edited with.

    Args:
        base: numbers of prompts, (P,).
        source: numbers of prompts, (P,).
        mask: the attribute that is to be moved, (P,).
        cause: whether the base asks for that attribute, (P,) bool; else for another one.
        wanted: the right answer, a token: the source's value where `cause`, else the base's, (P,).
    """

    base: Tensor
    source: Tensor
    mask: Tensor
    cause: Tensor
    wanted: Tensor

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, rows: Tensor) -> Pairs:
        """Some pairs, by number or mask."""
        return Pairs(*(column[rows] for column in vars(self).values()))

    def batches(self, size: int = 256) -> Iterator[Pairs]:
        """All pairs, in order."""
        for rows in torch.arange(len(self)).split(size):
            yield self[rows]

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """The pairs of several parts."""
        return cls(*(torch.cat(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True)))


class Scores(NamedTuple):
    """How well masks move one attribute and no other, means over attributes."""

    cause: float
    """The share of prompts for the attribute that are answered with the source's value."""
    isolate: float
    """The share of prompts for other attributes that are still answered with the base's value."""

    @property
    def disentangled(self) -> float:
        """The mean of both."""
        return (self.cause + self.isolate) / 2


class Swap(nn.Module, ABC):
    """An edit of activations that takes a part of the source's, with a mask for each of A attributes.

    Args:
        masks: A.
        width: length of a mask, M.
    """

    def __init__(self, masks: int, width: int) -> None:
        super().__init__()
        self.masks = nn.Parameter(torch.zeros(masks, width))

    @abstractmethod
    def edited(self, base: Tensor, source: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """The activations of `base` with a share `weights` (B, M) of those of `source`, (B, D).

        Args:
            base: numbers of prompts, (B,).
            source: numbers of prompts, (B,).
            weights: from 0, of the base, to 1, of the source, (B, M).
            mask: the attribute of each pair, (B,).
        """

    def forward(self, pairs: Pairs, heat: float | None = None) -> Tensor:
        r"""The edited activations of pairs, :math:`\sigma(m / T)` or, without temperature, :math:`m > 0`, (B, D)."""
        m = self.masks[pairs.mask]
        weights = (m > 0).to(m) if heat is None else torch.sigmoid(m / heat)
        return self.edited(pairs.base, pairs.source, weights, pairs.mask)

    @property
    def swapped(self) -> Tensor:
        """The number of swapped dimensions of each attribute, (A,)."""
        return (self.masks > 0).sum(1)


class LatentSwap(Swap):
    r"""Swaps latents and keeps the error of the reconstruction.

    .. math:: x' = x + g\big((1 - w) f + w f_s\big) - g(f)

    where g decodes, x and f are activation and code of the base, and :math:`f_s` is the code of the source. If w is 0
    for all latents, x' equals x bit for bit.

    Args:
        masks: A.
        x: activations, (Q, D).
        codes: (Q, N).
        decode: from codes (B, N) and the numbers of their prompts (B,) to reconstructions (B, D), in the units of x.
        keep_error: without it, :math:`x' = g((1 - w) f + w f_s)`.

    Example:
        >>> x = torch.eye(2)
        >>> swap = LatentSwap(1, x, x, lambda z, rows: z)
        >>> pair = Pairs(*(torch.tensor([n]) for n in (0, 1, 0, 1, 0)))
        >>> torch.equal(swap(pair), x[:1])
        True
    """

    def __init__(
        self,
        masks: int,
        x: Tensor,
        codes: Tensor,
        decode: Callable[[Tensor, Tensor], Tensor],
        keep_error: bool = True,
    ) -> None:
        super().__init__(masks, codes.shape[1])
        self.x, self.codes, self.decode, self.keep_error = x, codes, decode, keep_error

    def edited(self, base: Tensor, source: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """See `Swap.edited`."""
        own, other = self.codes[base], self.codes[source]
        # `lerp` would not give `own` exactly where the weight is 0 and `other` is large
        made = self.decode(own + weights * (other - own), base)
        return self.x[base] + (made - self.decode(own, base)) if self.keep_error else made


class RotatedSwap(Swap):
    r"""Swaps coordinates of the activation in a trained orthonormal basis.

    .. math:: x' = x + R^\top \big(w \odot R (x_s - x)\big)

    Each attribute has a basis of its own, :math:`R = (I + A)^{-1} (I - A) R_0` with a skew-symmetric A that begins at
    0 and a random :math:`R_0`.

    Args:
        masks: A.
        x: activations, (Q, D).
        seed: of the bases.

    Reference:
        Huang et al., RAVEL, 2024 (distributed alignment search with several tasks). arXiv:2402.17700
    """

    start: Tensor

    def __init__(self, masks: int, x: Tensor, seed: int = 0) -> None:
        d = x.shape[1]
        super().__init__(masks, d)
        self.x = x
        drawn = torch.randn(masks, d, d, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("start", torch.linalg.qr(drawn).Q)
        self.turn = nn.Parameter(torch.zeros(masks, d, d))

    def edited(self, base: Tensor, source: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """See `Swap.edited`."""
        skew = self.turn - self.turn.mT
        eye = torch.eye(skew.shape[-1]).to(skew)
        bases = torch.linalg.solve(eye + skew, eye - skew) @ self.start
        found, change = self.x[base].clone(), self.x[source] - self.x[base]
        for number, basis in enumerate(bases):
            here = (mask == number).nonzero().squeeze(1)
            moved = (weights[here] * (change[here] @ basis.T)) @ basis
            found = found.index_add(0, here, moved)
        return found


def temperature(step: int, steps: int) -> float:
    """The temperature of a step, from 1 to `COLDEST`, equally spaced on a logarithmic scale.

    Example:
        >>> [temperature(step, 5) for step in range(5)]
        [1.0, 0.1, 0.01, 0.001, 0.0001]
    """
    return round(COLDEST ** (step / max(1, steps - 1)), 12)


@torch.enable_grad()
def fit_masks(
    swap: Swap, pairs: Pairs, logits: Logits, *, steps: int, batch: int, lr: float = 1e-3, seed: int = 0
) -> None:
    r"""Train the masks, and the bases if there are any, so that one attribute moves and the others stay.

    .. math:: \min_m \; E\big[-\log p(\text{wanted} \mid x'(\sigma(m / T)))\big]

    with Adam. Half of each batch are pairs whose base asks for the attribute, half are pairs that ask for another one.

    Args:
        swap: whose parameters are trained.
        pairs: of training entities.
        logits: differentiable in the activations.
        steps: of Adam.
        batch: pairs per step.
        lr: learning rate.
        seed: of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = [(pairs.cause == kind).nonzero().squeeze(1) for kind in (True, False)]
    optimizer = torch.optim.Adam(swap.parameters(), lr=lr)
    for step in range(steps):
        drawn = [
            kind[torch.randint(len(kind), (batch // 2,), generator=generator)] for kind in kinds if len(kind)
        ]
        some = pairs[torch.cat(drawn)]
        loss = F.cross_entropy(logits(some.base, swap(some, temperature(step, steps))).float(), some.wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def interchange(swap: Swap, pairs: Pairs, logits: Logits) -> Scores:
    """Cause and isolation under the binary masks, on the most probable of all tokens.

    Args:
        swap: with trained masks.
        pairs: of test entities.
        logits: as for `fit_masks`.
    """
    right = torch.cat([logits(some.base, swap(some)).argmax(1) == some.wanted for some in pairs.batches()])
    found = []
    for kind in (True, False):
        shares = [
            right[here].double().mean()
            for number in range(len(swap.masks))
            if (here := (pairs.mask == number) & (pairs.cause == kind)).any()
        ]
        found.append(float(torch.stack(shares).mean()))
    return Scores(*found)
