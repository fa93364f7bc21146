"""`Symbols`: kind and shape of the codes that a second-stage prior models, and where its tokens are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = ["Symbols", "TokenLayout"]

_SAYS = {
    "indices": "{} indices of {} codes",
    "stacks": "{} indices of {} codes, positions x depth",
    "vector": "a vector of {} real numbers",
    "tokens": "tokens of {} real numbers",
    "array": "{} real numbers",
}


@dataclass(frozen=True)
class TokenLayout:
    """The positions of the tokens of one example: one grid, or several from coarse to fine.

    Tokens are stored grid after grid, each row by row.

    Args:
        grids: the sides of each grid: (rows, columns), or (length,) of a sequence, or more axes.

    Raises:
        RequestError: there are no grids, a side is below 1, or the grids have different numbers of axes.

    Example:
        >>> layout = TokenLayout(((1, 1), (2, 2)))
        >>> layout.tokens, layout.slices(), layout.levels().tolist()
        (5, [slice(0, 1, None), slice(1, 5, None)], [0, 1, 1, 1, 1])
    """

    grids: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        axes = {len(grid) for grid in self.grids}
        if len(axes) != 1 or 0 in axes or any(side < 1 for grid in self.grids for side in grid):
            raise refuse("grids", self.grids, "grids with the same number of axes and sides of at least 1")

    @property
    def tokens(self) -> int:
        """The number of tokens, L."""
        return sum(map(math.prod, self.grids))

    @property
    def grid(self) -> tuple[int, ...]:
        """The sides of the only grid.

        Raises:
            RequestError: there are several grids.
        """
        if len(self.grids) > 1:
            raise refuse("layout", self.grids, "a single grid of tokens")
        return self.grids[0]

    def slices(self) -> list[slice]:
        """The places of each grid among the tokens."""
        ends = list(accumulate(map(math.prod, self.grids)))
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def levels(self) -> Tensor:
        """The grid of each token, counting from 0, (L,)."""
        counts = torch.tensor([math.prod(grid) for grid in self.grids])
        return torch.arange(len(self.grids)).repeat_interleave(counts)

    def positions(self) -> Tensor:
        """The centre of each token along each axis, between 0 and 1, (L, axes).

        Example:
            >>> TokenLayout(((2,),)).positions().tolist()
            [[0.25], [0.75]]
        """
        centres = [[(torch.arange(side) + 0.5) / side for side in grid] for grid in self.grids]
        return torch.cat([torch.cartesian_prod(*axes).view(-1, len(axes)) for axes in centres])


@dataclass(frozen=True)
class Symbols:
    """The symbols of one example.

    Args:
        shape: shape of the symbols: (L,) one index per position, (L, D) a stack of D indices per position;
            (Z,) a vector, (L, C) tokens.
        codes: size of the codebook, N; 0 for real-valued symbols.
        placed: the layout of the tokens, which is not compared; see `layout` for the default.

    Raises:
        RequestError: the layout has another number of tokens.

    Example:
        >>> str(Symbols((49,), codes=512)), str(Symbols((16,)))
        ('49 indices of 512 codes', 'a vector of 16 real numbers')
        >>> Symbols((49,), codes=512).layout, Symbols((4, 7, 7)).layout
        (TokenLayout(grids=((49,),)), TokenLayout(grids=((7, 7),)))
    """

    shape: tuple[int, ...]
    codes: int = 0
    placed: TokenLayout | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        tokens = math.prod(self._grid)
        if self.placed is not None and self.placed.tokens != tokens:
            raise refuse("placed", self.placed.grids, f"grids of {tokens} tokens in all")

    @property
    def layout(self) -> TokenLayout:
        """The positions of the tokens, by default of one grid.

        Indices, stacks and tokens are a sequence (L,), a vector is one token, an array (C, *sides) a grid of its sides.
        """
        return TokenLayout((self._grid,)) if self.placed is None else self.placed

    @property
    def _grid(self) -> tuple[int, ...]:
        if self.kind == "vector":
            return (1,)
        return self.shape[1:] if self.kind == "array" else self.shape[:1]

    @property
    def kind(self) -> str:
        """``indices`` (L,), ``stacks`` (L, D) of them, a ``vector`` (Z,), ``tokens`` (L, C) or an ``array``."""
        axes = len(self.shape)
        if self.codes:
            return "indices" if axes == 1 else "stacks"
        return {1: "vector", 2: "tokens"}.get(axes, "array")

    def __str__(self) -> str:
        return _SAYS[self.kind].format(" x ".join(map(str, self.shape)), self.codes)
