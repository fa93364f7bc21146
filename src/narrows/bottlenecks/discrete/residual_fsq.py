"""Residual finite scalar quantisation: what rounding leaves over is rounded again, on a finer grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.fsq import FiniteScalarQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantised, straight_through
from narrows.bottlenecks.discrete.stacks import StackQuantizer
from narrows.core.check import choice, refuse, whole

__all__ = ["ResidualFSQ"]


class ResidualFSQ(StackQuantizer):
    r"""Bound each channel once by a tanh, round it to L_i levels, and round D - 1 times what is left over.

    .. math:: r_0 = \tanh(z),\quad e_d = s^{d-1} g(s^{1-d}\, r_{d-1}),\quad r_d = r_{d-1} - e_d,\qquad
              \hat z = \sum_{d=1}^{D} e_d

    .. math:: g_i(r) = \frac{2}{L_i - 1} \mathrm{round}\Big((L_i - 1) \frac{r + 1}{2}\Big) - 1,\qquad
              s_i = \frac{1}{L_i - 1}

    Rounding to levels 2 / (L - 1) apart leaves at most s, so that the residual times 1 / s fills the range of the
    levels again, and :math:`|\tanh(z) - \hat z| \le s^D`. With ``scale="none"`` s is 1: then residuals are rounded on
    the first grid, where they fall on its middle. The paper learns a scale of each depth, or normalises residuals by
    their standard deviations; here the scale is exact and nothing is learned.

    The gradient is straight-through, once for the whole sum. Indices are those of `FiniteScalarQuantizer`, one for each
    depth.

    Args:
        features: width of the encoder's tokens; if it differs from the number of channels, a linear map is added.
        levels: the number of levels of each channel, L_1 ... L_d.
        tokens: the number of tokens of an example, L.
        depth: the number of codes of a token, D.
        scale: ``levels``, or ``none``: do not scale residuals.

    Raises:
        RequestError: levels below 3, no levels, or an option out of range.

    Example:
        >>> rfsq = ResidualFSQ(2, levels=(5, 5), tokens=1, depth=3)
        >>> z = torch.tensor([[[0.3, -1.0]]])
        >>> bool(((rfsq(z).z - z.tanh()).abs() <= 0.25**3).all()), rfsq.to_symbols(rfsq(z)).shape
        (True, torch.Size([1, 1, 3]))

    Reference:
        Zhu et al., Robust Residual Finite Scalar Quantization for Neural Compression, 2025. arXiv:2508.15860. Levels:
        Mentzer et al., 2023. arXiv:2309.15505
    """

    steps: Tensor

    def __init__(
        self, features: int, *, levels: Sequence[int], tokens: int, depth: int = 4, scale: str = "levels"
    ) -> None:
        if any(isinstance(n, int) and n < 3 for n in levels):
            raise refuse(
                "levels", levels, "at least 3 each", "Two levels leave residuals as large as they were."
            )
        scaled = choice("scale", scale, ("levels", "none")) == "levels"
        grid = FiniteScalarQuantizer(
            len(levels), levels=levels, tokens=whole("tokens", tokens), variant="symmetric"
        )
        super().__init__(features, len(levels), grid.codes, tokens, depth)
        self.grid = grid
        steps = grid.levels - 1 if scaled else torch.ones_like(grid.levels)
        self.register_buffer("steps", steps, persistent=False)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Bound and round tokens (B, L, d); indices are (B, L, D)."""
        bounded = self.unrounded(tokens)
        left, total, indices = bounded.detach(), torch.zeros_like(tokens), list[Tensor]()
        top = self.grid.levels - 1
        for level in range(self.depth):
            places = (top * (left * self.steps**level + 1) / 2).round().clamp_min(0).minimum(top)
            indices.append(self.grid.number(places.long()))
            found = self.codes_at(level, indices[-1])
            left, total = left - found, total + found
        return Quantised(straight_through(bounded, total), torch.stack(indices, -1), {})

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The bounded tokens, (..., d)."""
        return torch.tanh(tokens)

    def codes_at(self, level: int, indices: Tensor) -> Tensor:
        """The vectors of indices of one depth, counting from 0: (...) -> (..., d)."""
        return self.grid.vectors(indices) / self.steps**level
