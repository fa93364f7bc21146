"""Finite scalar quantisation: a few bounded channels are rounded to the points of a grid, the codebook."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer, straight_through
from narrows.core.check import choice, refuse, whole
from narrows.core.evidence import Indices

__all__ = ["FiniteScalarQuantizer", "levels_for"]


def levels_for(codes: int) -> tuple[int, ...]:
    """The levels whose product is nearest to a given number of codes.

    As the paper advises, a channel has 5 to 8 levels.

    Smaller codebooks use fewer levels: below 5 codes one channel, below 25 codes channels of 3 or 4 levels.

    Args:
        codes: the requested number of codes.

    Raises:
        RequestError: `codes` is less than 3 or beyond 2^24.

    Example:
        >>> levels_for(1000), levels_for(240), levels_for(64)
        ((8, 5, 5, 5), (8, 6, 5), (8, 8))
    """
    codes = whole("codes", codes, low=3, high=2**24)
    fewest = 5 if codes >= 25 else 3
    most = math.ceil(math.log(codes) / math.log(fewest))
    candidates = (
        levels[::-1]
        for channels in range(1, most + 1)
        for levels in combinations_with_replacement(range(fewest, 9), channels)
    )
    return min(candidates, key=lambda levels: (abs(math.log(math.prod(levels) / codes)), len(levels)))


class FiniteScalarQuantizer(Quantizer):
    r"""Bound each channel by a tanh and round it to one of L_i levels; the codebook is the grid of levels.

    .. math:: \hat z_i = \mathrm{round}(f_i(z_i)) / \lfloor L_i / 2 \rfloor,\qquad
              f_i(z) = h_i \tanh(z + \mathrm{atanh}(o_i / h_i)) - o_i,\qquad
              h_i \approx (L_i - 1) / 2,\quad o_i = \tfrac12 [L_i \text{ even}]

    With ``variant="symmetric"`` the levels are evenly spaced from -1 to 1 for even L too:

    .. math:: \hat z_i = \frac{2}{L_i - 1} \mathrm{round}\Big((L_i - 1) \frac{\tanh(z_i) + 1}{2}\Big) - 1

    Two details differ from the paper's listing. Its shift is tan(o / h), close to the inverse of tanh for
    small o / h but not equal to it; here it is atanh, so that z = 0 maps to a level exactly. Its half width
    is (L - 1)(1 - eps) / 2 with eps = 0.001, here it is (L - 1)(1 + eps) / 2. Rounding gives the same L
    levels.

    The gradient of the rounding is the straight-through estimator. There is no cost and no learned state.
    Indices are numbers in the mixed base of the levels, the first channel fastest.

    Args:
        features: width of the encoder's tokens; if it differs from the number of channels, a linear map is
            added.
        levels: the number of levels of each channel, L_1 ... L_d.
        tokens: the number of tokens of an example, L.
        variant: ``paper`` or ``symmetric``. The paper's map sends nearly all of a channel of two levels to
            one of them, so two levels need ``symmetric``.

    Raises:
        RequestError: levels below 2 (paper: 3), no levels, or more than 2^31 codes.

    Example:
        >>> fsq = FiniteScalarQuantizer(2, levels=(3, 4), tokens=1)
        >>> fsq.vectors(torch.arange(4))
        tensor([[-1.0000, -1.0000],
                [ 0.0000, -1.0000],
                [ 1.0000, -1.0000],
                [-1.0000, -0.5000]])

    Reference:
        Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023. arXiv:2309.15505. Symmetric:
        Parker et al., Scaling Transformers for Low-Bitrate High-Quality Speech Coding, 2024. arXiv:2411.19842
    """

    levels: Tensor
    steps: Tensor
    precise: Tensor

    def __init__(self, features: int, *, levels: Sequence[int], tokens: int, variant: str = "paper") -> None:
        self.symmetric = choice("variant", variant, ("paper", "symmetric")) == "symmetric"
        fewest = 2 if self.symmetric else 3
        good = len(levels) > 0 and all(isinstance(n, int) and n >= fewest for n in levels)
        if not good or math.prod(levels) > 2**31:
            expected = f"whole numbers of at least {fewest} with a product of at most 2^31"
            hint = "Two levels need variant=symmetric." if not self.symmetric and 2 in levels else ""
            raise refuse("levels", levels, expected, hint)
        super().__init__(features, len(levels), math.prod(levels), tokens)
        counts = torch.tensor(levels)
        self.register_buffer("levels", counts, persistent=False)
        steps = torch.cat([torch.ones_like(counts[:1]), counts.cumprod(0)[:-1]])
        self.register_buffer("steps", steps, persistent=False)
        # A buffer that only holds the module's floating-point dtype.
        self.register_buffer("precise", torch.empty(0), persistent=False)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Bound and round tokens (B, L, d)."""
        bounded = self.bound(tokens)
        places = bounded.detach().round()
        indices = self.number(places.long())
        rounded = straight_through(bounded, places)
        return Quantised(self.scale(rounded), indices, {})

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The bounded channels, scaled as the codes are."""
        return self.scale(self.bound(tokens))

    def evidence(self, indices: Tensor, tokens: Tensor | None = None) -> Indices:
        """The evidence for the audit, with tokens bounded as the codes are."""
        return super().evidence(indices, None if tokens is None else self.unrounded(tokens))

    def bound(self, tokens: Tensor) -> Tensor:
        """Real channels to level positions between 0 and L_i - 1, not rounded, (..., d)."""
        top = (self.levels - 1).to(tokens.dtype)
        if self.symmetric:
            return top * (torch.tanh(tokens) + 1) / 2
        # The half width is slightly above (L - 1) / 2, by less than 1/2, so that rounding cannot exceed the
        # outer levels.
        half = top / 2 + (top * 5e-4).clamp_max(0.25)
        offset = (1 - self.levels % 2).to(tokens.dtype) / 2
        shift = torch.atanh(offset / half)
        return half * torch.tanh(tokens + shift) - offset + self._middle(tokens)

    def scale(self, places: Tensor) -> Tensor:
        """Level positions 0 ... L_i - 1 to the values that the decoder reads, from -1 to 1, (..., d)."""
        if self.symmetric:
            return 2 * places / (self.levels - 1) - 1
        middle = self._middle(places)
        return (places - middle) / middle

    def number(self, places: Tensor) -> Tensor:
        """The index of level positions (..., d) of int64, (...)."""
        return (places * self.steps).sum(-1)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        places = indices[..., None] // self.steps % self.levels
        return self.scale(places.to(self.precise.dtype))

    def _middle(self, like: Tensor) -> Tensor:
        return (self.levels // 2).to(like.dtype)
